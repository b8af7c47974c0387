"""Policies on the move: bandits under our own learner, the recursions that they follow, and descent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from groupwise import losses
from groupwise.advantages import asymmetric, leave_one_out
from groupwise.learner import Learner, Optimization
from groupwise.policies import CategoricalPolicy, Steps
from groupwise.recipes import RLOO, Recipe
from groupwise.trajectory import Batch, Piece

HUGE = 1e9

# ---------------------------------------------------------------- a bandit under the learner


class Logits(nn.Module):
    """One state; its logits are the parameters."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, observations: Tensor) -> Tensor:
        return self.logits.expand(len(observations), -1)


@dataclass(frozen=True, slots=True)
class Bandit:
    """A policy over K arms and the learner that trains it on all arms at once, weighed by their chance."""

    network: Logits
    learner: Learner

    @staticmethod
    def at(logits: Tensor, learning_rate: float = 0.1, decay_steps: int = 0) -> Bandit:
        network = Logits(logits)
        how = Optimization(
            learning_rate, warmup_steps=0, decay_steps=decay_steps, max_grad_norm=HUGE, beta1=0.5
        )
        return Bandit(network, Learner(CategoricalPolicy(network), how))

    @property
    def log_probs(self) -> Tensor:
        return self.network.logits.detach().log_softmax(0)

    def batch(self, advantage: Tensor, reference: Tensor) -> Batch:
        """Every arm once: the exact expectation under the policy as it is now."""
        now, arms = self.log_probs, torch.arange(len(advantage))
        steps = Steps(torch.zeros(len(arms), 1), arms)
        return Batch(
            (Piece(steps, 0, len(arms)),),
            behaviour_logp=now,
            advantage=advantage,
            weight=now.exp(),
            trajectory_id=arms,
            reference_logp=reference,
        )


def regularised(kl_scale: float) -> Recipe:
    """max E_pi A - kl_scale KL(pi || reference), exact off-policy too: plain ratio and rho k3."""
    return replace(RLOO, kl=losses.k3_corrected, kl_scale=kl_scale)


# ---------------------------------------------------------------- Mroueh's recursion


def amplified(p: float, p_ref: float, beta: float, epsilon: float = 0.0) -> float:
    """h(p): success after one full maximisation against p's own whitened advantage (arXiv 2503.06639)."""
    push = 1 / (beta * math.sqrt(p * (1 - p) + epsilon))
    return 1 / (1 + (1 - p_ref) / p_ref * math.exp(-push))


def iterate(step: Callable[[float], float], start: float, n: int) -> Iterator[float]:
    """start and n steps from it."""
    yield start
    for _ in range(n):
        start = step(start)
        yield start


def trained(
    logits: Tensor,
    rewards: Tensor,
    kl_scale: float,
    *,
    whitened: float | None = None,
    mirror: bool = False,
    rounds: int = 5,
    inner: int = 60,
) -> list[float]:
    """Success after every round of our own learner, each round maximised to convergence.

    Args:
        whitened: epsilon under the deviation's root; None leaves rewards centred.
        mirror: the divergence is from the round before instead of the start.
    """
    bandit = Bandit.at(logits, 0.3, inner)
    reference, found = bandit.log_probs, []
    for _ in range(rounds):
        p = float(bandit.log_probs.exp() @ rewards)
        advantage = rewards - p
        if whitened is not None:
            advantage = advantage / math.sqrt(p * (1 - p) + whitened)
        if mirror:
            reference = bandit.log_probs
        bandit = Bandit.at(bandit.network.logits.detach(), 0.3, inner)
        batch = bandit.batch(advantage, reference)
        for step in range(1, inner + 1):
            bandit.learner.step(batch, regularised(kl_scale), step)
        found.append(float(bandit.log_probs.exp() @ rewards))
    return found


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# ---------------------------------------------------------------- AsymRE


def flow(data: Tensor, rewards: Tensor, shift: float) -> tuple[Tensor, float]:
    """mu (r - V) and V^mu - V: the expected step in the logits is the one minus pi times the other."""
    advantage = asymmetric(shift)(rewards[data])
    each = torch.zeros(len(rewards), dtype=torch.float64).index_add(0, data, advantage) / len(data)
    return each, float(each.sum())


def limit(data: Tensor, rewards: Tensor, shift: float, steps: int = 4000) -> Tensor:
    up, down = flow(data, rewards, shift)
    logits = torch.zeros(len(rewards), dtype=torch.float64)
    for _ in range(steps):
        logits = logits + 1.0 * (up - logits.softmax(0) * down)
    return logits.softmax(0)


# ---------------------------------------------------------------- descent


def ascend(logits: Tensor, gradient: Callable[[Tensor], Tensor], rates: Sequence[float]) -> Iterator[Tensor]:
    """Logits before every step and after the last."""
    yield logits
    for rate in rates:
        logits = logits + rate * gradient(logits)
        yield logits


ARMS = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
BETA = 0.5
REFERENCE = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
BEST = torch.softmax(REFERENCE.log() + ARMS / BETA, 0)
"""max E[r] - BETA KL(pi || REFERENCE), in closed form."""


def sampled(draw: torch.Generator, kl_in_reward: bool) -> Callable[[Tensor], Tensor]:
    """A leave-one-out gradient of one group of 4: unbiased for J - BETA KL, wherever the KL is."""

    def gradient(logits: Tensor) -> Tensor:
        logp = logits.log_softmax(0)
        arms = torch.multinomial(logp.exp(), 4, replacement=True, generator=draw)
        cost = BETA * (logp - REFERENCE.log())
        rewards = (ARMS - cost if kl_in_reward else ARMS)[arms]
        update = torch.zeros_like(logits).index_add(0, arms, leave_one_out(rewards)) / 4
        if kl_in_reward:
            return update  # less pi times the sum of the advantages, which is 0
        pi = logp.exp()
        return update - pi * (cost - pi @ cost)

    return gradient


def distances(rates: Sequence[float], seed: int, kl_in_reward: bool = False) -> list[float]:
    """|pi - BEST| before every step and after the last."""
    gradient = sampled(torch.Generator().manual_seed(seed), kl_in_reward)
    path = ascend(torch.zeros(3, dtype=torch.float64), gradient, rates)
    return [float((x.softmax(0) - BEST).norm()) for x in path]


def distance(rates: Sequence[float], seed: int, kl_in_reward: bool = False) -> float:
    """Root mean square distance from the optimum over the last tenth of the steps."""
    last = distances(rates, seed, kl_in_reward)[-len(rates) // 10 :]
    return math.sqrt(sum(d * d for d in last) / len(last))
