"""A step's answers as the guard sees them, and the numbers made of them, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from groupwise.rewards.guard.answers import answers_of
from groupwise.trajectory import StopReason, Turn
from guarded import answer, group

LONG = "the answer that everybody gives is this very one"


def test_a_prompt_counts_alike_however_often_it_was_asked() -> None:
    """Where answers are shared out, the mean over answers moves with the shares alone."""
    cohort = [group(answer(1.0), answer(1.0), answer(1.0), answer(1.0)), group(answer(0.0), answer(None))]
    answers = answers_of(cohort, {})
    assert answers.numbers(-math.inf)["reward"] == 0.5
    assert answers.numbers(-math.inf)["highest"] == 1.0
    assert answers.numbers(3.0)["highest"] == 3.0


def test_only_answers_of_the_policy_in_training_are_looked_at() -> None:
    """A teacher's long answers are no length exploit, and a crash of the world is no answer."""
    failed = replace(answer(None, tokens=[1] * 50), stopped=StopReason.ERROR)
    cohort = [group(answer(1.0, tokens=[1, 2]), answer(0.0, tokens=[1] * 90, policy="teacher"), failed)]
    answers = answers_of(cohort, {})
    assert answers.places == ((0, 0),)
    assert answers.numbers(0)["length"] == 2


def test_the_judge_is_gold_else_the_first_of_several_parts_else_nobody() -> None:
    """One reward alone judges nothing: it is what may be hacked."""
    alone = answers_of([group(answer(1.0, parts={"r": 1.0}), answer(0.0, parts={"r": 0.0}))], {})
    assert np.isnan(alone.correct).all()
    assert "correct" not in alone.numbers(0)
    assert not {"share/r", "part/r"} & alone.numbers(0).keys()
    two = [group(answer(1.5, parts={"r": 1.0, "s": 0.5}), answer(0.25, parts={"r": 0.0, "s": 0.25}))]
    assert answers_of(two, {}).correct_name == "r"
    assert answers_of(two, {}).correct.tolist() == [1, 0]
    gold = [group(answer(1.0, parts={"r": 1.0, "s": 0.0}, gold={"g": 0.25}))]
    assert (answers_of(gold, {}).correct_name, answers_of(gold, {}).correct.tolist()) == ("gold/g", [0.25])


def test_agreement_is_a_correlation_within_groups() -> None:
    """Between groups reward and gold rise together here, within them they are opposed: −1."""
    cohort = [
        group(answer(0.0, gold={"g": 1.0}), answer(1.0, gold={"g": 0.0})),
        group(answer(10.0, gold={"g": 11.0}), answer(11.0, gold={"g": 10.0})),
    ]
    assert answers_of(cohort, {}).numbers(0)["agreement/g"] == pytest.approx(-1)
    mixed = [group(*(answer(r, gold={"g": g}) for r, g in ((0.0, 0.0), (1.0, 1.0), (2.0, 1.0), (3.0, None))))]
    # the three that have gold: rewards −1 0 1, gold −2/3 1/3 1/3, so 1 / √(2 · 2/3), of two comparisons
    assert answers_of(mixed, {}).numbers(0)["±agreement/g"] == pytest.approx(1 / math.sqrt(2))
    assert answers_of(mixed, {}).numbers(0)["agreement/g"] == pytest.approx(1 / math.sqrt(2 * 2 / 3))
    flat = [group(answer(1.0, gold={"g": 0.0}), answer(1.0, gold={"g": 1.0}))]
    assert "agreement/g" not in answers_of(flat, {}).numbers(0)


def test_shares_of_the_parts_sum_to_one_and_know_their_weights() -> None:
    """a of deviations ±1 and b of ±2 at weight 1/4 in step with it: shares 2/3 and 1/3."""
    cohort = [group(answer(3.0, parts={"a": 2.0, "b": 4.0}), answer(0.0, parts={"a": 0.0, "b": 0.0}))]
    numbers = answers_of(cohort, {"b": 0.25}).numbers(0)
    assert (numbers["share/a"], numbers["share/b"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (numbers["part/a"], numbers["part/b"]) == (1.0, 0.5)


def test_a_part_that_does_not_apply_adds_nothing() -> None:
    cohort = [group(answer(1.0, parts={"a": 1.0, "b": None}), answer(0.5, parts={"a": 0.0, "b": 0.5}))]
    numbers = answers_of(cohort, {}).numbers(0)
    assert numbers["share/a"] + numbers["share/b"] == pytest.approx(1)
    assert numbers["share/b"] == pytest.approx(-1)


def test_constant_groups_count_unless_they_are_right() -> None:
    """A solved prompt is flat too, and no sign of anything."""
    wrong = group(answer(1.0, gold={"g": 0.0}), answer(1.0, gold={"g": 0.0}))
    right = group(answer(1.0, gold={"g": 1.0}), answer(1.0, gold={"g": 1.0}))
    apart = group(answer(0.0, gold={"g": 0.0}), answer(1.0, gold={"g": 0.0}))
    assert answers_of([wrong, right, apart, wrong], {}).numbers(0)["constant"] == 0.5
    best, low = group(answer(1.0), answer(1.0)), group(answer(0.5), answer(0.5))
    assert answers_of([best, low], {}).numbers(0)["constant"] == 0.5  # without a judge: below the best seen
    assert answers_of([best, low], {}).numbers(2.0)["constant"] == 1.0


def test_repetition_is_of_runs_of_four_tokens() -> None:
    """1 2 3 4 1 2 3 4: runs 1234 2341 3412 4123 1234, one of five came before."""
    answers = answers_of([group(answer(tokens=[1, 2, 3, 4, 1, 2, 3, 4]), answer(tokens=[1, 2]))], {})
    assert answers.repetition.tolist() == [pytest.approx(0.2), 0]


def test_an_environment_has_no_text_whose_length_could_be_paid() -> None:
    """A longer episode is what a cart-pole is for."""
    episode = replace(answer(), turns=(Turn(np.zeros((3, 4)), np.arange(3), np.zeros(3)),), text="")
    numbers = answers_of([group(episode, episode)], {}).numbers(0)
    assert not {"length", "repetition", "copied"} & numbers.keys()
    assert "reward" in numbers


@pytest.mark.parametrize(
    ("texts", "copies"),
    [
        ([LONG] * 4, [[0, 1, 2, 3]]),
        ([LONG, f" {LONG.upper()}\n", LONG, "another"], [[0, 1, 2]]),
        ([LONG, LONG, "another", "one more"], []),
        (["46"] * 4, []),  # independent writers agree on what is short
        ([LONG] * 3, []),
    ],
)
def test_copies_are_long_texts_that_most_siblings_have(texts: list[str], copies: list[list[int]]) -> None:
    answers = answers_of([group(*(answer(1.0, text=text) for text in texts))], {})
    assert answers.copies() == copies


def test_a_right_answer_may_be_everybodys() -> None:
    right = group(*(answer(1.0, text=LONG, gold={"g": 1.0}) for _ in range(4)))
    wrong = group(*(answer(1.0, text=LONG, gold={"g": 0.0}) for _ in range(4)))
    assert answers_of([right], {}).copies() == []
    assert answers_of([right, wrong], {}).copies() == [[4, 5, 6, 7]]
    assert answers_of([right, wrong], {}).numbers(0)["copied"] == 0.5


def test_disagreement_is_what_an_ensemble_logs() -> None:
    cohort = [group(*(answer(extra={"judge/disagreement": v, "note": "x"}) for v in (1.0, 2.0, None)))]
    numbers = answers_of(cohort, {}).numbers(0)
    assert (numbers["disagreement/judge"], numbers["spread/judge"]) == (1.5, 0.5)


def test_the_worst_come_first_and_unknown_ones_never() -> None:
    answers = answers_of([group(answer(1.0), answer(None), answer(3.0)), group(answer(2.0))], {})
    assert answers.worst(answers.reward, 2) == ((0, 2), (1, 0))
    assert answers.worst(answers.reward) == ((0, 2), (1, 0), (0, 0))


def test_means_over_groups_come_with_their_error() -> None:
    """Group means 1, 3, 5: deviation 2, error 2 / √3. One group alone has no error."""
    cohort = [group(answer(r), answer(r + 2)) for r in (0.0, 2.0, 4.0)]
    numbers = answers_of(cohort, {}).numbers(0)
    assert (numbers["reward"], numbers["±reward"]) == (3.0, pytest.approx(2 / math.sqrt(3)))
    assert "±reward" not in answers_of(cohort[:1], {}).numbers(0)
