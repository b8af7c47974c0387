"""Which answers are being written now. Host side only: numbers and lists, no tensors."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from groupwise.engine.cache import RowState
from groupwise.trajectory import StopReason

SPARE = 4
"""Prompts in memory for each group that fits into the rows; with 1, stragglers leave a third of them idle."""


@dataclass(frozen=True, slots=True)
class Request:
    """Write `count` answers to one prompt."""

    tokens: tuple[int, ...]
    count: int
    ordinal: int
    """With the sample's number it names the answer's random numbers."""
    first_sample: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: its tokens, each with its log-probability at the sampling temperature.

    In a conversation also the tokens read since the prompt; their log-probability is NaN.
    """

    tokens: tuple[int, ...]
    logp: tuple[float, ...]
    stopped: StopReason


@dataclass(slots=True)
class Row:
    """An answer being written."""

    request: int
    sample: int
    slot: int
    prompt: int
    tokens: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    stopped: StopReason | None = None
    begin: int = 0
    """Own tokens before the turn under way."""
    known: int = 0
    """Own tokens in memory when that turn began."""
    over: bool = False
    """In a conversation: nothing is said after the turn that has stopped."""

    def hear(self, tokens: Sequence[int]) -> None:
        """What was said to it is the next that it reads, and a turn begins. One token at least."""
        assert tokens
        self.known = len(self.tokens) - 1
        self.tokens += tokens
        self.logp += [math.nan] * len(tokens)
        self.begin, self.stopped = len(self.tokens), None

    @property
    def unread(self) -> int:
        """Tokens before the turn under way that are not in memory: its last decision, and what it heard."""
        return self.begin - self.known

    @property
    def state(self) -> RowState:
        """The newest token is about to be read, so it is not in memory yet."""
        return RowState(self.slot, self.prompt, len(self.tokens) - 1)

    def completion(self) -> Completion:
        assert self.stopped is not None
        return Completion(tuple(self.tokens), tuple(self.logp), self.stopped)


class Scheduler:
    """Admits requests while there is room, and closes the gaps that finished rows leave."""

    def __init__(self, requests: Sequence[Request], max_rows: int) -> None:
        parts = [part for i, r in enumerate(requests) for part in _parts(i, r, max_rows)]
        self._waiting = deque(parts)
        counts = [count for _, _, count, _ in parts] or [1]
        self.capacity = min(max_rows, sum(counts))
        # a group's last answers hold its slot while the next group begins: more slots than groups at work
        self.slots = min(len(parts), self.capacity, SPARE * (self.capacity // min(counts)))
        self._free = list(range(self.slots))
        self.rows: list[Row] = []

    def admit(self) -> list[Row]:
        """New rows, siblings adjacent. Waits until a quarter of the rows is free, to prefill in bulk."""
        room = self.capacity - len(self.rows)
        if self.rows and room < self.capacity // 4:
            return []
        new: list[Row] = []
        while self._waiting and self._free and self._waiting[0][2] <= room:
            request, first, count, prompt = self._waiting.popleft()
            slot = heappop(self._free)  # the lowest: decoding reads slots up to the highest in use
            new += [Row(request, first + i, slot, prompt) for i in range(count)]
            room -= count
        self.rows += new
        return new

    def retire(self) -> tuple[list[Row], list[int], list[int]]:
        """Take out the finished rows; the last rows move into their places.

        Returns the finished rows and the moves (from, to) that the memory has to follow.
        """
        finished = [row for row in self.rows if row.stopped is not None]
        if not finished:
            return [], [], []
        kept = len(self.rows) - len(finished)
        holes = [i for i in range(kept) if self.rows[i].stopped is not None]
        movers = [i for i in range(kept, len(self.rows)) if self.rows[i].stopped is None]
        for target, source in zip(holes, movers, strict=True):
            self.rows[target] = self.rows[source]
        del self.rows[kept:]
        used = {row.slot for row in self.rows}
        for slot in {row.slot for row in finished} - used:
            heappush(self._free, slot)
        return finished, movers, holes

    @property
    def done(self) -> bool:
        return not self.rows and not self._waiting


def _parts(index: int, request: Request, max_rows: int) -> list[tuple[int, int, int, int]]:
    """(request, first sample, count, prompt length): a group larger than the room is cut."""
    return [
        (index, first, min(max_rows, request.count - first), len(request.tokens))
        for first in range(0, request.count, max_rows)
    ]
