"""A task: rows to ask, rows held out to judge by, and the rewards that say how good an answer is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from groupwise.rewards.scoring import Reward
from groupwise.trajectory import Prompt

CONVERSATIONS = ("calculator", "consistency", "clarify", "textarena", "env")
"""Tasks of several turns, by the word before the colon. groupwise.envs makes them."""

Row = Mapping[str, Any]
"""`prompt` (text, a list of chat messages, or an environment's seed) and columns for the rewards."""


WORLDS = ("gym", "game", "zoo", "market", "forecast")
"""What a task's name begins with where it is an environment for a small network."""


def is_world(task: str) -> bool:
    """True for gym:ID and the like, false for what a language model answers."""
    return task.partition(":")[0] in WORLDS


class Rows(Protocol):
    """Rows by number: a list, or something that makes them when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained on."""

    name: str
    train: Rows
    held_out: Rows
    """Never drawn for training."""
    rewards: tuple[Reward, ...]
    max_new_tokens: int = 256
    """Tokens an answer may have unless the user says otherwise."""
    temperature: float = 1.0
    """Of sampling unless the user gives another: below 1 where a small model drawn from at 1 rambles."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer unless the user gives others."""
    gold: tuple[Reward, ...] = ()
    """What the run is judged by: computed and logged as gold/NAME, never trained on, of no weight."""

    @property
    def measure(self) -> str:
        """The held-out score by which the best checkpoint is chosen: the first gold reward, else the first
        reward alone."""
        if self.gold:
            return f"gold/{self.gold[0].name}"
        return self.rewards[0].name if self.rewards else "reward"

    def stream(self, first: int, n: int, seed: int) -> list[Prompt]:
        """Prompts `first` to `first + n - 1` of a run: whole passes, each shuffled by seed and pass.

        A function of its arguments alone, so that a resumed run draws what it would have drawn.
        """
        prompts = []
        for ordinal in range(first, first + n):
            turn, at = divmod(ordinal, len(self.train))
            row = int(_order(seed, turn, len(self.train))[at])
            prompts.append(as_prompt(self.train[row], ordinal, row))
        return prompts

    def examples(self, n: int) -> list[Prompt]:
        """The first n held-out prompts (all of them if there are fewer)."""
        return [as_prompt(self.held_out[i], i) for i in range(min(n, len(self.held_out)))]


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, n: int) -> np.ndarray:
    """Kept from step to step: a million starts take longer to shuffle than a small game to play."""
    return np.random.default_rng([seed, turn]).permutation(n)


def as_prompt(row: Row, ordinal: int, number: int | None = None) -> Prompt:
    """`number` is the row's among those trained on."""
    return Prompt(ordinal, row["prompt"], {k: v for k, v in row.items() if k != "prompt"}, number)
