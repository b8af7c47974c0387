"""Rewards to advantages: how far each answer stands above its siblings.

Every scheme is a function `rewards [G] -> advantages [G]` of one group. `Recipe.rescale` may then
change the scale of a whole step at once. `assign` applies both to a cohort.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from groupwise.trajectory import Group, Trajectory

Advantage = Callable[[Tensor], Tensor]
"""rewards [G] -> advantages [G], G >= 2."""
Rescale = Callable[[Tensor, Tensor], Tensor]
"""(rewards [M], advantages [M]) -> advantages [M], over the M scored answers of a step."""

EPSILON = 1e-4
"""Added to a standard deviation before dividing, in reward units."""
FLAT = 1e-7
"""Relative spread below which a group counts as equal: floating-point noise is not a signal."""


def center(rewards: Tensor) -> Tensor:
    """Reward minus the group mean. rewards [G] -> [G], sums to 0.  (Dr.GRPO, arXiv 2503.20783)

    Its expected gradient is (1 - 1/G) times that of the expected reward.

    >>> center(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    tensor([ 0.5000, -0.5000, -0.5000,  0.5000])
    """
    _needs_siblings(rewards)
    if is_flat(rewards):
        return torch.zeros_like(rewards)
    return rewards - rewards.mean()


def is_flat(rewards: Tensor) -> bool:
    """True where a group's rewards are equal but for rounding: it has nothing to teach."""
    return bool(rewards.max() - rewards.min() <= FLAT * rewards.abs().max())


def leave_one_out(rewards: Tensor) -> Tensor:
    """Reward minus the mean of its siblings. rewards [G] -> [G], sums to 0.  (RLOO, arXiv 2402.14740)

    Equal to G/(G-1) times `center`; unbiased for every G.

    >>> leave_one_out(torch.tensor([1.0, 0.0, 0.0]))
    tensor([ 1.0000, -0.5000, -0.5000])
    """
    return center(rewards) * (len(rewards) / (len(rewards) - 1))


def standardize(rewards: Tensor) -> Tensor:
    """(r - mean) / (std + 1e-4), std with G - 1 below. rewards [G] -> [G].  (GRPO, arXiv 2402.03300)

    The paper leaves the degrees of freedom and the epsilon open; these are the ones in common use.
    The scale depends on G and on how hard the prompt is: see `center` for a scheme without that.

    >>> standardize(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    tensor([ 0.8659, -0.8659, -0.8659,  0.8659])
    """
    return center(rewards) / (rewards.std(correction=1) + EPSILON)


def batch_scale(rewards: Tensor, advantages: Tensor) -> Tensor:
    """Divide by the standard deviation of the whole step's rewards. [M], [M] -> [M].

    With `center` this is Lite-PPO (arXiv 2508.08221): group mean, batch deviation. As there, the
    deviation is that of the raw rewards (M - 1 below), so differences between prompts count in it.
    """
    if len(rewards) < 2:
        return advantages
    return advantages / (rewards.std(correction=1) + EPSILON)


def assign(cohort: Sequence[Group], advantage: Advantage, rescale: Rescale | None = None) -> list[Group]:
    """Give every trajectory its advantage, the same for each of its decisions.

    Unscored trajectories, and groups with fewer than two scored ones, get 0 and teach nothing.
    """
    per_group = [_of_group(group, advantage) for group in cohort]
    if rescale is not None:
        per_group = _rescaled(cohort, per_group, rescale)
    return [
        replace(group, trajectories=tuple(map(_with_advantage, group.trajectories, values)))
        for group, values in zip(cohort, per_group, strict=True)
    ]


def _of_group(group: Group, advantage: Advantage) -> np.ndarray:
    rewards = group.rewards
    scored = ~np.isnan(rewards)
    values = np.zeros(len(rewards))
    if scored.sum() >= 2:
        values[scored] = advantage(torch.from_numpy(rewards[scored])).numpy()
    return values


def _rescaled(cohort: Sequence[Group], per_group: list[np.ndarray], rescale: Rescale) -> list[np.ndarray]:
    if not cohort:
        return per_group
    rewards, values = np.concatenate([g.rewards for g in cohort]), np.concatenate(per_group)
    scored = ~np.isnan(rewards)
    values[scored] = rescale(torch.from_numpy(rewards[scored]), torch.from_numpy(values[scored])).numpy()
    return np.split(values, np.cumsum([len(v) for v in per_group])[:-1])


def _with_advantage(trajectory: Trajectory, value: float) -> Trajectory:
    return replace(trajectory, advantage=np.full(trajectory.n_decisions, value, dtype=np.float32))


def _needs_siblings(rewards: Tensor) -> None:
    if len(rewards) < 2:
        raise ValueError(f"a group of {len(rewards)} has no baseline: an advantage needs 2 or more rewards")
