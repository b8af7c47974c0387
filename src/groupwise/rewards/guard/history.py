"""The numbers that the guard keeps of every step, and when one of them has moved.

A number of a step is a mean over some dozens of answers to other prompts than the step before: it jumps about
what it is a mean of. Whether it has moved is told by windows of steps: the mean of the last w against that of
the first w, in units of the standard error of their difference. The noise of one step is the larger of two:
what neighbouring steps differ by, s² = Σ (x_t − x_{t−1})² / 2(n − 1) (von Neumann, 1941), which a trend
hardly widens; and the standard errors of the steps themselves, from their groups, which are known better
while steps are few. Where the surroundings of either window are wilder than that, they count. Windows of
4, 8, 16 ... steps are tried, for what moves fast and what moves slowly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np

SMALLEST = 4
"""Steps of the smallest window: no move is told in the first 8 steps of a number."""
ERROR = "±"
"""Begins the name of a column of standard errors."""
CORRECT = "correct"
"""The column of what the run is judged by; none where nobody said."""


class Change(NamedTuple):
    """Of a number, between two windows of steps."""

    before: float
    after: float
    z: float
    """The change in standard errors."""


@dataclass(frozen=True, slots=True)
class Course:
    """A number by steps."""

    values: np.ndarray
    """[n]."""
    noise: float
    """Standard deviation of one step's value about what it is a mean of."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def recent(self) -> np.ndarray:
        """The last `SMALLEST` values."""
        return self.values[-SMALLEST:]


class HeldOut(NamedTuple):
    """One gold reward on the held-out prompts, prompt by prompt, after a step."""

    step: int
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the steps so far. `saved` is all of it as JSON: some twenty numbers a step."""

    steps: tuple[int, ...] = ()
    columns: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """By name, a value for each of the steps; None where it had none."""
    peaks: Mapping[str, HeldOut] = field(default_factory=dict)
    """Of each gold reward the best held-out evaluation so far."""
    latest: Mapping[str, HeldOut] = field(default_factory=dict)
    begun: Mapping[str, HeldOut] = field(default_factory=dict)
    """Of each gold reward the first evaluation."""
    paid: tuple[HeldOut, ...] = ()
    """The reward itself, on the held-out prompts: in the first evaluation and in the latest."""

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> History:
        """From what `saved` gave; the mapping may be empty."""
        if not saved:
            return cls()
        peaks, latest, begun = (
            {k: HeldOut(*v) for k, v in saved.get(name, {}).items()} for name in ("peaks", "latest", "begun")
        )
        paid = tuple(HeldOut(*v) for v in saved.get("paid", ()))
        return cls(tuple(saved["steps"]), saved["columns"], peaks, latest, begun, paid)

    def saved(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def after(self, step: int, row: Mapping[str, float]) -> History:
        """With the numbers of one more step."""
        n = len(self.steps)
        names = dict.fromkeys([*self.columns, *row])
        columns = {name: [*self.columns.get(name, [None] * n), row.get(name)] for name in names}
        return replace(self, steps=(*self.steps, step), columns=columns)

    def evaluated(self, step: int, answers: Sequence[Mapping[str, Any]]) -> History:
        """With the answers of a held-out evaluation, lines as in samples.jsonl; without any, unchanged."""
        names = dict.fromkeys(name for answer in answers for name in answer["gold"])
        latest = {name: HeldOut(step, [a["gold"].get(name) for a in answers]) for name in names}
        better = {
            name: now
            for name, now in latest.items()
            if name not in self.peaks or _mean(now) > _mean(self.peaks[name])
        }
        paid = HeldOut(step, [a.get("reward") for a in answers])
        return replace(
            self,
            peaks={**self.peaks, **better},
            latest={**self.latest, **latest},
            begun={**latest, **self.begun},
            paid=(*self.paid[:1], paid) if answers else self.paid,
        )

    def known(self, *names: str) -> list[Course]:
        """Columns at the steps at which all of them have a value; empty ones where a column is missing."""
        if not all(name in self.columns for name in names):
            return [Course(np.empty(0), 0.0) for _ in names]
        table = np.array([self.columns[name] for name in names], dtype=np.float64)
        kept = np.asarray(~np.isnan(table).any(axis=0))
        return [self._course(name, values, kept) for name, values in zip(names, table[:, kept], strict=True)]

    def _course(self, name: str, values: np.ndarray, kept: np.ndarray) -> Course:
        if f"{ERROR}{name}" not in self.columns:
            return Course(values, noise(values))
        errors = np.array(self.columns[f"{ERROR}{name}"], dtype=np.float64)[kept]
        errors = errors[~np.isnan(errors)]
        own = math.sqrt(float(errors @ errors) / len(errors)) if len(errors) else 0.0
        return Course(values, max(noise(values), own))

    def judged(self, name: str) -> list[Course]:
        """A column and what the run is judged by; zeros where it is judged by nothing."""
        if CORRECT in self.columns:
            return self.known(name, CORRECT)
        [course] = self.known(name)
        return [course, Course(np.zeros_like(course.values), 0.0)]

    def names(self, prefix: str) -> list[str]:
        """Of columns `prefix/NAME`: each NAME."""
        return [name.removeprefix(f"{prefix}/") for name in self.columns if name.startswith(f"{prefix}/")]


def _mean(held_out: HeldOut) -> float:
    known = [value for value in held_out.values if value is not None]
    return sum(known) / len(known) if known else -math.inf


def windows(n: int) -> Iterator[int]:
    """Lengths of windows that fit twice into n steps: 4, 8, 16 ...

    >>> list(windows(39))
    [4, 8, 16]
    """
    width = SMALLEST
    while 2 * width <= n:
        yield width
        width *= 2


def change(course: Course, width: int, start: int = 0) -> Change:
    """From the window that begins at `start` to the last one; there are 2 widths or more from the start."""
    values = course.values
    before, after = float(values[start : start + width].mean()), float(values[-width:].mean())
    # one wild step in either window is noise, however calm the hundreds of steps between
    near = max(noise(values[start : start + 2 * width]), noise(values[-2 * width :]))
    return Change(before, after, _ratio(after - before, max(course.noise, near) * math.sqrt(2 / width)))


def noise(values: np.ndarray) -> float:
    """Standard deviation of one step about a course that changes slowly; 0 of fewer than two. values [n].

    >>> noise(np.array([0.0, 2.0, 0.0, 2.0])), noise(np.array([0.0, 0.1, 0.2, 0.3]))
    (1.4142135623730951, 0.07071067811865475)
    """
    if len(values) < 2:
        return 0.0
    steps = np.diff(values)
    return math.sqrt(float(np.dot(steps, steps)) / (2 * len(steps)))


def _ratio(shift: float, error: float) -> float:
    if error > 0:
        return shift / error
    return math.copysign(math.inf, shift) if shift else 0.0


def paired(before: HeldOut, after: HeldOut) -> Change:
    """Of the same prompts' answers, where both have a value."""
    both = zip(before.values, after.values, strict=False)
    pairs = np.array([(a, b) for a, b in both if a is not None and b is not None], dtype=np.float64)
    if len(pairs) < 2:
        return Change(math.nan, math.nan, 0.0)
    moved = pairs[:, 1] - pairs[:, 0]
    error = float(moved.std(ddof=1)) / math.sqrt(len(moved))
    return Change(float(pairs[:, 0].mean()), float(pairs[:, 1].mean()), _ratio(float(moved.mean()), error))
