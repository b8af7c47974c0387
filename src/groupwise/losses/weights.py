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
    """1 / (n T_i): every trajectory counts alike, however long. (GRPO, 2402.03300)  [N] -> [N], sums to 1."""
    index = dense(trajectory_id)
    lengths = torch.bincount(index)
    return 1.0 / (lengths[index] * len(lengths))


def per_token_mean(trajectory_id: Tensor, group_id: Tensor) -> Tensor:
    """1 / N: every decision of the whole step counts alike. (DAPO, 2503.14476)  [N] -> [N], sums to 1."""
    return torch.full(trajectory_id.shape, 1.0 / max(len(trajectory_id), 1), device=trajectory_id.device)


def per_trajectory_total(trajectory_id: Tensor, group_id: Tensor) -> Tensor:
    """1 / n: a trajectory counts by its length. (LUSPO, arXiv 2602.05261)  [N] -> [N], sums to mean T.

    For a ratio of the whole trajectory, so that each decision is pulled as hard in a long answer as in
    a short one; and for surrogates of whole trajectories, whose log-probs are sums.
    """
    return constant(1.0)(trajectory_id, group_id)


@dataclass(frozen=True, slots=True)
class constant:  # noqa: N801 - reads as the function that it is
    """1 / (n length): a constant denominator, so that length is neither punished nor paid.

    (Dr.GRPO, arXiv 2503.20783, with the token limit as `length`.)
    """

    length: float

    def __post_init__(self) -> None:
        if not self.length > 0:
            raise ValueError(f"length={self.length} decisions: above 0")

    def __call__(self, trajectory_id: Tensor, group_id: Tensor) -> Tensor:
        n = len(torch.unique(trajectory_id))
        value = 1.0 / (max(n, 1) * self.length)
        return torch.full(trajectory_id.shape, value, device=trajectory_id.device)


@dataclass(frozen=True, slots=True)
class each_group_alike:  # noqa: N801 - reads as the function that it is
    """The inner weighting within each group, and the mean over groups.

    A mean over the answers of all groups weighs a prompt by how many answers it has. Where groups differ
    in size, this is the mean over prompts again: a group of copies of the same answers changes nothing.
    """

    inner: Weigh = per_trajectory_mean

    def __call__(self, trajectory_id: Tensor, group_id: Tensor) -> Tensor:
        groups = torch.unique(group_id)
        weight = torch.zeros(trajectory_id.shape, device=trajectory_id.device)
        for group in groups:
            mine = group_id == group
            weight[mine] = self.inner(trajectory_id[mine], group_id[mine]) / len(groups)
        return weight
