"""Small series of prices for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from groupwise.envs.markets.prices import Series


def walk(n: int = 300, seed: int = 0) -> Series:
    """A random walk."""
    moves = np.random.default_rng(seed).normal(0, 0.02, n - 1)
    return Series("walk", 100 * np.exp(np.concatenate([[0.0], moves.cumsum()])))


def of(prices: Sequence[float]) -> Series:
    return Series("given", np.array(prices, dtype=np.float64))


def save(path: Path, prices: Sequence[float] | np.ndarray) -> Path:
    """A file that `market:FILE` reads."""
    rows = [f"{price}\n" for price in np.asarray(prices).tolist()]
    path.write_text("close\n" + "".join(rows), "utf-8")
    return path
