"""Signs in the answers themselves: where an alarm must come, and where none may."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from groupwise.rewards.guard.answers import Answers, answers_of
from groupwise.rewards.guard.history import History
from groupwise.rewards.guard.signs import constant, copied, disagreement, kl, length, repetition
from guarded import answer, first_alarm, group, history, noisy, one_group

STEPS = 40
LONG = "the answer that everybody gives is this very one"


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def rising(first: float, last: float, deviation: float) -> np.ndarray:
    return noisy(rng(), np.linspace(first, last, STEPS), deviation)


FLAT, UP, DOWN = (
    {"correct": noisy(rng(1), np.linspace(a, b, STEPS), 0.03)}
    for a, b in ((0.4, 0.4), (0.1, 0.9), (0.8, 0.2))
)


@pytest.mark.parametrize(
    ("factor", "judge", "fires"),
    [
        (1.8, FLAT, True),
        (1.8, UP, False),  # reasoning that is learnt grows too
        (1.2, FLAT, False),
        (1.8, {}, False),  # nothing says whether they are better: twice as long is what it takes
        (2.5, {}, True),
        (0.3, DOWN, True),
        (0.3, FLAT, False),  # an answer that stops rambling
        (0.3, {}, False),
    ],
)
def test_length_that_is_not_earned(factor: float, judge: dict[str, Any], fires: bool) -> None:
    columns = {"length": rising(20, 20 * factor, 0.8), **judge}
    assert (first_alarm(length(), columns, one_group()) is not None) == fires


def test_the_alarm_of_length_tells_both_and_shows_the_longest() -> None:
    answers = answers_of([group(answer(tokens=[1]), answer(tokens=[1] * 9), answer(tokens=[1] * 4))], {})
    [alarm] = length()(answers, history({"length": np.repeat([10.0, 30.0], 20)}))
    assert "answers grew from 10.0 to 30.0 tokens" in alarm.message
    assert "--gold" in alarm.message  # nobody judges this run
    assert alarm.offenders == ((0, 1), (0, 2), (0, 0))
    [alarm] = length()(answers, history({"length": np.repeat([30.0, 10.0], 20), **DOWN}))
    assert "answers shrank from 30.0 to 10.0 tokens" in alarm.message
    assert alarm.offenders == ((0, 0), (0, 2), (0, 1))


@pytest.mark.parametrize(
    ("last", "judge", "fires"), [(0.4, FLAT, True), (0.4, UP, False), (0.08, FLAT, False)]
)
def test_repetition_that_is_not_earned(last: float, judge: dict[str, Any], fires: bool) -> None:
    columns = {"repetition": rising(0.02, last, 0.01), **judge}
    assert (first_alarm(repetition(), columns, one_group()) is not None) == fires


def test_loops_are_pointed_at_if_they_are_long() -> None:
    """Of 22 runs of four tokens in "1 2 3 1 2 3 ...", all but three came before."""
    loop, short, plain = [1, 2, 3] * 8, [1, 2, 3] * 4, list(range(30))
    answers = answers_of([group(*(answer(tokens=t) for t in (plain, loop, short)))], {})
    assert repetition().offending(answers, History()) == [(0, 1)]


def copies(n: int) -> Answers:
    """n groups of one text each, and one in which all differ."""
    same = [group(*(answer(1.0, text=f"{LONG} {i}") for _ in range(4)), ordinal=i) for i in range(n)]
    return answers_of([*same, group(*(answer(text=f"{LONG} {i}") for i in "abcd"))], {})


def test_copies_are_an_alarm_where_they_stay() -> None:
    """One group of eight, now and then, is a prompt that everybody refuses in the same words."""
    shares = np.zeros(STEPS)
    shares[::8] = 1 / 8
    assert first_alarm(copied(), {"copied": shares}, copies(1)) is None
    shares[20:] = 0.5
    assert first_alarm(copied(), {"copied": shares}, copies(2)) == 22  # two of four steps at a half
    [alarm] = copied()(copies(2), history({"copied": shares}))
    assert alarm.offenders == ((0, 0), (1, 0))
    assert "--guard copied=drop" in alarm.message


def test_copies_but_one_are_pointed_at() -> None:
    assert copied().offending(copies(1), History()) == [(0, 1), (0, 2), (0, 3)]


def test_the_budget_of_kl_is_what_it_was_set_to() -> None:
    """A median: one wild estimate of k3 is none of the policy's doing."""
    spiky = np.full(STEPS, 0.2)
    spiky[[10, 20, 30]] = 50
    assert first_alarm(kl(0.5), {"kl": spiky}, one_group()) is None
    assert first_alarm(kl(0.1), {"kl": spiky}, one_group()) == 4
    crossing = np.linspace(0, 1, STEPS)
    fired = first_alarm(kl(0.5), {"kl": crossing}, one_group())
    assert fired == int(np.argmax(crossing > 0.5)) + 3  # at +2 the median of four is 0.5 itself
    [alarm] = kl(0.5)(one_group(), history({"kl": crossing}))
    assert "over the budget of 0.5" in alarm.message
    with pytest.raises(ValueError, match="KL budget of 0"):
        kl(0)


def test_an_ensemble_that_drifts_apart() -> None:
    columns = {"disagreement/judge": rising(1, 2.5, 0.1), **FLAT}
    assert first_alarm(disagreement(), columns, one_group()) is not None
    assert first_alarm(disagreement(), columns | UP, one_group()) is None
    assert (
        first_alarm(disagreement(), {**FLAT, "disagreement/judge": rising(1, 1.2, 0.1)}, one_group()) is None
    )


def test_answers_that_the_ensemble_is_far_apart_on_are_pointed_at() -> None:
    """Beyond the first steps' mean, 1, by four of their deviations, 0.5: above 3."""
    apart = answers_of([group(*(answer(extra={"judge/disagreement": v}) for v in (2.9, 3.1, 1.0)))], {})
    early = {"disagreement/judge": [1.0] * 4 + [9.0] * 10, "spread/judge": [0.5] * 14}
    assert disagreement().offending(apart, history(early)) == [(0, 1)]
    assert disagreement().offending(apart, history({k: v[:3] for k, v in early.items()})) == []


@pytest.mark.parametrize(
    ("first", "last", "judge", "fires"),
    [
        (0.1, 1.0, FLAT, True),
        (0.1, 1.0, UP, False),
        (0.1, 0.6, FLAT, False),
        (0.9, 1.0, FLAT, False),  # a task too hard from the start
    ],
)
def test_rewards_that_saturate(first: float, last: float, judge: dict[str, Any], fires: bool) -> None:
    columns = {"constant": np.clip(rising(first, last, 0.05), 0, 1), **judge}
    assert (first_alarm(constant(), columns, one_group()) is not None) == fires


@pytest.mark.parametrize("at", [0, 3, 150, 297, 299])
def test_one_wild_step_in_a_long_calm_run_is_no_alarm(at: int) -> None:
    """Noise taken over all steps would be small beside it, and a window of four with it far off."""
    calm = noisy(rng(), np.full(300, 20.0), 0.3)
    wild = calm.copy()
    wild[at] = 500.0
    for columns in ({"length": wild}, {"length": wild, "correct": noisy(rng(), np.full(300, 0.4), 0.03)}):
        assert first_alarm(length(), columns, one_group()) is None
        assert first_alarm(repetition(), {"repetition": wild / 500}, one_group()) is None


def test_a_jump_that_stays_is_an_alarm_within_a_dozen_steps() -> None:
    columns = {"length": noisy(rng(), np.repeat([20.0, 45.0], 100), 0.5)}
    fired = first_alarm(length(), columns, one_group())
    assert fired is not None
    assert 100 < fired <= 112
