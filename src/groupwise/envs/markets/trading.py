"""A market to trade in: short, flat or long, bar by bar, on prices that were real."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Discrete

from groupwise.envs.markets.bars import FARTHEST, Bars

POSITIONS = (-1, 0, 1)
"""What actions 0, 1 and 2 hold: short, nothing, long, as a share of the wealth."""
RUINED = 1e-3
"""Of the wealth, where a short loses all of it in one bar: the episode ends there."""


class Market(gymnasium.Env[np.ndarray, int]):
    """One decision a bar; it is filled at the next bar's price, whatever that turns out to be.

    At bar t one sees returns up to and including t, and the position; the position that was held goes with
    the price to t + 1, where the new one is taken and paid for. With R the simple return from t to t + 1:

        reward = log(1 + held R) + log(1 - cost |new - held|)

    so that rewards add up to the log of the wealth. Nothing is held at first, and the last step closes what
    is held, whatever its action. `info["bar"]` is the last bar that is known.

    reset's options: `start`, the bar to decide at first, and `length`, the number of decisions; without them
    an episode begins anywhere in training.
    """

    metadata: Mapping[str, Any] = {"render_modes": []}

    def __init__(self, bars: Bars, cost: float = 0.0005, length: int = 64) -> None:
        """`cost` is a share of what is bought or sold."""
        if not 0 <= cost < 0.5:
            raise ValueError(f"cost={cost}: a share of what is traded, from 0 to below 0.5")
        if not 1 <= length <= len(bars.parts[0]):
            raise ValueError(f"length={length}: from 1 to {len(bars.parts[0])}, the bars of training")
        self.bars, self.cost, self.length = bars, cost, length
        # without one it would be cut as an endless world is
        self.spec = EnvSpec("Market-v0", max_episode_steps=length)
        width = bars.features.shape[1]
        self.observation_space = Box(-FARTHEST, FARTHEST, (width + 1,), np.float32)
        self.action_space = Discrete(len(POSITIONS))
        self._gains = np.expm1(bars.returns)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        asked, train = options or {}, self.bars.parts[0]
        length = asked.get("length", self.length)
        self.bar = asked.get("start", train.first)
        if "start" not in asked:
            self.bar += int(self.np_random.integers(len(train) - length + 1))
        self._end = self.bar + length
        if not self.bars.window <= self.bar < self._end < len(self.bars.returns):
            raise ValueError(f"no episode from bar {self.bar} to {self._end}: {len(self.bars.returns)} bars")
        self.position = 0
        return self._seen(), {"bar": self.bar, "position": 0}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.bar += 1
        closing = self.bar == self._end
        new = 0 if closing else POSITIONS[action]
        wealth = 1 + self.position * self._gains[self.bar]
        ruined = not wealth > RUINED
        paid = self.cost * abs(new - self.position)
        reward = math.log(max(wealth, RUINED)) + math.log1p(-paid)
        self.position = new
        return self._seen(), reward, ruined, closing, {"bar": self.bar, "position": new}

    def _seen(self) -> np.ndarray:
        return np.append(self.bars.features[self.bar], np.float32(self.position))
