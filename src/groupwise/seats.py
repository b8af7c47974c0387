"""Who writes a group's answers: `current:6,runs/a/checkpoints/50:2` as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass

CURRENT, BEST = "current", "best"


@dataclass(frozen=True, slots=True)
class Seat:
    """`count` answers of every group are written by one policy."""

    source: str
    """`current`, `best`, `latest-K`, or the place of another policy; see `groupwise.sources`."""
    count: int

    @property
    def back(self) -> int | None:
        """K of `latest-K`, else None."""
        found = re.fullmatch(r"latest-(\d+)", self.source)
        return int(found[1]) if found else None

    @property
    def moves(self) -> bool:
        """True where it follows the run's own checkpoints."""
        return self.source == BEST or self.back is not None


@dataclass(frozen=True, slots=True)
class Part:
    """Answers `first` to `first + count` of a group, and who writes them."""

    source: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Seats:
    """The seats of every group, in the order of its answers."""

    seats: tuple[Seat, ...]

    @property
    def size(self) -> int:
        """Answers to each prompt."""
        return sum(seat.count for seat in self.seats)

    @property
    def others(self) -> tuple[Seat, ...]:
        """All but those of the current policy."""
        return tuple(seat for seat in self.seats if seat.source != CURRENT)

    def parts(self, count: int) -> list[Part]:
        """The seats of a group of `count` answers: more or fewer than `size` are the current policy's.

        Raises:
            ValueError: nothing would be left for the current policy.
        """
        spare = count - self.size
        parts, first = [], 0
        for seat in self.seats:
            n = seat.count + (spare if seat.source == CURRENT else 0)
            if n < 1:
                foreign = self.size - seat.count
                raise ValueError(
                    f"a group of {count} answers has no seat left for the current policy: {foreign} are "
                    "taken. Ask for larger groups, or give fewer seats away."
                )
            parts.append(Part(seat.source, first, n))
            first += n
        return parts


def parse(text: str, group_size: int | None = None) -> Seats:
    """`SOURCE:COUNT,SOURCE:COUNT,...`; a source may hold colons, a count comes last.

    Raises:
        ValueError: what does not parse, counts that cannot be, a sum that is not `group_size`.
    """
    seats = Seats(tuple(_seat(entry, text) for entry in text.split(",")))
    names = [seat.source for seat in seats.seats]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"--seats {text!r} names {twice} twice: give it once, with the sum of its counts")
    if CURRENT not in names:
        raise ValueError(
            f"--seats {text!r} has no seat for the current policy. It needs one, as in 'current:2,...': an "
            "answer's weight is at most 1 / (its share of the group), and without it nothing bounds them."
        )
    if group_size is not None and seats.size != group_size:
        counts = " + ".join(str(seat.count) for seat in seats.seats)
        raise ValueError(
            f"--seats makes groups of {counts} = {seats.size}, and --group-size is {group_size}. Leave "
            "--group-size out, or change the counts."
        )
    return seats


def _seat(entry: str, text: str) -> Seat:
    source, _, count = (part.strip() for part in entry.rpartition(":"))
    if not source or not re.fullmatch(r"[+-]?\d+", count):
        raise ValueError(
            f"--seats {text!r}: {entry.strip()!r} is not SOURCE:COUNT. An example: "
            "--seats current:6,runs/a/checkpoints/50:2"
        )
    if int(count) < 1:
        raise ValueError(f"--seats {text!r}: {source} has {count} seats; at least 1 (or leave it out)")
    return Seat(source, int(count))
