"""Growth, losses and intervals, against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from groupwise.envs.markets.backtest import Traded, always, compared, interval, outcome, trade
from groupwise.envs.markets.bars import bars
from groupwise.envs.markets.trading import Market
from markets import of, walk


def test_numbers_of_a_trade_by_hand() -> None:
    """Wealth 1, 2, 1, 1.5: from 2 half was lost. Bought, turned round, closed."""
    traded = Traded(np.log([2, 0.5, 1.5]), np.array([1, -1, -1]))
    assert traded.grown == pytest.approx(0.5)
    assert traded.deepest == pytest.approx(0.5)
    assert traded.trades == 3
    assert traded.sharpe == pytest.approx(np.log(1.5) / 3 / np.log([2, 0.5, 1.5]).std())
    still = Traded(np.zeros(4), np.zeros(4))
    assert (still.grown, still.deepest, still.trades, still.sharpe) == (0, 0, 0, 0)


def test_a_loss_from_the_very_start_counts() -> None:
    assert Traded(np.log([0.8, 1.5]), np.ones(2)).deepest == pytest.approx(0.2)


def test_buy_and_hold_is_the_price() -> None:
    """Bought at the part's second bar, sold at its last, paid for twice."""
    market = Market(bars(walk(), 4), cost=0.001)
    part = market.bars.part("test")
    found = compared(market, part, always(0))
    prices = walk().prices
    held = prices[part.last] / prices[part.first + 1] * 0.999**2
    assert found["buy and hold"].grown == pytest.approx(held - 1)
    assert found["flat"].growth.tolist() == [0.0] * len(part)
    assert found["random"].trades == pytest.approx(len(part) * 2 / 3, rel=0.1)
    assert found["policy"].trades == 2
    more, low, high = found["policy"].over(found["policy"], 4)
    assert (more, low, high) == (0, 0, 0)
    assert outcome(trade(market, part, always(0))).grown == found["policy"].grown


def test_who_is_ruined_is_compared_all_the_same() -> None:
    """A bar that doubles the price takes all of a short: nothing is left to trade with."""
    prices = walk().prices.copy()
    market = Market(bars(of(prices), 4))
    part = market.bars.part("validation")
    prices[part.first + 10 :] *= 2.1
    market = Market(bars(of(prices), 4), cost=0.001)
    found = compared(market, part, always(0))
    assert found["policy"].grown < -0.99
    assert found["policy"].growth.shape == (len(part),)
    assert not found["policy"].growth[10:].any()
    assert found["buy and hold"].over(found["policy"], 4)[0] > 1


def test_an_interval_of_what_never_changes_is_a_point() -> None:
    low, high = interval(np.full(30, 0.5), 7)
    assert (low, high) == (pytest.approx(15), pytest.approx(15))


def test_blocks_are_wound_round_and_the_last_is_cut() -> None:
    """One block of all values is a rotation: every sum is the whole. Blocks of 7 out of 20 sum 20 values."""
    values = np.arange(20.0)
    assert interval(values, 20) == (pytest.approx(190), pytest.approx(190))
    low, high = interval(np.ones(20), 7)
    assert low == high == pytest.approx(20)


def test_the_interval_of_independent_values_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(0.1, 2, 400)
    low, high = interval(values, 1)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() * 20, rel=0.06)
    assert (high + low) / 2 == pytest.approx(values.sum(), abs=5)
    narrow = interval(values, 1, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_values_that_hang_together_have_the_interval_that_they_deserve() -> None:
    """Each ten times in a row is a tenth of the information: sqrt(10) times as wide."""
    values = np.random.default_rng(0).normal(size=60).repeat(10)
    alone, together = (np.subtract(*interval(values, block)) for block in (1, 30))
    assert 2.3 < together / alone < 3.7


def test_blocks_longer_than_the_series_are_refused() -> None:
    with pytest.raises(ValueError, match="block=5: from 1 to the 4"):
        interval(np.ones(4), 5)
