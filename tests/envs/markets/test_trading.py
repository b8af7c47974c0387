"""Rewards of a market, by hand: filled at the next price, paid for, and adding up to the wealth."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from groupwise.envs.markets.bars import bars
from groupwise.envs.markets.trading import Market
from markets import of, walk

SHORT, FLAT, LONG = 0, 1, 2


def market(prices: list[float] | None = None, **options: float) -> Market:
    """On `prices` from bar 2 on."""
    series = walk() if prices is None else of([100.0, 101.0, *prices, *walk(200).prices])
    return Market(bars(series, 2), **options)  # type: ignore[arg-type]


def rewards(world: Market, actions: list[int], start: int = 2) -> list[float]:
    world.reset(options={"start": start, "length": len(actions)})
    return [world.step(action)[1] for action in actions]


def test_a_decision_is_filled_at_the_next_price() -> None:
    """Long from bar 2 on: what the price does from bar 2 to 3 is not its own."""
    got = rewards(market([100, 110, 121, 60.5], cost=0.01), [LONG, LONG, LONG])
    buy = math.log(1 - 0.01)
    assert got == pytest.approx([buy, math.log(1.1), math.log(0.5) + buy])


def test_a_short_gains_what_the_price_loses_and_turning_round_is_paid_twice() -> None:
    got = rewards(market([100, 100, 90, 99], cost=0.01), [SHORT, LONG, LONG])
    assert got == pytest.approx(
        [math.log(0.99), math.log(1 + 0.1) + math.log(1 - 0.02), math.log(1.1) + math.log(0.99)]
    )


def test_rewards_add_up_to_the_wealth() -> None:
    """Bought at bar 3 and sold at bar 9, by shares and cash."""
    prices = walk(20, seed=3).prices.tolist()
    got = rewards(market(prices, cost=0.002), [LONG] * 7)
    shares = 1 * (1 - 0.002) / prices[1]
    assert math.exp(sum(got)) == pytest.approx(shares * prices[7] * (1 - 0.002))


def test_flat_earns_and_pays_nothing() -> None:
    assert rewards(market(cost=0.01), [FLAT] * 20) == [0.0] * 20


def test_the_last_step_closes_whatever_its_action() -> None:
    world = market(cost=0.01)
    ends = {tuple(rewards(world, [LONG, LONG, last])) for last in (SHORT, FLAT, LONG)}
    assert len(ends) == 1
    assert world.position == 0
    world.reset(options={"start": 5, "length": 2})
    assert world.step(LONG)[2:4] == (False, False)
    assert world.step(LONG)[2:4] == (False, True)


def test_a_short_that_loses_everything_ends_there() -> None:
    world = market([100, 100, 250, 100])
    world.reset(options={"start": 2, "length": 10})
    world.step(SHORT)
    _, reward, terminated, _, _ = world.step(SHORT)
    assert terminated
    assert reward == pytest.approx(math.log(1e-3))


def test_training_begins_anywhere_in_training_and_nowhere_else() -> None:
    """By its ends: the first bar and the last from which an episode still fits are reached."""
    world = market(length=170)
    train = world.bars.parts[0]
    first = {world.reset(seed=seed)[1]["bar"] for seed in range(300)}
    assert min(first) == train.first
    assert max(first) + 170 == train.last
    assert world.reset(seed=7)[1] == world.reset(seed=7)[1]


def test_what_is_seen_is_the_bar_and_the_position() -> None:
    world = market()
    seen, info = world.reset(options={"start": 50, "length": 5})
    assert np.array_equal(seen, [*world.bars.features[50], 0])
    assert info["bar"] == 50
    seen, _, _, _, info = world.step(SHORT)
    assert np.array_equal(seen, [*world.bars.features[51], -1])
    assert world.observation_space.contains(seen)
    assert info == {"bar": 51, "position": -1}


@pytest.mark.parametrize(
    ("options", "words"),
    [({"cost": 0.5}, "cost=0.5"), ({"cost": -0.1}, "cost=-0.1"), ({"length": 0}, "length=0: from 1 to 177")],
)
def test_options_that_cannot_be_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        market(**options)


@pytest.mark.parametrize("start", [1, 298])
def test_an_episode_beyond_the_series_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match=f"no episode from bar {start} to {start + 2}"):
        market().reset(options={"start": start, "length": 2})
