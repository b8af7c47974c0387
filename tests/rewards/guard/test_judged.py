"""The reward against what the run is judged by: where an alarm must come, and where none may."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from groupwise.rewards.guard.answers import Answers, answers_of
from groupwise.rewards.guard.history import HeldOut, History
from groupwise.rewards.guard.judged import agreement, form, gold, hollow, takeover
from guarded import answer, first_alarm, group, history, noisy

STEPS = 40


def looked_at() -> Answers:
    """Four siblings; the last has the highest reward for form, and gold does not value it."""
    return answers_of(
        [
            group(
                *(
                    answer(r, parts={"correct": g, "form": f}, gold={"correct": g})
                    for r, g, f in ((1.0, 1.0, 0.0), (0.2, 0.0, 0.2), (0.5, 0.0, 0.5), (2.0, 0.0, 2.0))
                )
            )
        ],
        {},
    )


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


# ---------------------------------------------------------------- gold


def over_optimised(peak: float, steps: int = 150) -> dict[str, Any]:
    """Gao et al.: gold = d (α − β ln d) of a distance d, which grows with the steps; peak at e^(α/β − 1)."""
    d = np.linspace(0.1, 20, steps)
    beta = 1 / (1 + math.log(peak))
    return {
        "reward": noisy(rng(), d, 0.1),
        "gold/g": noisy(rng(), d * (1 - beta * np.log(d)), 0.02),
        "deviation/g": np.full(steps, 0.5),
    }


@pytest.mark.parametrize("peak", [5.0, 8.0])
def test_over_optimisation_is_seen_soon_after_the_peak_and_never_before(peak: float) -> None:
    columns = over_optimised(peak)
    at = int(np.argmax(np.linspace(0.1, 20, 150) >= peak)) + 1
    fired = first_alarm(gold(), columns, looked_at())
    assert fired is not None
    assert at < fired <= at + 20


def test_a_gold_that_only_rises_is_no_alarm() -> None:
    columns = over_optimised(1e9)
    assert np.diff(columns["gold/g"][::10]).min() > 0
    assert first_alarm(gold(), columns, looked_at()) is None


def test_a_run_in_which_reward_and_gold_both_fall_is_bad_luck_and_no_hack() -> None:
    columns = over_optimised(5.0)
    assert first_alarm(gold(), columns | {"reward": -columns["reward"]}, looked_at()) is None


def test_a_fall_too_small_to_matter_is_left_alone() -> None:
    """However sure it is: 0.02 of a deviation of 0.5."""
    columns = {
        "reward": np.arange(STEPS),
        "gold/g": np.repeat([0.5, 0.48], STEPS // 2) + 1e-6 * np.arange(STEPS) % 2,
        "deviation/g": np.full(STEPS, 0.5),
    }
    assert first_alarm(gold(), columns, looked_at()) is None
    columns["gold/g"] = np.repeat([0.5, 0.4], STEPS // 2)
    assert first_alarm(gold(), columns, looked_at()) is not None


def test_the_alarm_says_what_fell_and_shows_what_was_overpaid() -> None:
    [alarm] = gold()(
        looked_at(), history(over_optimised(5.0) | {"gold/correct": over_optimised(1e9)["gold/g"]})
    )
    assert (alarm.name, alarm.about, alarm.key) == ("gold", "g", "gold/g")
    assert "reward rises while gold/g falls, on training answers from" in alarm.message
    assert "best checkpoint" in alarm.message
    columns = over_optimised(5.0)
    columns = {
        "reward": columns["reward"],
        "gold/correct": columns["gold/g"],
        "deviation/correct": columns["deviation/g"],
    }
    [alarm] = gold()(looked_at(), history(columns))
    assert alarm.offenders == ((0, 3), (0, 2), (0, 1))  # the highest rewards among those without gold


@pytest.mark.parametrize(("lost", "gained", "fires"), [(40, 5, True), (30, 10, False), (5, 40, False)])
def test_held_out_gold_is_compared_prompt_by_prompt(lost: int, gained: int, fires: bool) -> None:
    """Of 200: 40 lost and 5 gained are 5.6 standard errors, 30 and 10 are 3.3."""
    before = [1.0] * 80 + [0.0] * 120
    after = [0.0] * lost + [1.0] * (80 - lost) + [1.0] * gained + [0.0] * (120 - gained)
    rising = {"reward": noisy(rng(), np.arange(STEPS), 0.3)}
    rising |= {"gold/g": np.full(STEPS, 0.4), "deviation/g": np.full(STEPS, 0.5)}
    kept = replace(history(rising), peaks={"g": HeldOut(5, before)}, latest={"g": HeldOut(STEPS, after)})
    found = gold()(looked_at(), kept)
    assert bool(found) == fires
    if fires:
        assert "on held-out answers from 0.4 to 0.225 (5." in found[0].message
        flat = replace(kept, columns={**kept.columns, "reward": [1.0, 1.1] * (STEPS // 2)})
        assert not gold()(looked_at(), flat)


# ---------------------------------------------------------------- hollow


def held_out(rewards: Sequence[float], golds: Sequence[float]) -> list[dict[str, Any]]:
    return [{"reward": r, "gold": {"g": g}} for r, g in zip(rewards, golds, strict=True)]


def test_a_reward_that_rises_alone_on_held_out_prompts_is_hollow() -> None:
    """20 prompts of which 15 gain: 0.75 ± 0.1 is 7.5 standard errors, long before gold shows a fall."""
    right = [1.0] * 12 + [0.0] * 8
    before = History().evaluated(0, held_out([0.0] * 20, right))
    won = [1.0] * 15 + [0.0] * 5
    [alarm] = hollow().examined(looked_at(), before.evaluated(2, held_out(won, right)))
    assert alarm.key == "hollow/g"
    assert "from 0 to 0.75 (7.5 standard errors) and gold/g did not (0.6 to 0.6)" in alarm.message
    assert hollow()(looked_at(), before) == []
    better = [1.0] * 16 + [0.0] * 4  # 4 of 20 more, which is 2.2 standard errors
    assert hollow()(looked_at(), before.evaluated(2, held_out(won, better))) == []
    few = [1.0] * 10 + [0.0] * 10  # a rise of 4.4
    assert hollow()(looked_at(), before.evaluated(2, held_out(few, right))) == []


def test_gold_that_is_trained_on_may_come_after_the_other_parts() -> None:
    gains = held_out([0.0] * 20, [0.0] * 20), held_out([1.0] * 15 + [0.0] * 5, [0.0] * 20)
    seen = History().after(1, {"part/g": 0.0}).evaluated(0, gains[0]).evaluated(2, gains[1])
    assert hollow()(looked_at(), seen) == []
    apart = History().after(1, {"part/h": 0.0}).evaluated(0, gains[0]).evaluated(2, gains[1])
    assert len(hollow()(looked_at(), apart)) == 1


# ---------------------------------------------------------------- agreement


def test_a_reward_that_works_against_gold_is_seen_before_gold_falls() -> None:
    columns = {"agreement/g": noisy(rng(), np.full(STEPS, -0.3), 0.05), "correct": np.full(STEPS, 0.5)}
    assert first_alarm(agreement(), columns, looked_at()) == 4


def test_what_is_weakly_against_gold_takes_more_steps_to_tell() -> None:
    """Mean −0.2, noise ±0.2: over 4 steps that is 2 standard errors, over 32 some 5.7."""
    course = np.resize([0.0, -0.4, -0.4, 0.0], STEPS)
    columns = {"agreement/g": course, "correct": np.full(STEPS, 0.5)}
    fired = first_alarm(agreement(), columns, looked_at())
    assert fired is not None
    assert 16 <= fired <= 32
    weaker = columns | {"agreement/g": noisy(rng(), np.full(STEPS, -0.05), 0.02)}
    assert first_alarm(agreement(), weaker, looked_at()) is None


def test_a_reward_by_chance_agrees_with_nothing_and_is_no_alarm() -> None:
    """The control run: 64 answers a step, so its correlation has a deviation of 1/8, as its groups tell."""
    columns = {
        "agreement/g": noisy(rng(), np.zeros(300), 1 / 8),
        "±agreement/g": np.full(300, 1 / 8),
        "correct": noisy(rng(), np.full(300, 0.3), 0.06),
    }
    assert first_alarm(agreement(), columns, looked_at()) is None


def test_agreement_that_is_lost_is_seen_unless_gold_gains() -> None:
    """Near the end of an honest run little is left that gold differs by, and agreement fades."""
    fading = np.r_[np.full(10, 1.0), np.linspace(1.0, 0.3, STEPS - 10)]
    columns = {"agreement/g": noisy(rng(), fading, 0.05), "correct": noisy(rng(), np.full(STEPS, 0.3), 0.03)}
    fired = first_alarm(agreement(), columns, looked_at())
    assert fired is not None
    assert 20 < fired <= 40
    learning = columns | {"correct": noisy(rng(), np.linspace(0.3, 0.95, STEPS), 0.03)}
    assert first_alarm(agreement(), learning, looked_at()) is None


# ---------------------------------------------------------------- parts


def test_form_that_is_bought_with_substance() -> None:
    falling = noisy(rng(), np.linspace(0.6, 0.1, STEPS), 0.04)
    columns: dict[str, Any] = {
        "part/correct": falling,
        "part/form": noisy(rng(), np.linspace(0.1, 0.9, STEPS), 0.04),
        "correct": falling,
        "deviation": np.full(STEPS, 0.45),
    }
    by_parts = replace(looked_at(), correct_name="correct")
    [alarm] = form()(by_parts, history(columns))
    assert (alarm.key, alarm.offenders[0]) == ("format/form", (0, 3))
    assert "Pay form only where the answer is right" in alarm.message
    steady = columns | {"correct": noisy(rng(), np.full(STEPS, 0.4), 0.04)}
    assert first_alarm(form(), steady, by_parts) is None
    lagging = columns | {"part/form": noisy(rng(), np.full(STEPS, 0.5), 0.04)}
    assert first_alarm(form(), lagging, by_parts) is None


def test_a_part_that_takes_over_unless_it_is_the_judge_or_the_judge_gains() -> None:
    rising = noisy(rng(), np.linspace(0.1, 1.0, STEPS), 0.05)
    columns: dict[str, Any] = {
        "share/correct": 1 - rising,
        "share/form": rising,
        "correct": noisy(rng(), np.full(STEPS, 0.3), 0.03),
    }
    by_parts = replace(looked_at(), correct_name="correct")
    [alarm] = takeover()(by_parts, history(columns))
    assert (alarm.key, alarm.offenders[0]) == ("takeover/form", (0, 3))
    turned = columns | {"share/correct": rising, "share/form": 1 - rising}
    assert first_alarm(takeover(), turned, by_parts) is None
    learning = columns | {"correct": noisy(rng(), np.linspace(0.3, 0.9, STEPS), 0.03)}
    assert first_alarm(takeover(), learning, by_parts) is None
    from_the_start = columns | {"share/form": noisy(rng(), np.full(STEPS, 0.9), 0.05)}
    assert first_alarm(takeover(), from_the_start, by_parts) is None
