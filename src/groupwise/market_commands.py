"""`groupwise backtest`: what a policy of prices would have come to, against knowing nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from groupwise import runs, tables
from groupwise.settings import ConfigError

if TYPE_CHECKING:
    from groupwise.envs.markets.forecasting import Forecast
    from groupwise.envs.markets.trading import Market
    from groupwise.envs.sampler import EnvironmentSampler

LATER = ("validation", "test")
"""The parts that come after training."""


@dataclass(frozen=True)
class Backtest:
    """A run of market:PRICES or forecast:PRICES on the parts of the series after training.

    A forecast is the mean of what the policy would say; a run's held-out score is of the likeliest answer
    alone. Look at the test once. Research, not advice: past prices, no liquidity, no slippage.
    """

    run: Positional[str]
    """A run folder or runs/NAME/checkpoints/N."""


def backtest_command(args: Sequence[str], console: Console) -> int:
    """A table for validation and one for the test."""
    options = tyro.cli(Backtest, args=list(args), prog="groupwise backtest")
    run = runs.opened(options.run).run
    name = run.task.name
    if not name.startswith(("market:", "forecast:")):
        raise ConfigError(f"{options.run} is of {name}; a backtest is of market:PRICES or forecast:PRICES")
    from groupwise.envs.markets.specs import make
    from groupwise.envs.markets.trading import Market
    from groupwise.envs.sampler import EnvironmentSampler

    assert isinstance(run.sampler, EnvironmentSampler)
    world = make(name)
    for part in LATER:
        made = (
            traded(world, part, run.sampler)
            if isinstance(world, Market)
            else forecasted(world, part, run.sampler)
        )
        console.print(made)
    return 0


def traded(market: Market, part: str, sampler: EnvironmentSampler) -> Table:
    from groupwise.envs.markets.backtest import compared

    bars = market.bars
    found = compared(market, bars.part(part), lambda seen: int(sampler.outputs([seen])[0].argmax()))
    names = ("", "growth", "trades", "Sharpe a bar", "deepest loss", "log-growth over buy and hold, 95 %")
    table = _table(f"{bars.series.name}, {part}, {len(bars.part(part))} bars, cost {market.cost:g}", names)
    for name, o in found.items():
        more, low, high = o.over(found["buy and hold"], bars.window)
        over = "" if name == "buy and hold" else f"{more:+.3f} [{low:+.3f}, {high:+.3f}]"
        numbers = (f"{o.grown:+.1%}", f"{o.trades:.0f}", f"{o.sharpe:+.3f}", f"{o.deepest:.1%}")
        table.add_row(name, *numbers, over)
    return table


def forecasted(world: Forecast, part: str, sampler: EnvironmentSampler) -> Table:
    from groupwise.envs.markets.calibration import base_rate, judged

    bars, asked = world.bars, world.bars.part(part)
    said = {
        "policy": probabilities(world, part, sampler),
        f"base rate {base_rate(bars):.3f}": np.full(len(asked), base_rate(bars)),
        "always 0.5": np.full(len(asked), 0.5),
    }
    names = ("", "mean score", "more than the base rate, 95 %", "said -> came true, by fifths")
    table = _table(f"{bars.series.name}, {part}, {len(asked)} questions, {world.score.__name__}", names)
    for name, probability in said.items():
        found = judged(probability, bars, asked, world.score)
        more, low, high = found.more
        over = "" if name.startswith("base") else f"{more:+.5f} [{low:+.5f}, {high:+.5f}]"
        fifths = ", ".join(f"{x.said:.2f} -> {x.came:.2f}" for x in found.levels) if name == "policy" else ""
        table.add_row(name, f"{found.score:.5f}", over, fifths)
    return table


def probabilities(world: Forecast, part: str, sampler: EnvironmentSampler) -> np.ndarray:
    """[n] of the part's questions: the mean of what the policy would say, no worse than a draw."""
    asked = world.bars.part(part)
    logits = sampler.outputs(world.bars.features[asked.first : asked.last]).astype(np.float64)
    chances = np.exp(logits - logits.max(-1, keepdims=True))
    return (chances / chances.sum(-1, keepdims=True)) @ world.probabilities


def _table(title: str, names: Sequence[str]) -> Table:
    table = tables.titled(title)
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    return table
