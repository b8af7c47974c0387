"""Changes of scale over a whole step, after every group has its advantages."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from groupwise.advantages.outcome import EPSILON

Rescale = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(advantage [N], trajectory_id [N], rewards [M]) -> advantage [N], over the M scored answers of a step;
trajectory_id counts them from 0."""


def batch_scale(advantage: Tensor, trajectory_id: Tensor, rewards: Tensor) -> Tensor:
    """Divide by the standard deviation of the whole step's rewards.

    With `center` this is Lite-PPO (arXiv 2508.08221): group mean, batch deviation. As there, the
    deviation is that of the raw rewards (M - 1 below), so differences between prompts count in it.
    """
    if len(rewards) < 2:
        return advantage
    return advantage / (rewards.std(correction=1) + EPSILON)
