"""Prompts that are not worth asking, and groups that are not worth training on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from groupwise.advantages import is_flat
from groupwise.groups.beliefs import Belief
from groupwise.trajectory import Group

Skip = Callable[[Belief, float], bool]
"""(belief about a prompt, a uniform number in [0, 1) of its own) -> True to pass it over."""


@dataclass(frozen=True, slots=True)
class seldom:  # noqa: N801 - reads as the function that it is
    """Ask a prompt with probability max(floor, keep^z), z the visits in a row without a spread.

    Prompts that were solved or hopeless mostly stay so (GRESO, arXiv 2506.02177, which skips with probability
    1 - keep^z and moves `keep` towards a share of such groups that is asked for; here it stays). One visit
    with a spread sets z to 0, and no prompt is given up for good: the policy changes.
    """

    keep: float = 0.5
    floor: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.floor <= self.keep <= 1:
            raise ValueError(f"{self}: 0 < floor <= keep <= 1, or some prompts would never be asked again")

    def __call__(self, belief: Belief, uniform: float) -> bool:
        return uniform >= max(self.floor, self.keep**belief.flat_visits)


def is_dead(group: Group) -> bool:
    """True where a scored group has nothing to teach: fewer than two rewards, or all of them alike."""
    rewards = group.rewards[~np.isnan(group.rewards)]
    return len(rewards) < 2 or is_flat(torch.from_numpy(rewards))
