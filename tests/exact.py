"""Exact expectations by enumeration, through the library's own functions: what theory is checked with.

A softmax bandit has one decision an answer; `TwoSteps` is a tree of two decisions. Everything is float64.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from groupwise.advantages import Advantage
from groupwise.recipes import RLOO, Recipe, objective
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def group_of(rewards: Tensor) -> Group:
    """Answers of one decision each."""
    turn = Turn(np.array([0]), np.array([0]), np.zeros(1))
    members = (Trajectory((turn,), PolicyTag(), StopReason.FINISHED, reward=r) for r in rewards.tolist())
    return Group(Prompt(0, "?"), tuple(members))


# ---------------------------------------------------------------- groups of a bandit


def weight_on_gradient(scheme: Advantage, size: int, p: float) -> float:
    """w in E[(1/G) sum A_i s_i] = w grad p, for binary rewards: G + 1 outcomes, weighed by their chance."""
    total = 0.0
    for k in range(size + 1):
        rewards = f64(*[1.0] * k, *[0.0] * (size - k))
        values = torch.as_tensor(scheme(rewards, group_of(rewards)))
        chance = math.comb(size, k) * p**k * (1 - p) ** (size - k)
        total += chance * float(torch.dot(values, rewards - p)) / size
    return total / (p * (1 - p))


def outcomes(probabilities: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The arms [n, G] of every group that can be drawn, in order, and its chance [n]."""
    arms = torch.tensor(list(itertools.product(range(len(probabilities)), repeat=size)))
    return arms, probabilities[arms].prod(1)


def advantages_of(scheme: Advantage, rewards: Tensor, arms: Tensor) -> Tensor:
    """[n, G]."""
    return torch.stack([torch.as_tensor(scheme(r, group_of(r))) for r in rewards[arms]])


def gradients(scheme: Advantage, probabilities: Tensor, rewards: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(1/G) sum A_i s_i of every group [n, arms], and its chance [n]; s = one-hot - pi."""
    arms, chance = outcomes(probabilities, size)
    values = advantages_of(scheme, rewards, arms)
    scores = torch.eye(len(probabilities), dtype=torch.float64)[arms] - probabilities
    return (values[..., None] * scores).mean(1), chance


def moments(scheme: Advantage, probabilities: Tensor, rewards: Tensor, size: int) -> tuple[Tensor, float]:
    """Expected gradient [arms] and the trace of its covariance."""
    each, chance = gradients(scheme, probabilities, rewards, size)
    mean = chance @ each
    return mean, float(chance @ (each - mean).square().sum(1))


def expected_gradient(scheme: Advantage, logits: Tensor, rewards: Tensor, size: int) -> Tensor:
    """The same expectation as one call of `objective`, each group's answers weighed by chance / G."""
    arms, chance = outcomes(logits.softmax(0), size)
    theta = logits.clone().requires_grad_()
    new = theta.log_softmax(0)[arms.flatten()]
    loss = objective(
        RLOO,
        new,
        new.detach(),
        advantages_of(scheme, rewards, arms).flatten(),
        torch.arange(len(new)),
        weight=(chance[:, None] / size).expand(arms.shape).flatten(),
    )
    return -torch.autograd.grad(loss.value, theta)[0]


def policy_gradient(logits: Tensor, rewards: Tensor) -> Tensor:
    """grad J by autograd through J itself."""
    theta = logits.clone().requires_grad_()
    return torch.autograd.grad(torch.dot(theta.softmax(0), rewards), theta)[0]


# ---------------------------------------------------------------- two steps


@dataclass(frozen=True, slots=True)
class TwoSteps:
    """Two actions, and two more after each; paths 00, 01, 10, 11. Logits: root, after 0, after 1."""

    paths = ((0, 0), (0, 1), (1, 0), (1, 1))

    def logp(self, logits: Tensor) -> Tensor:
        """[4 paths, 2 decisions]."""
        every = logits.reshape(3, 2).log_softmax(-1)
        return torch.stack([torch.stack([every[0, a], every[1 + a, b]]) for a, b in self.paths])

    def policy_gradient(self, logits: Tensor, rewards: Tensor) -> Tensor:
        theta = logits.clone().requires_grad_()
        return torch.autograd.grad(torch.dot(self.logp(theta).sum(1).exp(), rewards), theta)[0]

    def surrogate_gradient(self, recipe: Recipe, logits: Tensor, old: Tensor, rewards: Tensor) -> Tensor:
        """Of the recipe's expected objective under answers of the old policy, one call of `objective`."""
        theta = logits.clone().requires_grad_()
        behaviour = self.logp(old)
        loss = objective(
            recipe,
            self.logp(theta).flatten(),
            behaviour.flatten(),
            rewards.repeat_interleave(2),
            torch.arange(4).repeat_interleave(2),
            weight=behaviour.sum(1).exp().repeat_interleave(2),
        )
        return -torch.autograd.grad(loss.value, theta)[0]

    def group_gradient(self, scheme: Advantage, logits: Tensor, steps: Tensor, size: int) -> Tensor:
        """E[(1/G) sum_i sum_t A_it s_it] over all 4^G groups; steps [4, 2] rewards on the way."""
        theta = logits.clone().requires_grad_()
        logp = self.logp(theta)
        arms, chance = outcomes(logp.detach().sum(1).exp(), size)
        rows = [torch.stack(list(scheme(steps[a].sum(1), self._group(a, steps)))) for a in arms]
        gain = (torch.stack(rows) * logp[arms]).sum((1, 2)) / size
        return torch.autograd.grad(torch.dot(chance, gain), theta)[0]

    def _group(self, arms: Tensor, steps: Tensor) -> Group:
        turns = [
            Turn(np.array([0]), np.array(self.paths[i]), np.zeros(2), steps[i].numpy()) for i in arms.tolist()
        ]
        members = (Trajectory((turn,), PolicyTag(), StopReason.FINISHED) for turn in turns)
        return Group(Prompt(0, "?"), tuple(members))
