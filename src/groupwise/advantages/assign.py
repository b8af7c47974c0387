"""Give every trajectory of a step its advantage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from groupwise.advantages.outcome import Advantage
from groupwise.advantages.step import Rescale
from groupwise.trajectory import Group, Trajectory


def assign(cohort: Sequence[Group], advantage: Advantage, rescale: Rescale | None = None) -> list[Group]:
    """Every trajectory with its advantages, one for each of its decisions.

    Unscored trajectories, and groups with fewer than two scored ones, get 0 and teach nothing.
    """
    per_group = [_of_group(group, advantage) for group in cohort]
    if rescale is not None:
        per_group = _rescaled(cohort, per_group, rescale)
    return [
        replace(group, trajectories=tuple(map(_with_advantage, group.trajectories, values)))
        for group, values in zip(cohort, per_group, strict=True)
    ]


def _of_group(group: Group, advantage: Advantage) -> list[np.ndarray]:
    """One [T_i] for every trajectory."""
    scored = [t for t in group.trajectories if _is_scored(t)]
    if len(scored) < 2:
        return [np.zeros(t.n_decisions) for t in group.trajectories]
    rewards = torch.tensor([t.reward for t in scored], dtype=torch.float64)
    values = iter(advantage(rewards, replace(group, trajectories=tuple(scored))))
    return [
        _spread(next(values), t) if _is_scored(t) else np.zeros(t.n_decisions) for t in group.trajectories
    ]


def _is_scored(trajectory: Trajectory) -> bool:
    return trajectory.reward is not None and not math.isnan(trajectory.reward)


def _spread(value: Tensor, trajectory: Trajectory) -> np.ndarray:
    return np.broadcast_to(value.numpy(), trajectory.n_decisions)


def _rescaled(
    cohort: Sequence[Group], per_group: list[list[np.ndarray]], rescale: Rescale
) -> list[list[np.ndarray]]:
    members = [t for group in cohort for t in group.trajectories]
    rows = [row for values in per_group for row in values]
    scored = [i for i, t in enumerate(members) if _is_scored(t)]
    if not scored:
        return per_group
    lengths = [len(rows[i]) for i in scored]
    flat = torch.from_numpy(np.concatenate([rows[i] for i in scored]))
    ids = torch.from_numpy(np.repeat(np.arange(len(scored)), lengths))
    rewards = torch.tensor([members[i].reward for i in scored], dtype=torch.float64)
    new = rescale(flat, ids, rewards).numpy()
    for i, row in zip(scored, np.split(new, np.cumsum(lengths)[:-1]), strict=True):
        rows[i] = row
    left = iter(rows)
    return [[next(left) for _ in group.trajectories] for group in cohort]


def _with_advantage(trajectory: Trajectory, values: np.ndarray) -> Trajectory:
    return replace(trajectory, advantage=values.astype(np.float32))
