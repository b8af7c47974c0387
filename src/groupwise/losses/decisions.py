"""What the loss sees: N decisions as vectors of one length.

A *term* is what one decision adds to the loss (to be minimised) before its weight: loss = dot(weight, term).
Torch only: no configuration, no logging, no device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to +-20 before exp: 5e8 is already beyond any clip, and finite."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """N decisions of whole trajectories; vectors [N] in one floating type.

    Three policies may stand apart: the one that chose (behaviour), the one that the step began with
    (proximal), and the one in training (new). On-policy the first two are one.
    """

    advantage: Tensor
    trajectory_id: Tensor
    """int64; decisions of one trajectory share an id."""
    new_logp: Tensor
    """Natural log, with gradient."""
    proximal_logp: Tensor
    behaviour_logp: Tensor
    reference_logp: Tensor | None = None
    entropy: Tensor | None = None
    """Nats, under the policy in training."""
    selected: Tensor | None = None
    """bool: the decisions that `Recipe.select` picked, over the whole step."""
    foreign: Tensor | None = None
    """bool: the decisions of another policy than the one in training; None: there are none."""

    @property
    def log_ratio(self) -> Tensor:
        """new / proximal: what this step has changed so far. With gradient."""
        return self.new_logp - self.proximal_logp

    @property
    def log_weight(self) -> Tensor:
        """proximal / behaviour: what importance sampling has to correct. Without gradient."""
        return (self.proximal_logp - self.behaviour_logp).detach()


def bounded_exp(log_ratio: Tensor) -> Tensor:
    """exp, finite for any argument."""
    return log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def dense(trajectory_id: Tensor) -> Tensor:
    """Any ids -> 0, 1, 2, ... in rising order of id."""
    index: Tensor = torch.unique(trajectory_id, return_inverse=True)[1]
    return index


def per_trajectory_sum(x: Tensor, trajectory_id: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums [n] over the n trajectories, their lengths [n], and the place [N] of every decision in them."""
    index = dense(trajectory_id)
    lengths = torch.bincount(index)
    return x.new_zeros(len(lengths)).index_add(0, index, x), lengths, index
