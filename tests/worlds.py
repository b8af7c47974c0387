"""Small environments for tests: of any spaces, with any fault."""

from __future__ import annotations

import copy
import itertools
import sys
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, Space


class Countdown(gymnasium.Env[Any, Any]):
    """Ends by itself after `n` steps, or is cut at the `cut`th; 0.5 a step; shows the time."""

    observation_space = Box(-1, 1, (2,))
    action_space = Discrete(2)

    def __init__(self, n: int, cut: int = 5) -> None:
        self.n, self.cut = n, cut

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at = 0
        return np.zeros(2), {}

    def step(self, action: Any) -> Any:
        self.at += 1
        return np.full(2, self.at / 10), 0.5, self.at == self.n, self.at == self.cut, {}


class Toy(gymnasium.Env[Any, Any]):
    """Any spaces: observations drawn by the seed, 6 steps, refuses actions that are not in its space."""

    def __init__(self, observations: Space[Any], actions: Space[Any]) -> None:
        # its own: siblings that shared one would draw from each other
        self.observation_space, self.action_space = copy.deepcopy((observations, actions))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.at = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.at += 1
        return self.observation_space.sample(), float(self.np_random.random()), False, self.at == 6, {}


class Faulty(Countdown):
    """Its second step fails where the action is 1: raises, exits, hangs, or gives what is no number."""

    def __init__(self, fault: str) -> None:
        super().__init__(n=4)
        self.fault = fault

    def step(self, action: Any) -> Any:
        seen, reward, *ends = super().step(action)
        if action != 1 or self.at != 2:
            return seen, reward, *ends
        match self.fault:
            case "raises":
                raise RuntimeError("the motor is broken")
            case "exits":
                sys.exit(3)
            case "hangs":
                time.sleep(60)
            case "observation":
                seen[1] = np.nan
            case "reward":
                reward = float("nan")
            case "none":
                reward = None
            case "four":
                return seen, reward, False, {}
            case "shape":
                seen = np.zeros(3)
        return seen, reward, *ends


class Unborn(Countdown):
    """Cannot be reset."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        raise OSError("no port is free")


class Unseeded(Countdown):
    """Begins somewhere else each time, whatever seed it is given."""

    count = itertools.count()

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        _, info = super().reset()
        return np.full(2, next(self.count) / 1000), info
