"""What is known at a bar is of that bar and those before; parts share no bar."""

from __future__ import annotations

import numpy as np
import pytest

from groupwise.envs.markets.bars import Part, bars
from groupwise.envs.markets.prices import PricesError, Series
from markets import of, walk


def test_features_are_of_the_last_window_up_to_and_including_the_bar() -> None:
    known = bars(walk(), 4)
    moves = np.diff(np.log(walk().prices))
    usual = moves[: known.parts[0].last].std()
    last = moves[46:50] / usual  # returns 47 to 50: the one from bar 49 to 50 is known at 50
    assert np.allclose(known.features[50, :4], last, atol=1e-6)
    assert known.features[50, 4] == pytest.approx(last.sum() / 2, abs=1e-6)
    assert known.features[50, 5] == pytest.approx(np.log(last.std() + 1e-3), abs=1e-5)
    assert np.isnan(known.features[:4]).all()
    assert np.isfinite(known.features[4:]).all()
    assert known.returns[50] == pytest.approx(moves[49])


def test_no_bar_is_looked_at_or_paid_by_in_two_parts() -> None:
    """The embargo: a first window that reached back over the cut would fail here."""
    known = bars(walk(100), 5)
    assert known.parts == (Part(5, 59), Part(65, 79), Part(85, 99))
    used = [set(range(part.first - 5, part.last + 1)) for part in known.parts]
    assert not used[0] & used[1]
    assert not used[1] & used[2]
    assert len(known.part("test")) == 14


def test_scales_are_of_training_alone() -> None:
    """Prices after training ten times as wild change nothing that was known before."""
    calm = walk()
    moves = np.diff(np.log(calm.prices))
    end = bars(calm, 4).parts[0].last
    moves[end:] *= 10
    wild = Series("wild", 100 * np.exp(np.concatenate([[0.0], moves.cumsum()])))
    one, two = bars(calm, 4), bars(wild, 4)
    assert np.array_equal(one.features[: end + 1], two.features[: end + 1], equal_nan=True)
    assert two.features[end + 5 :, :4].std() > 2 * one.features[end + 5 :, :4].std()


@pytest.mark.parametrize(
    ("prices", "window", "words"),
    [
        (of(np.arange(1, 50)), 5, "49 bars; with window=5 a fifth of them has to hold two windows"),
        (of(np.ones(100)), 5, "never moves in its first 59 bars"),
        (of(np.arange(1, 100)), 1, "window=1: 2 bars or more"),
    ],
)
def test_series_that_cannot_be_parted_are_refused(prices: Series, window: int, words: str) -> None:
    with pytest.raises(PricesError, match=words):
        bars(prices, window)


def test_the_least_that_is_asked_for_is_enough() -> None:
    known = bars(walk(10 * 5 + 5), 5)
    assert min(map(len, known.parts)) >= 5
