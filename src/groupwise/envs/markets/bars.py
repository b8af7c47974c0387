"""What is known at each bar, and which bars are for training, for choosing and for the last test."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from groupwise.envs.markets.prices import PricesError, Series

SHARES = (0.6, 0.2, 0.2)
"""Of the bars, in time: training, validation, test."""
FARTHEST = 5.0
"""Deviations at which a feature is cut off."""
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Part:
    """Bars `first` to `last`. At `first` one decides first, at `last` one is paid last."""

    first: int
    last: int

    def __len__(self) -> int:
        """Decisions, each with the bar after it."""
        return self.last - self.first


@dataclass(frozen=True, slots=True)
class Bars:
    """A series as a policy may see it."""

    series: Series
    window: int
    returns: np.ndarray
    """[T] log-return from the bar before; NaN at bar 0."""
    features: np.ndarray
    """[T, window + 2] float32, row t of bars up to and including t: the last `window` log-returns, their sum
    and their deviation, each by what is usual in training. NaN before bar `window`."""
    parts: tuple[Part, Part, Part]
    """Training, validation, test: no bar that one looks at or is paid by is another's."""

    def part(self, name: str) -> Part:
        return self.parts[PARTS.index(name)]


def bars(series: Series, window: int) -> Bars:
    """Features and parts of a series.

    Between two parts lie `window` bars at which nobody decides: a first window that reached back into the
    part before it would look at what that one was paid by. Deviations are of training alone.

    Raises:
        PricesError: too few bars, or prices that never move in training.
    """
    parts = _parts(series, window)
    returns = np.concatenate([[np.nan], np.diff(np.log(series.prices))])
    usual = returns[1 : parts[0].last + 1].std()
    if usual == 0:
        raise PricesError(f"{series.name}: the price never moves in its first {parts[0].last} bars")
    rows = sliding_window_view(returns[1:], window) / usual
    near = np.log(rows.std(-1) + 1e-3)
    told = np.column_stack([rows, rows.sum(-1) / np.sqrt(window), near]).clip(-FARTHEST, FARTHEST)
    features = np.full((len(returns), window + 2), np.nan, dtype=np.float32)
    features[window:] = told
    return Bars(series, window, returns, features, parts)


def _parts(series: Series, window: int) -> tuple[Part, Part, Part]:
    total = len(series.prices)
    if window < 2:
        raise PricesError(f"window={window}: 2 bars or more")
    cuts = [round(total * share) for share in np.cumsum((0.0, *SHARES)).tolist()]
    train, validation, test = (Part(begin + window, end - 1) for begin, end in pairwise(cuts))
    if min(len(train), len(validation), len(test)) < window:
        raise PricesError(
            f"{series.name} has {total} bars; with window={window} a fifth of them has to hold two windows: "
            f"at least {10 * window + 5} bars, or a smaller window"
        )
    return train, validation, test
