"""Scored answers and groups of them, for tests that look at advantages."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def turn(
    decisions: Sequence[int], observation: object = (1,), rewards: Sequence[float] | None = None
) -> Turn:
    """`observation` of one dimension is text; of two, a row of numbers for each decision."""
    return Turn(
        np.array(observation),
        np.array(decisions, dtype=np.int64),
        np.zeros(len(decisions), dtype=np.float32),
        None if rewards is None else np.array(rewards, dtype=np.float64),
    )


def answer(reward: float | None, length: int = 2, **parts: float | None) -> Trajectory:
    """One turn of decisions 0, 1, 2, ..."""
    return told(reward, turn(range(length)), **parts)


def told(reward: float | None, *turns: Turn, **parts: float | None) -> Trajectory:
    return Trajectory(turns, PolicyTag(), StopReason.FINISHED, reward=reward, parts=parts)


def siblings(*trajectories: Trajectory) -> Group:
    return Group(Prompt(0, "?"), trajectories)


def group(*rewards: float | None) -> Group:
    return siblings(*map(answer, rewards))


def rewards_of(group: Group) -> Tensor:
    return torch.from_numpy(group.rewards)


def values(groups: list[Group]) -> list[list[float]]:
    return [[float(t.advantage[0]) for t in g.trajectories] for g in groups]  # type: ignore[index]
