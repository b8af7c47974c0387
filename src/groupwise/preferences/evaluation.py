"""What a reward model is worth on comparisons that it has not seen: right, calibrated, or fond of length?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from groupwise.preferences.fit import Item

BINS = 10
"""Of the reliability table, from 1/2 to 1."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """n pairs of answers to one prompt; of a ranking all of its pairs that are not tied."""

    lead: np.ndarray
    """[n] score of the better minus that of the worse, nats."""
    longer: np.ndarray
    """[n] characters of the better minus those of the worse."""


@dataclass(frozen=True, slots=True)
class Bin:
    """A row of the reliability table."""

    low: float
    high: float
    n: int
    confidence: float
    """Mean of what the model said."""
    right: float
    """Share of pairs in which it was right."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a preference that the model gives chance p is right in p of the cases."""

    table: tuple[Bin, ...]
    error: float
    """Expected calibration error: mean over pairs of |confidence - right| of their bin. (arXiv 1706.04599)"""
    temperature: float | None
    """Scores divided by it are as sure as they should be; above 1: too sure. None: no better than chance,
    or never wrong, and then no temperature fits."""


@dataclass(frozen=True, slots=True)
class Length:
    """How much of a preference is a preference for length."""

    baseline: float
    """Accuracy of "the longer one is better": below 1/2 people preferred the shorter."""
    longer_chosen: float | None
    """Accuracy where the better one is the longer; None where there is no such pair."""
    shorter_chosen: float | None
    prefers_longer: float
    """Share of pairs of unequal length in which the model prefers the longer; an unbiased one is near
    `baseline`."""
    correlation: float
    """Of score with characters, between answers to one prompt: sum(lead x longer) / sqrt(sum lead^2 x sum
    longer^2), which does not depend on the order of a pair."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one model, or of an ensemble's joint score."""

    pairs: int
    accuracy: float
    """Share of pairs in which the better one has the higher score; a tie counts half."""
    error: float
    """Standard error of the accuracy, as if one more pair were right and one more wrong: never 0."""
    loss: float
    """Mean of -log sigmoid(lead); log 2 = 0.693 by chance."""
    lead: float
    """Mean, nats."""
    calibration: Calibration
    length: Length


def pairs(held_out: Sequence[Item], scores: np.ndarray) -> Pairs:
    """scores [rows of all items, in their order]."""
    leads, longer, start = [], [], 0
    for item in held_out:
        own = scores[start : start + len(item.rows)]
        start += len(item.rows)
        for i, j in item.order.pairs:
            leads.append(float(own[i] - own[j]))
            longer.append(item.characters[i] - item.characters[j])
    return Pairs(np.array(leads), np.array(longer))


def measure(found: Pairs) -> Measured:
    n, accuracy = len(found.lead), float(_right(found.lead).mean())
    careful = (accuracy * n + 1) / (n + 2)
    return Measured(
        pairs=n,
        accuracy=accuracy,
        error=math.sqrt(careful * (1 - careful) / n),
        loss=float(np.logaddexp(0, -found.lead).mean()),
        lead=float(found.lead.mean()),
        calibration=calibration(found.lead),
        length=length(found),
    )


def calibration(lead: np.ndarray) -> Calibration:
    """Of what the model prefers itself, at confidence sigmoid(|lead|), in bins of equal width."""
    confidence, right = _sigmoid(np.abs(lead)), _right(lead)
    edges = np.linspace(0.5, 1, BINS + 1)
    which = np.clip(np.digitize(confidence, edges) - 1, 0, BINS - 1)
    rows = []
    for b in range(BINS):
        at = which == b
        if at.any():
            means = float(confidence[at].mean()), float(right[at].mean())
            rows.append(Bin(float(edges[b]), float(edges[b + 1]), int(at.sum()), *means))
    error = sum(row.n * abs(row.confidence - row.right) for row in rows) / len(lead)
    return Calibration(tuple(rows), error, temperature(lead))


def temperature(lead: np.ndarray) -> float | None:
    """The T that makes mean -log sigmoid(lead / T) least, by bisection; the loss is convex in 1 / T.

    Its slope in b = 1 / T is -mean(lead x sigmoid(-b x lead)): without a root where the mean lead is not
    above 0 (b = 0 is best) or no lead is below 0 (b grows without end).
    """

    def slope(b: float) -> float:
        return -float((lead * _sigmoid(-b * lead)).mean())

    if slope(0) >= 0 or not (lead < 0).any():
        return None
    low, high = 0.0, 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def length(found: Pairs) -> Length:
    lead, longer = found.lead, found.longer
    right, signs = _right(lead), np.sign(longer)
    unequal = signs != 0
    squares = float((lead**2).sum() * (longer.astype(float) ** 2).sum())
    return Length(
        baseline=float(_right(longer).mean()),
        longer_chosen=_mean(right[signs > 0]),
        shorter_chosen=_mean(right[signs < 0]),
        prefers_longer=float(_right(lead * signs)[unequal].mean()) if unequal.any() else 0.5,
        correlation=float((lead * longer).sum()) / math.sqrt(squares) if squares else 0.0,
    )


def _right(lead: np.ndarray) -> np.ndarray:
    return 0.5 * ((lead > 0).astype(float) + (lead >= 0))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))
