"""Whoever knows prices before they are there is caught: an environment, a scale, a policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from groupwise.envs.markets.backtest import trade
from groupwise.envs.markets.bars import Bars, bars
from groupwise.envs.markets.forecasting import Forecast
from groupwise.envs.markets.look_ahead import Peek, look_ahead, telling
from groupwise.envs.markets.trading import Market
from markets import of, walk

PRICES = walk().prices
VALIDATION = bars(walk(), 4).part("validation")
EPISODE = {"start": VALIDATION.first, "length": 30}


def known(prices: np.ndarray) -> Bars:
    return bars(of(prices), 4)


class Shifted(Market):
    """By one bar: it shows the next one already."""

    def _seen(self) -> np.ndarray:
        return np.append(self.bars.features[self.bar + 1], np.float32(self.position))


class Paying(Market):
    """Pays a decision by the move that comes after the bar that is shown."""

    def step(self, action: int) -> Any:
        seen, reward, *rest = super().step(action)
        return seen, reward + self.position * self._gains[self.bar + 1], *rest


class Clairvoyant(Market):
    """Ends the episode before the price falls."""

    def step(self, action: int) -> Any:
        *most, truncated, info = super().step(action)
        return *most, truncated or self._gains[self.bar + 1] < -0.01, info


class Fitted(Market):
    """Its scale is of the whole series."""

    def _seen(self) -> np.ndarray:
        return super()._seen() / np.float32(np.nanstd(self.bars.returns))


def found(kind: type[Market], **more: Any) -> Peek | None:
    tell = telling(lambda prices: kind(known(prices)), options=EPISODE, **more)
    return look_ahead(tell, PRICES, VALIDATION.first)


def test_an_honest_market_and_honest_questions_pass() -> None:
    assert found(Market) is None
    for start in (VALIDATION.first, VALIDATION.first + 7):
        questions = telling(lambda prices: Forecast(known(prices)), options={"start": start})
        assert look_ahead(questions, PRICES, VALIDATION.first) is None


@pytest.mark.parametrize(
    ("kind", "what"),
    [(Shifted, "observation"), (Paying, "reward"), (Clairvoyant, "end"), (Fitted, "observation")],
)
def test_an_environment_that_peeks_is_caught(kind: type[Market], what: str) -> None:
    peek = found(kind)
    assert peek is not None
    assert peek.what == what
    assert VALIDATION.first <= peek.bar <= VALIDATION.first + 30
    assert f"the {what} at bar {peek.bar} changes with prices after that bar" in str(peek)


def momentum(prices: np.ndarray) -> Any:
    """Follows the move that it has just seen."""
    return lambda seen, info: 2 if seen[3] > 0 else 0


def oracle(prices: np.ndarray) -> Any:
    """Knows the move after the one at whose price it is filled."""

    def decide(seen: Any, info: Mapping[str, Any]) -> int:
        at = min(info["bar"] + 2, len(prices) - 1)
        return 2 if prices[at] > prices[at - 1] else 0

    return decide


def test_a_policy_that_peeks_is_caught_and_one_that_does_not_is_not() -> None:
    assert found(Market, decide=momentum) is None
    peek = found(Market, decide=oracle)
    assert peek is not None
    assert peek.what == "action"


def test_everything_so_far_is_the_same_whatever_comes() -> None:
    """Not by the checker: every observation and reward up to a bar, to the last bit."""
    cut = VALIDATION.first + 11
    other = PRICES.copy()
    other[cut + 1 :] *= 3
    told = []
    for prices in (PRICES, other):
        world = Market(known(prices))
        seen, _ = world.reset(options=EPISODE)
        told.append([seen.tobytes()])
        for action in [2, 0, 1, 0, 2, 2, 0, 1, 2, 0, 2]:
            seen, reward, *_ = world.step(action)
            told[-1] += [seen.tobytes(), reward]
        assert world.bar == cut
    assert told[0] == told[1]


def test_knowing_the_future_pays_where_nothing_can_be_known() -> None:
    """On shuffled returns: what the check is for. Momentum there earns nothing to speak of."""
    shuffled = walk(1000).shuffled(1)
    world = Market(bars(shuffled, 4), cost=0.0)
    part = world.bars.part("test")
    earned = []
    for kind in (oracle, momentum):
        decide = kind(shuffled.prices)
        earned.append(trade(world, part, lambda seen, d=decide: d(seen, {"bar": world.bar})).rewards.sum())
    sizes = np.abs(world.bars.returns[part.first + 2 : part.last + 1]).sum()
    assert earned[0] == pytest.approx(sizes, rel=0.05)
    assert abs(earned[1]) < 0.2 * sizes


def test_a_check_that_looks_at_nothing_is_no_check() -> None:
    with pytest.raises(ValueError, match="nothing is told between bar 299"):
        look_ahead(telling(lambda p: Market(known(p)), options=EPISODE), PRICES, 299)
