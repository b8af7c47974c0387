"""Cohorts and histories for the guard, made from nothing, and honest runs to be silent about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from groupwise.rewards.guard import Alarm, Detector
from groupwise.rewards.guard.answers import Answers, answers_of
from groupwise.rewards.guard.history import History
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn


def answer(
    reward: float | None = 0.0,
    text: str = "said",
    tokens: Sequence[int] = (5, 6, 7),
    policy: str = "current",
    **more: Any,
) -> Trajectory:
    turn = Turn(np.arange(2), np.array(tokens), np.zeros(len(tokens), dtype=np.float32))
    return Trajectory((turn,), PolicyTag(policy), StopReason.FINISHED, text, reward, **more)


def group(*answers: Trajectory, ordinal: int = 0) -> Group:
    return Group(Prompt(ordinal, f"prompt {ordinal}", {}, ordinal), answers)


def one_group(n: int = 4, **more: Any) -> Answers:
    """The answers of a cohort that says nothing in particular."""
    return answers_of([group(*(answer(float(i), **more) for i in range(n)))], {})


def history(columns: Mapping[str, Any]) -> History:
    """Of steps 1, 2, ... with these columns."""
    rows = {name: np.asarray(values, dtype=np.float64).tolist() for name, values in columns.items()}
    n = max(map(len, rows.values()))
    return History(tuple(range(1, n + 1)), rows)


def noisy(rng: np.random.Generator, course: Any, deviation: float) -> np.ndarray:
    """A course with independent noise at every step."""
    course = np.asarray(course, dtype=np.float64)
    return course + rng.normal(0, deviation, len(course))


def first_alarm(detector: Detector, columns: Mapping[str, Any], answers: Answers) -> int | None:
    """The step at which a detector first fires, looking at every step of a run."""
    n = len(next(iter(columns.values())))
    return next((t for t in range(1, n + 1) if detector(answers, upto(columns, t))), None)


def upto(columns: Mapping[str, Any], t: int) -> History:
    return History(tuple(range(1, t + 1)), {name: values[:t] for name, values in columns.items()})


def alarms(detectors: Sequence[Detector], columns: Mapping[str, Any], answers: Answers) -> set[str]:
    """All that fires in a run, by key."""
    n = len(next(iter(columns.values())))
    found: list[Alarm] = []
    for t in range(1, n + 1):
        now = upto(columns, t)
        found += [alarm for detector in detectors for alarm in detector(answers, now)]
    return {alarm.key for alarm in found}


# ---------------------------------------------------------------- honest runs


def honest(rng: np.random.Generator, steps: int = 60) -> dict[str, np.ndarray]:
    """A run that learns what it should: 64 answers a step, in 8 groups whose prompts differ in difficulty.

    What is judged by rises from a random start to a random end, early or late, or hardly at all. Length
    wanders (half of a step's deviation is the last step's) and grows or shrinks with what is learnt, up to
    twice or half of it; the rest is noise about a level.
    """
    start, end = sorted(rng.uniform(0.02, 0.98, 2))
    middle, slope = rng.uniform(5, 40), rng.uniform(2, 8)
    learnt = 1 / (1 + np.exp(-(np.arange(steps) - middle) / slope))
    right = start + (end - start) * learnt
    hardness = np.clip(right[:, None] + rng.normal(0, 0.25, (steps, 8)), 0, 1)
    groups = rng.binomial(8, hardness) / 8
    correct, error = groups.mean(axis=1), groups.std(axis=1, ddof=1) / 8**0.5
    form = np.clip(noisy(rng, 0.5 + 0.5 * learnt, 0.05), 0, 1)
    other = np.clip(noisy(rng, 0.3 + 0.2 * right, 0.06), 0, 1)
    wander = np.zeros(steps)
    for t in range(1, steps):
        wander[t] = 0.5 * wander[t - 1] + rng.normal(0, 0.06)
    share = np.clip(noisy(rng, np.full(steps, rng.uniform(0.1, 0.9)), 0.12), -0.2, 1.2)
    return {
        "reward": correct + 0.2 * form,
        "±reward": error,
        "correct": correct,
        "±correct": error,
        "deviation": np.sqrt(np.maximum(right * (1 - right), 0.01)),
        "gold/correct": correct,
        "±gold/correct": error,
        "deviation/correct": np.sqrt(np.maximum(right * (1 - right), 0.01)),
        "gold/other": other,
        "deviation/other": np.full(steps, 0.3),
        "agreement/correct": np.clip(noisy(rng, 0.6 + 0.3 * learnt, 0.1), -1, 1),
        "±agreement/correct": np.full(steps, 56**-0.5),
        "±agreement/other": np.full(steps, 56**-0.5),
        "agreement/other": np.clip(noisy(rng, np.full(steps, 0.1), 0.15), -1, 1),
        "part/correct": correct,
        "part/form": 0.2 * form,
        "share/correct": 1 - share,
        "share/form": share,
        "length": 40 * np.exp(wander + rng.uniform(-0.8, 0.8) * (right - right[0])),
        "repetition": np.abs(noisy(rng, 0.03 + 0.02 * learnt, 0.01)),
        "constant": rng.binomial(8, 0.2 + 0.3 * (1 - right)) / 8,
        "copied": rng.binomial(8, 0.01, steps) / 8,
        "disagreement/judge": np.abs(noisy(rng, 1 + 0.2 * learnt, 0.1)),
        "spread/judge": np.full(steps, 0.4),
        "kl": np.abs(noisy(rng, 0.8 * learnt, 0.02)),
    }
