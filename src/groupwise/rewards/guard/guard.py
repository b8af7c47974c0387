"""The guard: which detectors look at a run, and what is done where one fires.

Two moments of a step. Before the advantages, `screened` takes the reward from single answers that a detector
points at, where that is asked for: they are then in no baseline and no gradient. After it, `inspect` adds the
step to the history and raises alarms, of which one may end the run; `examine` does so for held-out answers.
All that it knows is in the run's state, so a resumed run raises the same alarms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from groupwise.rewards.guard.alarms import Alarm, Detector, Examiner, Screen
from groupwise.rewards.guard.answers import Place, answers_of
from groupwise.rewards.guard.history import History
from groupwise.rewards.scoring import Scored
from groupwise.trajectory import Group

DROPPED = "guard"
"""The name in an answer's `extra` under which it says which detector took its reward."""
QUIET = 5
"""Steps without a detector's firing after which its alarm is over."""
LOGGED = ("repetition", "copied", "constant", "agreement/", "share/", "disagreement/")
"""Of the history, what is a metric under guard/ and under no other name."""


class Action(StrEnum):
    """What is done where a detector fires."""

    FLAG = "flag"
    """It is told."""
    DROP = "drop"
    """Answers that it points at lose their reward; alarms are told."""
    STOP = "stop"
    """The run ends after the step, with a checkpoint."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A detector and what it may do."""

    detector: Detector
    action: Action = Action.FLAG


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard says of a step."""

    memory: Mapping[str, Any] = field(default_factory=dict)
    """All that it knows, as JSON, for the next step."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """guard/NAME (docs/metrics.md)."""
    raised: tuple[tuple[Alarm, Action], ...] = ()
    """Alarms that did not stand before this step."""
    over: tuple[tuple[str, int], ...] = ()
    """Those that stood, by key, and since which step."""

    @property
    def stop(self) -> str:
        """Why the run ends; empty where it goes on."""
        return next((alarm.message for alarm, action in self.raised if action is Action.STOP), "")


@dataclass(frozen=True, slots=True)
class Guard:
    """Looks at every step. Without a detector it does nothing at all."""

    watches: tuple[Watch, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of the reward's parts; 1 for a part that is not there."""

    def begun(self, held_out: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The memory of a run whose held-out answers, lines as in samples.jsonl, were just taken."""
        return {"history": History().evaluated(0, held_out).saved(), "alarms": {}} if self.watches else {}

    def screened(self, scored: Scored, memory: Mapping[str, Any]) -> Scored:
        """Without the rewards of answers that a detector with `drop` points at; `memory` is as of before."""
        screens = [
            (w.detector, w.detector.name)
            for w in self.watches
            if w.action is Action.DROP and isinstance(w.detector, Screen)
        ]
        if not screens:
            return scored
        answers, history = answers_of(scored.cohort, self.weights), History.of(memory.get("history", {}))
        reasons: dict[Place, str] = {}
        for screen, name in screens:
            for place in screen.offending(answers, history):
                reasons.setdefault(place, name)
        return replace(scored, cohort=list(_without(scored.cohort, reasons))) if reasons else scored

    def inspect(
        self, step: int, cohort: Sequence[Group], numbers: Mapping[str, float], memory: Mapping[str, Any]
    ) -> Verdict:
        """The step's verdict.

        Args:
            numbers: what else is known of the step, of which `kl` is kept.
            memory: what the step before left.
        """
        if not self.watches:
            return Verdict(memory)
        past = History.of(memory.get("history", {}))
        answers = answers_of(cohort, self.weights)
        [highest] = past.known("highest")
        row = answers.numbers(highest.values[-1] if len(highest) else -math.inf)
        row |= {name: numbers[name] for name in ("kl",) if math.isfinite(numbers.get(name, math.nan))}
        history = past.after(step, row)
        fired = [(a, watch.action) for watch in self.watches for a in watch.detector(answers, history)]
        dropped = sum(DROPPED in t.extra for group in cohort for t in group.trajectories)
        logged = {f"guard/{name}": value for name, value in row.items() if name.startswith(LOGGED)}
        logged |= {"guard/alarms": float(len(fired)), "guard/dropped": float(dropped)}
        return replace(_ruling(step, fired, history, memory), numbers=logged)

    def examine(
        self,
        step: int,
        held_out: Sequence[Mapping[str, Any]],
        cohort: Sequence[Group],
        memory: Mapping[str, Any],
    ) -> Verdict:
        """The verdict on a step's held-out answers, lines as in samples.jsonl.

        Args:
            cohort: what was learnt from in the step; empty where that is no longer at hand.
            memory: what `inspect` left.
        """
        if not self.watches:
            return Verdict(memory)
        history = History.of(memory.get("history", {})).evaluated(step, held_out)
        answers = answers_of(cohort, self.weights)
        fired = [
            (alarm, watch.action)
            for watch in self.watches
            if isinstance(watch.detector, Examiner)
            for alarm in watch.detector.examined(answers, history)
        ]
        return _ruling(step, fired, history, memory)


def _ruling(
    step: int, fired: Sequence[tuple[Alarm, Action]], history: History, memory: Mapping[str, Any]
) -> Verdict:
    """Which of the alarms are new, which are over, and what to remember."""
    standing: dict[str, Sequence[int]] = dict(memory.get("alarms", {}))
    raised = tuple((alarm, action) for alarm, action in fired if alarm.key not in standing)
    standing |= {a.key: [standing[a.key][0] if a.key in standing else step, step] for a, _ in fired}
    over = tuple((key, since) for key, (since, last) in standing.items() if last <= step - QUIET)
    for key, _ in over:
        del standing[key]
    return Verdict({"history": history.saved(), "alarms": standing}, {}, raised, over)


def _without(cohort: Sequence[Group], reasons: Mapping[Place, str]) -> Iterator[Group]:
    for g, group in enumerate(cohort):
        yield replace(
            group,
            trajectories=tuple(
                replace(t, reward=None, extra={**t.extra, DROPPED: reasons[g, i]}) if (g, i) in reasons else t
                for i, t in enumerate(group.trajectories)
            ),
        )
