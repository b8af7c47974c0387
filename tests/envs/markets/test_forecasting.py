"""Scores are proper, by enumeration: also after a group has made advantages of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")

from exact import f64, moments
from groupwise.advantages import Advantage, center, leave_one_out, standardize
from groupwise.envs.markets.bars import bars
from groupwise.envs.markets.forecasting import SCORES, Forecast, Score, brier, stated
from groupwise.recipes import RECIPES
from groupwise.settings import defaults_of
from markets import of, walk

BINS = stated(21)


def linear(probability: Any, happened: Any) -> Any:
    """Looks fair and is not: it pays for exaggeration."""
    return -np.abs(np.asarray(probability) - happened)


def best(score: Score, true: float) -> float:
    """The probability to state where the event has the chance `true`."""
    expected = true * score(BINS, True) + (1 - true) * score(BINS, False)
    return float(BINS[expected.argmax()])


@pytest.mark.parametrize("score", SCORES.values())
@pytest.mark.parametrize("true", BINS.tolist())
def test_the_best_that_one_can_say_is_the_truth(score: Score, true: float) -> None:
    assert best(score, true) == true


def test_a_score_that_is_not_proper_fails_the_same_check() -> None:
    assert best(linear, float(BINS[13])) == BINS[-1]


def test_probabilities_are_inside_and_even() -> None:
    assert stated(4).tolist() == [0.125, 0.375, 0.625, 0.875]
    assert 0.5 in BINS


def pull(scheme: Advantage, true: float, said: list[float], size: int = 4) -> torch.Tensor:
    """The expected gradient on the logits of a policy that says each of `said` equally often."""
    even = torch.full((len(said),), 1 / len(said), dtype=torch.float64)
    return sum(
        chance * moments(scheme, even, f64(*(float(brier(p, came)) for p in said)), size)[0]
        for came, chance in ((True, true), (False, 1 - true))
    )


@pytest.mark.parametrize("scheme", [center, leave_one_out])
def test_the_truth_wins_in_a_group_that_is_centred(scheme: Advantage) -> None:
    """Siblings share what happened, so what is left of a score after its group's mean is still proper."""
    for true, wrong in ((0.6, 0.9), (0.6, 0.3), (0.2, 0.5), (0.9, 0.7)):
        gradient = pull(scheme, true, [true, wrong])
        assert gradient[0] > 0 > gradient[1]


def test_dividing_by_the_deviation_pays_for_exaggeration() -> None:
    """Why forecasts train with dr_grpo: else every group weighs the same, however much was at stake."""
    gradient = pull(standardize, 0.6, [0.6, 0.9])
    assert gradient[1] > 0 > gradient[0]
    recipe = RECIPES[defaults_of("forecast:googl").recipe]
    gradient = pull(recipe.advantage, 0.6, [0.6, 0.9])
    assert gradient[0] > 0 > gradient[1]


def test_the_question_is_about_the_next_bar() -> None:
    """Up from bar 3 to 4, down from 4 to 5, unmoved to 6: asked at bar 3, 4 and 5."""
    world = Forecast(bars(of([100, 101, 100, 99, 105, 103, 103, *walk(100).prices]), 2), bins=2)
    for bar, came in ((3, True), (4, False), (5, False)):
        seen, info = world.reset(options={"start": bar})
        assert info["bar"] == bar
        assert np.array_equal(seen, world.bars.features[bar])
        _, reward, terminated, _, _ = world.step(1)
        assert terminated
        assert reward == pytest.approx(-((0.75 - came) ** 2))


def test_the_log_score_is_in_nats() -> None:
    assert float(SCORES["log"](0.8, True)) == pytest.approx(np.log(0.8))
    assert float(SCORES["log"](0.8, False)) == pytest.approx(np.log(0.2))


def test_questions_of_training_are_of_training() -> None:
    world = Forecast(bars(walk(), 4))
    train = world.bars.parts[0]
    asked = {world.reset(seed=seed)[1]["bar"] for seed in range(1500)}
    assert (min(asked), max(asked)) == (train.first, train.last - 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"score": "accuracy"}, "score=accuracy: there are brier, log"), ({"bins": 1}, "bins=1: 2 or more")],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Forecast(bars(walk(), 4), **options)


def test_a_question_without_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no question at bar 299"):
        Forecast(bars(walk(), 4)).reset(options={"start": 299})
