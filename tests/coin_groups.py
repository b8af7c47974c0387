"""Prompts whose answers are coins: groups made from nothing but their rewards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import comb
from typing import Any

import numpy as np

from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn


def answer(reward: float | None) -> Trajectory:
    turn = Turn(np.arange(2), np.arange(1), np.zeros(1, dtype=np.float32))
    return Trajectory((turn,), PolicyTag(), StopReason.FINISHED, reward=reward)


def group(rewards: Sequence[float | None], row: int | None = 0, ordinal: int = 0, **columns: Any) -> Group:
    return Group(Prompt(ordinal, f"row {row}", columns, row), tuple(map(answer, rewards)))


def coins(p: float, n: int) -> Iterator[tuple[float, list[float]]]:
    """Every outcome of n answers that are right with chance p, up to their order, with its probability."""
    for k in range(n + 1):
        yield comb(n, k) * p**k * (1 - p) ** (n - k), [1.0] * k + [0.0] * (n - k)


def together(ps: Sequence[float], sizes: Sequence[int]) -> Iterator[tuple[float, list[list[float]]]]:
    """Every outcome of one group for each p."""
    for outcome in product(*(list(coins(p, n)) for p, n in zip(ps, sizes, strict=True))):
        yield float(np.prod([chance for chance, _ in outcome])), [rewards for _, rewards in outcome]
