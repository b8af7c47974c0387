"""How good stated probabilities were, beside the share that was known beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from groupwise.envs.markets.backtest import interval
from groupwise.envs.markets.bars import Bars, Part
from groupwise.envs.markets.forecasting import Score


def happened(bars: Bars, part: Part) -> np.ndarray:
    """[n] whether the price was higher one bar later, by the bars of the part at which one is asked."""
    return bars.returns[part.first + 1 : part.last + 1] > 0


def base_rate(bars: Bars) -> float:
    """The share of bars of training that went up: what one would always say without looking."""
    return float((bars.returns[1 : bars.parts[0].last + 1] > 0).mean())


@dataclass(frozen=True, slots=True)
class Level:
    """Forecasts that were about alike."""

    said: float
    """Their mean."""
    came: float
    """The share of them that came true."""
    count: int


def levels(probabilities: np.ndarray, came: np.ndarray, count: int = 5) -> list[Level]:
    """Forecasts [n] in `count` groups of equal size, the lowest first, with what came true of each."""
    order = np.argsort(probabilities, kind="stable")
    groups = [g for g in np.array_split(order, count) if len(g)]
    return [Level(float(probabilities[g].mean()), float(came[g].mean()), len(g)) for g in groups]


def miscalibration(found: list[Level]) -> float:
    """Mean distance between what was said and what came, weighted by how often. 0 is calibrated."""
    total = sum(level.count for level in found)
    return sum(abs(level.said - level.came) * level.count for level in found) / total


@dataclass(frozen=True, slots=True)
class Forecasted:
    """How good forecasts were."""

    score: float
    """Mean."""
    more: tuple[float, float, float]
    """(mean score more than that of the base rate, and its 95 % interval)."""
    levels: list[Level]


def judged(probabilities: np.ndarray, bars: Bars, part: Part, score: Score) -> Forecasted:
    """Forecasts [n] for the bars of a part, beside always saying training's base rate."""
    came = happened(bars, part)
    own = score(probabilities, came)
    more = own - score(np.full(len(came), base_rate(bars)), came)
    low, high = interval(more, bars.window)
    n = len(came)
    return Forecasted(float(own.mean()), (float(more.mean()), low / n, high / n), levels(probabilities, came))
