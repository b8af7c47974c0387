"""Rows that are nothing but a seed: the starts of a world, without end for all that a run can tell."""

from __future__ import annotations

from dataclasses import dataclass

from groupwise.tasks.task import Row

FIRST_HELD_OUT = 1_000_000


@dataclass(frozen=True, slots=True)
class Seeds:
    """`number` rows, `first` onwards, with the seed in one column."""

    first: int
    number: int
    column: str = "prompt"

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < self.number:
            raise IndexError(index)
        return {self.column: self.first + index}


def trained_on(column: str = "prompt") -> Seeds:
    return Seeds(0, FIRST_HELD_OUT, column)


def held_out(column: str = "prompt") -> Seeds:
    """A thousand that no run trains on."""
    return Seeds(FIRST_HELD_OUT, 1_000, column)
