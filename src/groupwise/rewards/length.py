"""Rewards by length alone, to stand beside one that says what is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class soft_overlong:  # noqa: N801 - reads as the function that it is
    """0 up to limit - cache tokens, then falling linearly to -1 at the limit, and -1 beyond.

    Length is punished before the limit cuts the answer off. (DAPO, arXiv 2503.14476: 20480 and 4096.)

    >>> soft_overlong(limit=10, cache=4)(completion_ids=[[0] * 6, [0] * 7, [0] * 10, [0] * 11])
    [0.0, -0.25, -1.0, -1.0]
    """

    limit: int
    """Tokens."""
    cache: int
    """Tokens before the limit over which the penalty rises."""

    def __post_init__(self) -> None:
        if not 0 < self.cache <= self.limit:
            raise ValueError(f"limit={self.limit}, cache={self.cache} tokens: 0 < cache <= limit")

    def __call__(self, completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
        lengths = [len(ids) for ids in completion_ids]
        return [min(0.0, max(-1.0, (self.limit - self.cache - n) / self.cache)) for n in lengths]
