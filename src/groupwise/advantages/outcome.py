"""Rewards to advantages: how far each answer stands above its siblings, from the rewards alone.

What a scheme makes of binary rewards, in expectation over groups, is a weight on the gradient of the
success probability p: docs/theory.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.trajectory import Group

Advantage = Callable[[Tensor, Group], Tensor | Sequence[Tensor]]
"""(rewards [G], the scored siblings) -> advantages [G], or one [T_i] for each of them; G >= 2."""
Outcome = Callable[[Tensor], Tensor]
"""values [G] -> advantages [G]: a scheme that looks at nothing but the numbers."""

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
    needs_siblings(rewards)
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


@dataclass(frozen=True, slots=True)
class standardized:  # noqa: N801 - reads as the function that it is
    """(r - mean) / (std + epsilon). rewards [G] -> [G].  (GRPO, arXiv 2402.03300)

    The paper leaves open how many are divided by: `correction` 1 is G - 1 below (in common use), 0 is G,
    which makes every advantage sqrt(G / (G - 1)) larger. Either way the scale depends on G and on how
    hard the prompt is; see `center` for a scheme without that.

    >>> standardized(correction=0, epsilon=0)(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    tensor([ 1., -1., -1.,  1.])
    """

    correction: int = 1
    epsilon: float = EPSILON
    """In reward units, added to the deviation (not under its root)."""

    def __post_init__(self) -> None:
        if self.correction not in (0, 1) or not self.epsilon >= 0:
            raise ValueError(f"{self}: correction is 0 or 1, epsilon 0 or more")

    def __call__(self, rewards: Tensor, group: Group | None = None) -> Tensor:
        centered = center(rewards)
        if not centered.any():  # without an epsilon: 0 / 0
            return centered
        return centered / (rewards.std(correction=self.correction) + self.epsilon)


def standardize(rewards: Tensor, group: Group | None = None) -> Tensor:
    """(r - mean) / (std + 1e-4), std with G - 1 below: `standardized` with its defaults.

    >>> standardize(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    tensor([ 0.8659, -0.8659, -0.8659,  0.8659])
    """
    return standardized()(rewards)


def maxrl(rewards: Tensor, group: Group | None = None) -> Tensor:
    """(r - mean) / mean, 0 where nothing succeeded. rewards [G] >= 0 -> [G].  (arXiv 2602.02710)

    On binary rewards it climbs log p, cut after the (G-1)-th of its terms -(1 - p)^k / k: the weight on
    grad p is (1 - (1-p)^(G-1)) / p, up to 1/p on hard prompts, so expect long gradients there. The
    paper's code adds 1e-6 to the mean; here nothing is added and groups of equals are exactly 0.

    Raises:
        ValueError: a reward is negative, where a mean of 0 means nothing.

    >>> maxrl(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([ 3., -1., -1., -1.])
    """
    if bool((rewards < 0).any()):
        raise ValueError(
            f"maxrl divides by the mean reward and takes none below 0, not {rewards.min().item():g}: "
            "shift the rewards, or use another advantage"
        )
    centered = center(rewards)
    return centered / rewards.mean() if centered.any() else centered


def needs_siblings(rewards: Tensor) -> None:
    """Refuse a group without a baseline."""
    if len(rewards) < 2:
        raise ValueError(f"a group of {len(rewards)} has no baseline: an advantage needs 2 or more rewards")
