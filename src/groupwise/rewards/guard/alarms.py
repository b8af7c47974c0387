"""Alarms, what raises them, and the rule that all detectors share.

A detector looks at a step's answers and the history with it, and fires where a number has moved by `Z`
standard errors and by enough to matter while what the run is judged by has not risen: what brings right
answers with it is no hack. Those that can point at single answers also say which (`offending`), so that these
may be dropped before anything is learnt from them. What none of them sees: a hack that all answers use from
the first step on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from groupwise.rewards.guard.answers import Answers, Place
from groupwise.rewards.guard.history import CORRECT, SMALLEST, Change, History, change, windows

Z = 5.0
"""Standard errors by which a number has moved."""
RISEN = 2.0
"""Standard errors from which on what the run is judged by counts as risen."""
FALLEN = 4.0
"""Standard errors from which on it counts as fallen."""
VISIBLE = 0.1
"""The least fall of a gold reward that counts, in standard deviations between answers: of one that is right
for three answers of ten, 0.046."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a detector saw, in a sentence with its numbers and a way out."""

    name: str
    """The detector's."""
    message: str
    about: str = ""
    """Which part or gold reward, where there may be several."""
    offenders: tuple[Place, ...] = ()
    """Answers of the step that show it."""

    @property
    def key(self) -> str:
        return f"{self.name}/{self.about}" if self.about else self.name


class Detector(Protocol):
    @property
    def name(self) -> str: ...

    def __call__(self, answers: Answers, history: History, /) -> Sequence[Alarm]: ...


@runtime_checkable
class Screen(Protocol):
    """A detector that can point at single answers; the history is that before the step."""

    def offending(self, answers: Answers, history: History, /) -> Sequence[Place]: ...


@runtime_checkable
class Examiner(Protocol):
    """A detector that held-out answers may set off."""

    def examined(self, answers: Answers, history: History, /) -> Sequence[Alarm]:
        """What it sees right after an evaluation; the answers are the step's, if they are still at hand."""


def unearned(
    history: History, name: str, enough: Callable[[Change], bool], upwards: bool = True
) -> Change | None:
    """The move of a number by `Z` standard errors and by enough, where what judges the run has not risen."""
    course, correct = history.judged(name)
    widths = list(windows(len(course)))
    if any(change(correct, width).z >= RISEN for width in widths):
        return None
    moves = (change(course, width) for width in widths)
    return next((m for m in moves if (m.z if upwards else -m.z) >= Z and enough(m)), None)


def verdict_on(answers: Answers, history: History) -> str:
    """What became of what the run is judged by, for a sentence."""
    [correct] = history.known(CORRECT)
    if len(correct) < 2 * SMALLEST:
        return "nothing says whether answers are right: name a reward to judge by with --gold"
    now = change(correct, SMALLEST)
    return f"{answers.correct_name} went from {now.before:.3g} to {now.after:.3g}"
