"""Forecasts are told from luck: by what came true, and beside the share that was known before."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from groupwise.envs.markets.bars import bars
from groupwise.envs.markets.calibration import base_rate, happened, judged, levels, miscalibration
from groupwise.envs.markets.forecasting import brier
from markets import of, walk


def test_the_base_rate_is_of_training_and_what_happened_is_of_the_part() -> None:
    """60 bars of training that rise, then all fall."""
    known = bars(of([*(1.01 ** np.arange(60)), *(1.01**59 * 0.99 ** np.arange(1, 41))]), 5)
    assert base_rate(known) == 1
    came = happened(known, known.part("test"))
    assert len(came) == len(known.part("test"))
    assert not came.any()
    found = judged(np.zeros(len(came)), known, known.part("test"), brier)
    assert found.score == 0
    assert found.more == (1, 1, 1)


def test_each_question_is_met_by_its_own_answer() -> None:
    known = bars(walk(), 4)
    part = known.part("validation")
    prices = walk().prices
    expected = prices[part.first + 1 : part.last + 1] > prices[part.first : part.last]
    assert np.array_equal(happened(known, part), expected)


def test_levels_are_of_equal_size_and_tell_what_came() -> None:
    said = np.array([0.9, 0.1, 0.8, 0.2])
    came = np.array([True, False, False, False])
    low, high = levels(said, came, 2)
    assert (low.said, low.came, low.count) == (pytest.approx(0.15), 0, 2)
    assert (high.said, high.came, high.count) == (pytest.approx(0.85), 0.5, 2)
    assert miscalibration([low, high]) == pytest.approx((0.15 + 0.35) / 2)


def test_a_forecaster_who_knows_the_chances_is_calibrated_and_better_than_the_base_rate() -> None:
    draw = np.random.default_rng(0)
    true = draw.uniform(0.1, 0.9, 20_000)
    came = draw.random(20_000) < true
    assert miscalibration(levels(true, came)) < 0.01
    assert miscalibration(levels((true > 0.5) * 0.8 + 0.1, came)) > 0.1
