"""What is measured of a reward model, on numbers whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from groupwise.preferences.evaluation import Pairs, calibration, length, measure, pairs, temperature
from groupwise.preferences.fit import Item
from groupwise.preferences.losses import Order

THREE = math.log(3)
"""The lead of a preference with chance 3/4."""


def leads(right: int, wrong: int, lead: float = THREE) -> np.ndarray:
    return np.array([lead] * right + [-lead] * wrong)


def test_accuracy_counts_a_tie_half() -> None:
    found = measure(Pairs(np.array([1.0, 2.0, 0.0, -1.0]), np.array([1, 1, 1, 1])))
    assert (found.pairs, found.accuracy, found.lead) == (4, 2.5 / 4, 0.5)
    assert found.error == pytest.approx(math.sqrt(3.5 / 6 * 2.5 / 6 / 4))
    assert measure(Pairs(np.ones(8), np.ones(8))).error == pytest.approx(math.sqrt(0.9 * 0.1 / 8))


def test_a_model_that_knows_nothing_has_the_loss_of_chance() -> None:
    assert measure(Pairs(np.zeros(5), np.zeros(5))).loss == pytest.approx(math.log(2))


def test_a_ranking_counts_as_its_pairs_that_are_not_tied() -> None:
    rows = ((1,), (2,), (3,), (4,))
    one = Item(rows, Order((1, 2, 1)), (10, 20, 30, 40))
    two = Item(rows[:2], Order((1, 1)), (7, 5))
    found = pairs([one, two], np.array([5.0, 3.0, 4.0, 1.0, 0.0, 9.0]))
    assert found.lead.tolist() == [2, 1, 4, 2, 3, -9]
    assert found.longer.tolist() == [-10, -20, -30, -20, -10, 2]


def test_a_calibrated_model_has_no_error_and_temperature_one() -> None:
    """Says 3/4 and is right in 3 of 4."""
    found = calibration(leads(6, 2))
    assert found.error == pytest.approx(0)
    assert found.temperature == pytest.approx(1)
    (row,) = found.table
    assert (row.n, row.right) == (8, 0.75)
    assert row.confidence == pytest.approx(0.75)


def test_a_model_that_is_too_sure_has_a_temperature_above_one() -> None:
    """Says 3/4 and is right in 5 of 8: scores are divided by T with sigmoid(log 3 / T) = 5/8."""
    found = calibration(leads(5, 3))
    assert found.error == pytest.approx(1 / 8)
    assert found.temperature == pytest.approx(THREE / math.log(5 / 3))


def test_the_error_weighs_bins_by_their_pairs() -> None:
    """8 pairs off by 1/8 and 4 pairs of confidence 0.9 that are all right, off by 1/10."""
    found = calibration(np.concatenate([leads(5, 3), leads(4, 0, math.log(9))]))
    assert [row.n for row in found.table] == [8, 4]
    assert found.error == pytest.approx((8 / 8 + 4 / 10) / 12)


def test_certainty_falls_into_the_last_bin() -> None:
    (row,) = calibration(leads(3, 0, 1e3)).table
    assert (row.high, row.confidence, row.right) == (1, 1, 1)


@pytest.mark.parametrize("lead", [leads(3, 0), leads(2, 2), leads(1, 3), np.zeros(3)])
def test_no_temperature_fits_what_is_never_wrong_or_no_better_than_chance(lead: np.ndarray) -> None:
    assert temperature(lead) is None


def test_the_fitted_temperature_is_where_the_loss_is_least() -> None:
    lead = np.random.default_rng(0).normal(1.0, 4.0, 200)
    best = temperature(lead)
    assert best is not None

    def loss(t: float) -> float:
        return float(np.logaddexp(0, -lead / t).mean())

    assert loss(best) < min(loss(best * 0.99), loss(best * 1.01), loss(1.0))


def test_a_planted_love_of_length_is_found() -> None:
    """Scores are lengths, and people do not care: as right as a coin, and sure of the wrong ones."""
    longer = np.array([5, -5, 9, -9, 2, -2, 7, -7])
    found = length(Pairs(longer / 10, longer))
    assert (found.baseline, found.prefers_longer) == (0.5, 1.0)
    assert (found.longer_chosen, found.shorter_chosen) == (1.0, 0.0)
    assert found.correlation == pytest.approx(1)


def test_a_model_that_does_not_look_at_length_shows_none() -> None:
    longer = np.array([5, -5, 9, -9])
    found = length(Pairs(np.ones(4), longer))
    assert (found.prefers_longer, found.longer_chosen, found.shorter_chosen) == (0.5, 1.0, 1.0)
    assert found.correlation == pytest.approx(0)


def test_people_who_prefer_the_shorter_show_in_the_baseline() -> None:
    assert length(Pairs(np.ones(4), np.array([-1, -2, -3, 4]))).baseline == 0.25


def test_the_correlation_does_not_depend_on_which_side_is_first() -> None:
    rng = np.random.default_rng(1)
    lead, longer, sign = rng.normal(size=50), rng.integers(-9, 9, 50), rng.choice([-1, 1], 50)
    turned = length(Pairs(lead * sign, longer * sign)).correlation
    assert turned == pytest.approx(length(Pairs(lead, longer)).correlation)


def test_pairs_of_equal_length_say_nothing_about_length() -> None:
    found = length(Pairs(np.array([1.0, -2.0]), np.array([0, 0])))
    assert (found.longer_chosen, found.shorter_chosen) == (None, None)
    assert (found.baseline, found.prefers_longer, found.correlation) == (0.5, 0.5, 0.0)
