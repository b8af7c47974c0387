"""Rewards to advantages: how far each answer stands above its siblings, from the rewards alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from groupwise.trajectory import Group

Advantage = Callable[[Tensor, Group], Tensor | Sequence[Tensor]]
"""(rewards [G], the scored siblings) -> advantages [G], or one [T_i] for each of them; G >= 2."""

EPSILON = 1e-4
"""Added to a standard deviation before dividing, in reward units."""
FLAT = 1e-7
"""Relative spread below which a group counts as equal: floating-point noise is not a signal."""


def center(rewards: Tensor, group: Group | None = None) -> Tensor:
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


def leave_one_out(rewards: Tensor, group: Group | None = None) -> Tensor:
    """Reward minus the mean of its siblings. rewards [G] -> [G], sums to 0.  (RLOO, arXiv 2402.14740)

    Equal to G/(G-1) times `center`; unbiased for every G.

    >>> leave_one_out(torch.tensor([1.0, 0.0, 0.0]))
    tensor([ 1.0000, -0.5000, -0.5000])
    """
    return center(rewards) * (len(rewards) / (len(rewards) - 1))


def standardize(rewards: Tensor, group: Group | None = None) -> Tensor:
    """(r - mean) / (std + 1e-4), std with G - 1 below. rewards [G] -> [G].  (GRPO, arXiv 2402.03300)

    The paper leaves the degrees of freedom and the epsilon open; these are the ones in common use.
    The scale depends on G and on how hard the prompt is: see `center` for a scheme without that.

    >>> standardize(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    tensor([ 0.8659, -0.8659, -0.8659,  0.8659])
    """
    return center(rewards) / (rewards.std(correction=1) + EPSILON)


def _needs_siblings(rewards: Tensor) -> None:
    if len(rewards) < 2:
        raise ValueError(f"a group of {len(rewards)} has no baseline: an advantage needs 2 or more rewards")
