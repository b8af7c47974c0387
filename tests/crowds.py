"""Small scenes and parallel environments for tests, with any fault."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Text


class Turns:
    """Two seats move in turn, four moves in all; a move of 1 gives the mover 1 and takes 10 from the other.

    A row: the number of the move, and the start's number.
    """

    seats, width, cut = 2, 2, ()

    def __init__(self, fault: str = "", seedless: bool = False) -> None:
        self.fault, self.seedless, self.closed = fault, seedless, False
        self.begun = 0

    def begin(self, seed: int, start: Mapping[str, Any]) -> None:
        if self.fault == "unborn":
            raise OSError("no board is free")
        self.begun += 1
        self.at, self.seed = 0, id(self) if self.seedless else seed
        self.money = [0.0, 0.0]

    def asked(self) -> Mapping[int, np.ndarray]:
        if self.at == 4:
            return {}
        row = np.array([self.at, self.seed % 1000], np.float32)
        if self.at and self.fault == "observation":
            row[0] = np.nan
        return {self.at % 2: row[:1] if self.at and self.fault == "shape" else row}

    def act(self, actions: Mapping[int, Any]) -> None:
        [(seat, move)] = actions.items()
        assert seat == self.at % 2
        self.at += 1
        if move == 1:
            if self.fault == "raises":
                raise RuntimeError("the table fell over")
            if self.fault == "exits":
                raise SystemExit("closed")
            if self.fault == "hangs":
                time.sleep(60)
            self.money[seat] += float("nan") if self.fault == "reward" else 1
            self.money[1 - seat] -= 10

    def given(self) -> Sequence[float]:
        return list(self.money)

    def told(self) -> str:
        return f"{self.at} moves"

    def close(self) -> None:
        self.closed = True


class Meeting:
    """A parallel environment: agents see the time and their number, get 1 for action 1, and leave one by one.

    Agent k leaves after step k + 1, so that three agents act 3, 2 and 1 times at the end's cut of 3 or later.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as PettingZoo has it

    def __init__(self, agents: int = 3, stay: bool = False, odd: Any = None, render_mode: str = "") -> None:
        self.possible_agents = [f"agent_{i}" for i in range(agents)]
        self.agents: list[str] = []
        self.stay, self.odd = stay, odd

    def observation_space(self, agent: str) -> Any:
        return self.odd if self.odd is not None and agent == "agent_1" else Box(-9, 9, (2,))

    def action_space(self, agent: str) -> Any:
        return Discrete(2)

    def reset(self, seed: int | None = None) -> Any:
        self.at, self.luck = 0, np.random.default_rng(seed).random()
        self.agents = list(self.possible_agents)
        return self._seen(self.agents), {}

    def step(self, actions: Mapping[str, int]) -> Any:
        assert set(actions) == set(self.agents)
        self.at += 1
        asked = self.agents
        left = {name for name in asked if not self.stay and int(name[-1]) < self.at}
        self.agents = [name for name in asked if name not in left]
        rewards = {name: float(actions[name]) for name in asked}
        ends = {name: name in left for name in asked}
        return self._seen(asked), rewards, ends, dict.fromkeys(asked, False), {}

    def _seen(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        return {name: np.array([self.at, self.luck], np.float32) for name in names}

    def render(self) -> np.ndarray:
        return np.full((10, 10, 3), 40 * self.at, np.uint8)

    def close(self) -> None: ...


def parallel_env(render_mode: str = "") -> Meeting:
    return Meeting(render_mode=render_mode)


def stays() -> Meeting:
    return Meeting(stay=True)


def unlike() -> Meeting:
    return Meeting(odd=Box(-1, 1, (5,)))


def pictures() -> Meeting:
    made = Meeting(agents=1)
    made.observation_space = lambda agent: Box(0, 255, (20, 20, 3), np.uint8)  # type: ignore[method-assign]
    return made


def speaks() -> Meeting:
    made = Meeting(agents=1)
    both = Dict({"place": Box(-9, 9, (2,)), "word": Text(5)})
    made.observation_space = lambda agent: both  # type: ignore[method-assign]
    return made


def broken() -> Meeting:
    raise RuntimeError("no licence")
