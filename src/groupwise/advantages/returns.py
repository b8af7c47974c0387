"""Rewards on the way: credit for a decision from what came after it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from groupwise.advantages.outcome import FLAT, Outcome, needs_siblings, standardize
from groupwise.trajectory import Group, Trajectory

ROUNDING = 1e-6
"""Relative: what a sum in another order may be off by."""


def step_rewards(trajectory: Trajectory, reward: float) -> Tensor:
    """[T] float64: the reward after each decision, NaN where no step ends.

    What `reward` has beyond those that the world gave comes after the last decision: all of it where the
    world gave none on the way, what reward functions add where it did.
    """
    rows = [
        np.full(len(turn.decisions), np.nan) if turn.rewards is None else turn.rewards
        for turn in trajectory.turns
    ]
    steps = torch.from_numpy(np.concatenate(rows).astype(np.float64))
    gained = trajectory.gained
    rest = reward - (gained or 0.0)
    if len(steps) and (gained is None or abs(rest) > ROUNDING * abs(reward)):
        steps[-1] = steps[-1].nan_to_num(0.0) + rest
    return steps


def discounted(steps: Tensor, discount: float) -> Tensor:
    """R_t = r_t + discount R_{t+1}. steps [..., T] -> [..., T]."""
    if discount == 1:
        return steps.flip(-1).cumsum(-1).flip(-1)
    last_first = np.moveaxis(steps.numpy(), -1, 0)[::-1]
    # not in torch: a thousand operations on single numbers take longer than the learner does
    rows = list(accumulate(last_first, lambda later, now: now + discount * later))
    return torch.from_numpy(np.stack(rows[::-1], axis=-1)) if rows else steps.clone()


@dataclass(frozen=True, slots=True)
class returns_to_go:  # noqa: N801 - reads as the function that it is
    """Return from t on, minus the mean of the siblings' returns from t on. -> one [T_i] each.

        A_it = R_it - mean over j != i of R_jt,    R_t = r_t + discount R_{t+1}, 0 after the end

    Group Policy Gradient, arXiv 2510.03679, which bins by time too; taken over the others alone, and with
    finished siblings counted as 0, the baseline is independent of what i did, so it is unbiased (for
    discount 1). It knows the time and not the state. `baseline=False` leaves the bare returns, for a
    whitening over the step: REINFORCE++, arXiv 2501.03262.
    """

    discount: float = 1.0
    baseline: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount={self.discount}: from 0 to 1")

    def __call__(self, rewards: Tensor, group: Group) -> list[Tensor]:
        needs_siblings(rewards)
        pairs = zip(group.trajectories, rewards.tolist(), strict=True)
        steps = [step_rewards(t, reward).nan_to_num(0.0) for t, reward in pairs]
        to_go = discounted(pad_sequence(steps, batch_first=True), self.discount)
        if self.baseline:
            to_go = _less_the_others(to_go)
        return [row[: len(own)] for row, own in zip(to_go, steps, strict=True)]


def _less_the_others(values: Tensor) -> Tensor:
    """[G, T]: each less the mean of the others in its column; exactly 0 in columns of equals."""
    if not values.numel():
        return values
    spread = values.amax(0) - values.amin(0)
    flat = spread <= FLAT * values.abs().amax(0)
    size = len(values)
    return (values - values.mean(0)).masked_fill(flat, 0.0) * (size / (size - 1))


@dataclass(frozen=True, slots=True)
class process:  # noqa: N801 - reads as the function that it is
    """Step rewards normalised in the group, summed from each decision on. -> one [T_i] each.

        A_it = sum over steps j of answer i that end at t or later of (r_ij - mean) / std

    Process supervision of DeepSeekMath (arXiv 2402.03300, section 4.1.3): mean and deviation are taken over
    all steps of all siblings. A step ends where `Turn.rewards` is not NaN; a single one at the end is GRPO.
    A sum over many steps is larger than over few: answers in more steps count more, as in the paper.
    """

    scheme: Outcome = standardize

    def __call__(self, rewards: Tensor, group: Group) -> list[Tensor]:
        needs_siblings(rewards)
        pairs = zip(group.trajectories, rewards.tolist(), strict=True)
        rows = [step_rewards(t, reward) for t, reward in pairs]
        steps = torch.cat(rows)
        ends = ~steps.isnan()
        steps[ends] = self.scheme(steps[ends]) if ends.sum() > 1 else 0.0
        steps = steps.nan_to_num(0.0)
        return [discounted(row, 1.0) for row in steps.split([len(row) for row in rows])]
