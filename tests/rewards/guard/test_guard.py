"""What the guard does about what its detectors say, and what it remembers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groupwise import advantages
from groupwise.rewards.guard import DROPPED, Action, Alarm, Guard, Verdict, Watch, guard_of
from groupwise.rewards.guard.answers import Answers, Place
from groupwise.rewards.guard.guard import QUIET
from groupwise.rewards.guard.history import History
from groupwise.rewards.scoring import Scored
from groupwise.trajectory import Group
from guarded import answer, group


@dataclass(frozen=True)
class Steps:
    """Fires at these steps, and points at these answers."""

    at: Sequence[int] = ()
    places: Sequence[Place] = ()
    name: str = "steps"

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        return [Alarm(self.name, f"step {history.steps[-1]}")] if history.steps[-1] in self.at else []

    def offending(self, answers: Answers, history: History) -> Sequence[Place]:
        return self.places


@dataclass
class Told:
    """Verdicts of a run of equal steps, from some step on."""

    guard: Guard
    memory: Any = field(default_factory=dict)

    def to(self, last: int, first: int = 1) -> list[tuple[int, str]]:
        """(step, what was said) of every step."""
        said = []
        for step in range(first, last + 1):
            verdict = self.guard.inspect(step, cohort(), {}, self.memory)
            self.memory = verdict.memory
            said += [(step, f"raised {a.key}") for a, _ in verdict.raised]
            said += [(step, f"over {key} since {since}") for key, since in verdict.over]
        return said


def cohort() -> list[Group]:
    return [
        group(*(answer(r, text=f"answer {r}", tokens=range(3 + int(r))) for r in (0.0, 1.0, 3.0, 8.0))),
        group(*(answer(r, text=f"answer {r}") for r in (1.0, 1.0, 0.5)), ordinal=1),
    ]


def watching(*detectors: Any, action: Action = Action.FLAG) -> Guard:
    return Guard(tuple(Watch(d, action) for d in detectors))


# ---------------------------------------------------------------- alarms


def test_an_alarm_is_raised_once_and_over_once_it_is_quiet() -> None:
    """A gap shorter than QUIET is the same alarm; after it, firing again is news."""
    told = Told(watching(Steps([3, 4, 6, 20])))
    assert told.to(30) == [
        (3, "raised steps"),
        (6 + QUIET, "over steps since 3"),
        (20, "raised steps"),
        (20 + QUIET, "over steps since 20"),
    ]


def test_a_memory_that_went_through_json_says_the_same() -> None:
    """As after a kill: at every step, what is said and what is kept are the bits of the run that went on."""
    guard = Guard((Watch(Steps([4, 9])), *guard_of("flag", {}).watches))
    straight, broken = Told(guard), Told(guard)
    for step in range(1, 16):
        broken.memory = json.loads(json.dumps(broken.memory))
        assert broken.to(step, step) == straight.to(step, step)
        assert json.dumps(broken.memory) == json.dumps(straight.memory)


def test_the_first_evaluation_is_what_later_ones_are_held_against() -> None:
    guard = watching(Steps())
    memory = guard.begun([{"gold": {"g": 1.0}}, {"gold": {"g": 0.0}}])
    memory = guard.inspect(1, cohort(), {}, memory).memory
    verdict = guard.examine(1, [{"gold": {"g": 0.0}}, {"gold": {"g": 0.0}}], cohort(), memory)
    history = History.of(verdict.memory["history"])
    assert (history.peaks["g"].step, history.latest["g"].step) == (0, 1)


def test_only_an_alarm_that_may_stop_stops() -> None:
    flagged = watching(Steps([2])).inspect(2, cohort(), {}, {})
    assert (len(flagged.raised), flagged.stop) == (1, "")
    stopping = watching(Steps([2, 3]), action=Action.STOP)
    first = stopping.inspect(2, cohort(), {}, {})
    assert first.stop == "step 2"
    # who resumes a stopped run has read why: it goes on, until the alarm comes anew
    assert stopping.inspect(3, cohort(), {}, first.memory).stop == ""


def test_numbers_of_a_step() -> None:
    dropped = replace(answer(None), extra={DROPPED: "copied"})
    guard = watching(Steps([1]))
    numbers = guard.inspect(1, [*cohort(), group(answer(1.0), dropped)], {"kl": 0.5}, {}).numbers
    assert (numbers["guard/alarms"], numbers["guard/dropped"]) == (1, 1)
    assert "guard/repetition" in numbers
    assert not any("kl" in name or "reward" in name for name in numbers)  # they have names of their own


def test_every_number_is_in_the_documentation_and_no_other() -> None:
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text("utf-8")
    judged = [
        group(
            *(
                answer(
                    r, text=f"{r}", parts={"PART": r, "other": 0.0}, gold={"GOLD": -r},
                    extra={"NAME/disagreement": r},
                )
                for r in (0.0, 1.0)
            )
        )
    ]  # fmt: skip
    numbers = watching(Steps()).inspect(1, judged, {}, {}).numbers
    documented = set(re.findall(r"`(guard/[\w/]+)`", text))
    assert documented == {name for name in numbers if not name.endswith("other")}


# ---------------------------------------------------------------- dropping


@pytest.mark.parametrize("scheme", [advantages.standardize, advantages.leave_one_out])
def test_a_dropped_answer_is_in_no_baseline(scheme: Any) -> None:
    """Its siblings have exactly the advantages of a group that it was never in, and it has none."""
    guard = watching(Steps(places=[(0, 1), (1, 2)]), action=Action.DROP)
    screened = guard.screened(Scored(cohort(), {"m": 1.0}), {})
    left = [
        replace(g, trajectories=tuple(t for j, t in enumerate(g.trajectories) if j != gone))
        for g, gone in zip(cohort(), (1, 2), strict=True)
    ]
    got, wanted = advantages.assign(screened.cohort, scheme), advantages.assign(left, scheme)
    for ours, theirs, gone in zip(got, wanted, (1, 2), strict=True):
        kept = [t for j, t in enumerate(ours.trajectories) if j != gone]
        for a, b in zip(kept, theirs.trajectories, strict=True):
            assert a.advantage is not None
            assert b.advantage is not None
            assert np.array_equal(a.advantage, b.advantage)
        taken = ours.trajectories[gone]
        assert taken.advantage is not None
        assert (taken.reward, taken.extra[DROPPED], taken.advantage.any()) == (None, "steps", False)
    assert screened.metrics == {"m": 1.0}


def test_what_may_only_flag_or_stop_changes_no_reward() -> None:
    scored = Scored(cohort())
    for action in (Action.FLAG, Action.STOP):
        assert watching(Steps(places=[(0, 1)]), action=action).screened(scored, {}) is scored
    nothing = watching(Steps(), action=Action.DROP).screened(scored, {})
    assert nothing is scored


def test_without_a_detector_nothing_is_looked_at() -> None:
    scored = Scored(cohort())
    off = guard_of("off", {})
    assert off == Guard()
    assert off.screened(scored, {}) is scored
    assert off.examine(1, [{"gold": {}}], cohort(), {}) == Verdict()
    verdict = off.inspect(1, cohort(), {}, {})
    assert (verdict.memory, verdict.numbers, verdict.raised, off.begun([{"gold": {}}])) == ({}, {}, (), {})
