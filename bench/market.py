"""Trading and forecasting real prices, on the bars after training: the tables of docs/trading.md.

    python bench/market.py                     three seeds of everything; what is there already is kept
    python bench/market.py --only forecast:googl
    python bench/market.py --draw-only         the tables from the kept figures

Each task is trained by `groupwise train`'s defaults, and as often on the control: the same returns in an
order and with signs drawn by the seed, in which there is nothing to be learnt.
Needs: pip install gym-anytrading.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import record
from groupwise.config import build
from groupwise.envs.markets.backtest import compared
from groupwise.envs.markets.calibration import base_rate, judged, miscalibration
from groupwise.envs.markets.forecasting import Forecast
from groupwise.envs.markets.specs import make
from groupwise.envs.markets.trading import Market
from groupwise.market_commands import probabilities
from groupwise.settings import Settings
from groupwise.trainer import train

HERE = Path(__file__).parent
TASKS = ("market:googl", "market:eurusd,cost=0.0001", "forecast:googl", "forecast:eurusd")
SEEDS = (1, 2, 3)
PARTS = ("train", "validation", "test")
Figures = dict[str, Any]


def measured(task: str, seed: int) -> Figures:
    """One training, and what its policy does in each part."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(task=task, seed=seed, device="cpu")
        built = build(settings, Path(folder), Console(file=io.StringIO()), lambda: False)
        state = train(built.run)
        built.journal.close()
    sampler, world = built.run.sampler, make(task)
    judge = traded if isinstance(world, Market) else forecasted
    return {"seconds": state.train_seconds, **{part: judge(world, part, sampler) for part in PARTS}}


def traded(market: Market, part: str, sampler: Any) -> Figures:
    bars = market.bars
    found = compared(market, bars.part(part), lambda seen: int(sampler.outputs([seen])[0].argmax()))
    return {
        name: {
            "grown": o.grown,
            "trades": o.trades,
            "sharpe": o.sharpe,
            "deepest": o.deepest,
            "over_hold": o.over(found["buy and hold"], bars.window),
            "over_flat": o.over(found["flat"], bars.window),
        }
        for name, o in found.items()
    }


def forecasted(world: Forecast, part: str, sampler: Any) -> Figures:
    found = judged(probabilities(world, part, sampler), world.bars, world.bars.part(part), world.score)
    return {
        "score": found.score,
        "more": found.more,
        "miscalibration": miscalibration(found.levels),
        "levels": [[level.said, level.came, level.count] for level in found.levels],
        "base_rate": base_rate(world.bars),
    }


# ---------------------------------------------------------------- tables


def trading_table(found: Mapping[str, Any]) -> str:
    """Means over seeds; the interval is the widest of the seeds': none of them is to be left out."""
    lines = [
        "| prices | part | policy | buy and hold | random | trades | over buy and hold | over flat |",
        "|---|---|---:|---:|---:|---:|---|---|",
    ]
    for task, runs in _of("market", found):
        for part in PARTS:
            growths = [
                _mean(run[part][n]["grown"] for run in runs) for n in ("policy", "buy and hold", "random")
            ]
            own = [run[part]["policy"] for run in runs]
            trades = _mean(row["trades"] for row in own)
            over = [_widest([row[name] for row in own], 2) for name in ("over_hold", "over_flat")]
            cells = [*(f"{growth:+.0%}" for growth in growths), f"{trades:.0f}", *over]
            lines.append(f"| {task} | {part} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def forecast_table(found: Mapping[str, Any]) -> str:
    lines = [
        "| prices | part | mean Brier score | more than the base rate | miscalibration |",
        "|---|---|---:|---|---:|",
    ]
    for task, runs in _of("forecast", found):
        for part in PARTS:
            rows = [run[part] for run in runs]
            score, off = (_mean(row[n] for row in rows) for n in ("score", "miscalibration"))
            more = _widest([row["more"] for row in rows], 5)
            lines.append(f"| {task} | {part} | {score:.4f} | {more} | {off:.3f} |")
    return "\n".join(lines)


def _of(kind: str, found: Mapping[str, Any]) -> list[tuple[str, list[Figures]]]:
    """(name for the table, runs): each task and after it its control."""
    named = []
    for task in TASKS:
        if task.startswith(kind) and task in found:
            prices = task.partition(":")[2]
            named.append((prices, list(found[task].values())))
            if control := found.get(f"{task},shuffled"):
                named.append((f"{prices}, shuffled", list(control.values())))
    return named


def _widest(intervals: list[list[float]], digits: int) -> str:
    mean = _mean(m for m, _, _ in intervals)
    low, high = min(low for _, low, _ in intervals), max(high for _, _, high in intervals)
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="TASK")
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    parser.add_argument("--draw-only", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "market.json")
    o = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(o.out.read_text("utf-8")) if o.out.is_file() else {}
    for task in [] if o.draw_only else o.only or TASKS:
        for seed in SEEDS:
            for key, trained in ((task, task), (f"{task},shuffled", f"{task},shuffled={seed}")):
                if str(seed) in found.get(key, {}) and not o.again:
                    continue
                figures = measured(trained, seed)
                runs = {**found.get(key, {}), str(seed): figures}
                record.merge(o.out, "machine", record.machine())
                found = record.merge(o.out, key, runs)
                print(f"{trained} seed {seed}: {figures['seconds']:.0f} s", flush=True)
    print(trading_table(found))
    print()
    print(forecast_table(found))


if __name__ == "__main__":
    main()
