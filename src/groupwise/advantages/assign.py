"""Give every trajectory of a step its advantage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from groupwise.advantages.outcome import Advantage
from groupwise.advantages.step import Rescale
from groupwise.trajectory import Group, Trajectory


def assign(cohort: Sequence[Group], advantage: Advantage, rescale: Rescale | None = None) -> list[Group]:
    """Every trajectory with its advantages, one for each of its decisions.

    Unscored trajectories, and groups with fewer than two scored ones, get 0 and teach nothing: nor do they
    count in a rescaling.

    Raises:
        ValueError: a scheme gives another number of values, another shape, or one that is not finite.
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
    values = list(advantage(rewards, replace(group, trajectories=tuple(scored))))
    if len(values) != len(scored):
        raise ValueError(
            f"{advantage} gave {len(values)} advantages to {len(scored)} scored answers: it returns one for "
            "each, or one vector over its decisions for each"
        )
    left = iter(values)
    return [_spread(next(left), t) if _is_scored(t) else np.zeros(t.n_decisions) for t in group.trajectories]


def _is_scored(trajectory: Trajectory) -> bool:
    return trajectory.reward is not None and not math.isnan(trajectory.reward)


def _spread(value: Tensor, trajectory: Trajectory) -> np.ndarray:
    n = trajectory.n_decisions
    if value.shape not in ((), (n,)):
        raise ValueError(f"an advantage {list(value.shape)} for an answer of {n} decisions: [] or [{n}]")
    if not value.isfinite().all():
        raise ValueError(
            f"an advantage of {value.tolist()} for a reward of {trajectory.reward}: not finite. A mean or a "
            "deviation of 0 was divided by?"
        )
    return np.broadcast_to(value.numpy(), n)


def _rescaled(
    cohort: Sequence[Group], per_group: list[list[np.ndarray]], rescale: Rescale
) -> list[list[np.ndarray]]:
    members = [t for group in cohort for t in group.trajectories]
    rows = [row for values in per_group for row in values]
    scored = [i for i, compared in enumerate(_compared(cohort)) if compared]
    if not scored:
        return per_group
    lengths = [len(rows[i]) for i in scored]
    flat = torch.from_numpy(np.concatenate([rows[i] for i in scored]))
    ids = torch.from_numpy(np.repeat(np.arange(len(scored)), lengths))
    rewards = torch.tensor([members[i].reward for i in scored], dtype=torch.float64)
    new = rescale(flat, ids, rewards).numpy()
    if new.shape != flat.shape:
        raise ValueError(f"{rescale} gave {list(new.shape)} for {len(flat)} decisions: [{len(flat)}]")
    for i, row in zip(scored, np.split(new, np.cumsum(lengths)[:-1]), strict=True):
        rows[i] = row
    left = iter(rows)
    return [[next(left) for _ in group.trajectories] for group in cohort]


def _compared(cohort: Sequence[Group]) -> Iterator[bool]:
    """Of every trajectory, whether it has a reward and a sibling with one: only these are rescaled."""
    for group in cohort:
        scored = [_is_scored(t) for t in group.trajectories]
        yield from (own and sum(scored) > 1 for own in scored)


def _with_advantage(trajectory: Trajectory, values: np.ndarray) -> Trajectory:
    return replace(trajectory, advantage=values.astype(np.float32))
