"""Running means and deviations of what a world shows and gives, so that a network sees numbers near 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FLOOR = 1e-8
"""Added to a variance: what never changes is not divided by 0."""
FARTHEST = 10.0
"""Deviations from the mean beyond which an observation is cut off."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance [k] of all rows so far, float64."""

    count: float
    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def unknown(cls, size: int) -> Moments:
        """Of no rows: mean 0, variance 1, so that nothing is changed by them."""
        return cls(0.0, np.zeros(size), np.ones(size))

    def after(self, rows: np.ndarray) -> Moments:
        """With [n, k] more rows. Chan, Golub, LeVeque 1979: no sum of squares, so no digits are lost.

        mean = mean_a + (mean_b - mean_a) n_b / n,  M2 = M2_a + M2_b + (mean_b - mean_a)^2 n_a n_b / n
        """
        if not len(rows):
            return self
        rows = rows.astype(np.float64)
        n, mean, variance = len(rows), rows.mean(0), rows.var(0)
        total, apart = self.count + n, mean - self.mean
        squares = self.variance * self.count + variance * n + apart**2 * (self.count * n / total)
        return Moments(total, self.mean + apart * (n / total), squares / total)

    def remembered(self) -> dict[str, Any]:
        """As JSON has it; every digit of a float64 survives."""
        return {"count": self.count, "mean": self.mean.tolist(), "variance": self.variance.tolist()}

    @classmethod
    def recalled(cls, memory: Mapping[str, Any]) -> Moments:
        return cls(memory["count"], np.array(memory["mean"]), np.array(memory["variance"]))

    def forgotten(self) -> Moments:
        """Of no rows yet."""
        return Moments.unknown(len(self.mean))


@dataclass(frozen=True, slots=True)
class Normaliser:
    """What is known of a world's numbers; None: they are left as they are.

    Whoever uses one leaves it alone within a step, so that the learner shows a policy what it saw when it
    acted, and ratios are exact. Unlike the usual wrappers, which move with every step of an environment.
    """

    observations: Moments | None = None
    """Of the numbers of a row, pictures left out."""
    returns: Moments | None = None
    """Of episodes' returns."""

    @property
    def learns(self) -> bool:
        return self.observations is not None or self.returns is not None

    def after(self, rows: np.ndarray, returns: Sequence[float]) -> Normaliser:
        """With more rows [n, width] as the world gave them, and the returns of whole episodes."""
        seen, given = self.observations, self.returns
        return Normaliser(
            None if seen is None else seen.after(rows[:, : len(seen.mean)]),
            None if given is None else given.after(np.reshape(returns, (-1, 1))),
        )

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """[..., width] -> float32, numbers with mean 0 and deviation 1, cut off at FARTHEST."""
        known = self.observations
        if known is None or not known.count:
            return rows
        size = len(known.mean)
        scaled = (rows[..., :size] - known.mean) / np.sqrt(known.variance + FLOOR)
        near = scaled.clip(-FARTHEST, FARTHEST).astype(np.float32)
        return near if size == rows.shape[-1] else np.concatenate([near, rows[..., size:]], axis=-1)

    def rewards(self, rewards: np.ndarray) -> np.ndarray:
        """[T] over the deviation of returns. The mean stays: taken off each step it would pay for long or for
        short episodes. Returns that were all alike so far say nothing about a scale."""
        known = self.returns
        if known is None or not known.variance[0] > FLOOR:
            return rewards
        return rewards / np.sqrt(known.variance[0])

    def remembered(self) -> dict[str, Any]:
        """As JSON has it; every digit of a float64 survives."""
        named = {"observations": self.observations, "returns": self.returns}
        return {name: known.remembered() for name, known in named.items() if known is not None}

    def recalled(self, memory: Mapping[str, Any]) -> Normaliser:
        """What an earlier `remembered` gave, or nothing known yet, of the same numbers."""
        return Normaliser(
            *(
                None if own is None else own.recalled(memory[name]) if name in memory else own.forgotten()
                for name, own in (("observations", self.observations), ("returns", self.returns))
            )
        )
