"""Several sets of rows as one, turn and turn about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from groupwise.tasks.task import Row, Rows


@dataclass(frozen=True, slots=True)
class Mixed:
    """Row i is of set i mod k, and says so in its column `kind`. All sets come equally often.

    As long as k times the longest; the rows of a shorter one come again.
    """

    sets: Mapping[str, Rows]
    """By their kind."""
    longest: int
    """Rows at most."""

    def __len__(self) -> int:
        return min(self.longest, len(self.sets) * max(map(len, self.sets.values())))

    def __getitem__(self, index: int) -> Row:
        turn, at = divmod(range(len(self))[index], len(self.sets))
        kind, rows = list(self.sets.items())[at]
        return {**rows[turn % len(rows)], "kind": kind}
