"""How likely is it that the price will be higher one bar from now? One answer, paid by a proper score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from groupwise.envs.markets.bars import FARTHEST, Bars

Score = Callable[[Any, Any], Any]
"""(stated probability, 1 if it happened else 0) -> the higher the better. Arrays or numbers."""


def brier(probability: Any, happened: Any) -> Any:
    """-(p - y)^2, 0 at best. Brier 1950. Strictly proper: its mean is largest at the true probability."""
    return -((np.asarray(probability) - happened) ** 2)


def log_score(probability: Any, happened: Any) -> Any:
    """log of the probability that was given to what happened, nats. Good 1952. Strictly proper too."""
    return np.log(np.where(happened, probability, 1 - np.asarray(probability)))


SCORES: Mapping[str, Score] = {"brier": brier, "log": log_score}


def stated(bins: int) -> np.ndarray:
    """[bins] the probabilities to choose from, the middles of equal bins: none of them is 0 or 1."""
    return (np.arange(bins) + 0.5) / bins


class Forecast(gymnasium.Env[np.ndarray, int]):
    """One question: will the next bar's price be above this one's? The action says how likely it is.

    The observation has returns up to and including the bar at which the question is put. A price that does
    not move is not above. reset's option `start` is that bar; without it, one of training.
    """

    metadata: Mapping[str, Any] = {"render_modes": []}

    def __init__(self, bars: Bars, score: str = "brier", bins: int = 21) -> None:
        if score not in SCORES:
            raise ValueError(f"score={score}: there are {', '.join(SCORES)}")
        if bins < 2:
            raise ValueError(f"bins={bins}: 2 or more")
        self.bars, self.score = bars, SCORES[score]
        self.probabilities = stated(bins)
        self.observation_space = Box(-FARTHEST, FARTHEST, (bars.features.shape[1],), np.float32)
        self.action_space = Discrete(bins)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        asked, train = options or {}, self.bars.parts[0]
        self.bar = asked.get("start", train.first)
        if "start" not in asked:
            self.bar += int(self.np_random.integers(len(train)))
        if not self.bars.window <= self.bar < len(self.bars.returns) - 1:
            raise ValueError(f"no question at bar {self.bar}: {len(self.bars.returns)} bars")
        return self.bars.features[self.bar].copy(), {"bar": self.bar}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.bar += 1
        reward = float(self.score(self.probabilities[action], self.bars.returns[self.bar] > 0))
        return self.bars.features[self.bar].copy(), reward, True, False, {"bar": self.bar}
