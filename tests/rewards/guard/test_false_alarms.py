"""How often the guard cries over runs that learn what they should."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from groupwise.rewards.guard.answers import answers_of
from groupwise.rewards.guard.options import DETECTORS
from guarded import alarms, answer, group, honest

PARTS = [{"correct": float(i), "form": 0.5} for i in range(4)]
LOOKED_AT = answers_of(
    [group(*(answer(1.0, parts=p, gold={"correct": 0.0, "other": p["correct"]}) for p in PARTS))], {}
)


def false_alarms(runs: int, steps: int = 60) -> Counter[str]:
    """How many honest runs raise each alarm; under "any", how many raise one."""
    found: Counter[str] = Counter()
    for seed in range(runs):
        raised = alarms(DETECTORS, honest(np.random.default_rng(seed), steps), LOOKED_AT)
        found.update([*raised, *(["any"] if raised else [])])
    return found


def test_few_honest_runs_raise_an_alarm() -> None:
    """Ten runs of 60 steps, which a detector that cries now and then would not survive."""
    assert false_alarms(10)["any"] == 0


@pytest.mark.slow
def test_fewer_than_one_honest_run_in_a_hundred_raises_any() -> None:
    """All detectors, looking after each of 60 steps: of 150 runs, one at most."""
    found = false_alarms(150)
    assert found["any"] <= 1, found
