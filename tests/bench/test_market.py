"""Tables of trading and forecasting say what was measured."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("gymnasium")

import market


def traded(grown: float, over: list[float]) -> dict[str, Any]:
    way = {"grown": grown, "trades": 3.0, "over_hold": over, "over_flat": over}
    ways = {"policy": way, "buy and hold": {**way, "grown": 0.5}, "random": way}
    return dict.fromkeys(market.PARTS, ways)


def test_the_mean_of_seeds_stands_with_the_widest_interval() -> None:
    found = {"market:googl": {"1": traded(0.1, [0.1, -0.2, 0.3]), "2": traded(0.3, [0.2, 0.1, 0.6])}}
    lines = market.trading_table(found).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == list(market.PARTS)
    assert lines[-1].startswith("| googl | test | +20% | +50% | +20% | 3 | +0.15 [-0.20, +0.60] |")


def test_a_task_is_followed_by_its_control() -> None:
    part = {"score": -0.25, "more": [0.001, -0.002, 0.003], "miscalibration": 0.04}
    runs = {"1": dict.fromkeys(market.PARTS, part)}
    found = {"forecast:googl": runs, "forecast:googl,shuffled": runs}
    lines = market.forecast_table(found).splitlines()
    assert lines[2] == "| googl | train | -0.2500 | +0.00100 [-0.00200, +0.00300] | 0.040 |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| googl"] * 3 + ["| googl, shuffled"] * 3
