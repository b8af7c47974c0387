"""Weightings: how much every decision of a step counts, before any cut into micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.losses.decisions import dense

Weigh = Callable[[Tensor, Tensor], Tensor]
"""(trajectory_id [N], group_id [N]) -> weight [N]; over the whole step."""


def per_trajectory_mean(trajectory_id: Tensor, group_id: Tensor) -> Tensor:
    """1 / (n T_i): every trajectory counts alike, however long. (GRPO)  [N] -> [N], sums to 1."""
    index = dense(trajectory_id)
    lengths = torch.bincount(index)
    return 1.0 / (lengths[index] * len(lengths))


def per_token_mean(trajectory_id: Tensor, group_id: Tensor) -> Tensor:
    """1 / N: every decision of the whole step counts alike. (DAPO)  [N] -> [N], sums to 1."""
    return torch.full(trajectory_id.shape, 1.0 / max(len(trajectory_id), 1), device=trajectory_id.device)


@dataclass(frozen=True, slots=True)
class constant:  # noqa: N801 - reads as the function that it is
    """1 / (n length): a constant denominator, so that length is neither punished nor paid. (Dr.GRPO)"""

    length: float

    def __call__(self, trajectory_id: Tensor, group_id: Tensor) -> Tensor:
        n = len(torch.unique(trajectory_id))
        value = 1.0 / (max(n, 1) * self.length)
        return torch.full(trajectory_id.shape, value, device=trajectory_id.device)


@dataclass(frozen=True, slots=True)
class each_group_alike:  # noqa: N801 - reads as the function that it is
    """Another weighting, scaled group by group so that every group has the same share of its total.

    Without it a prompt counts by how many answers (or tokens) it got, which is no accident where group sizes
    differ: asking a prompt more often is to measure its gradient better, not to want it more.
    """

    weigh: Weigh

    def __call__(self, trajectory_id: Tensor, group_id: Tensor) -> Tensor:
        weight = self.weigh(trajectory_id, group_id)
        index = dense(group_id)
        own = torch.bincount(index, weights=weight).to(weight)
        return weight * (own.sum() / len(own)) / own[index]
