"""Seconds of training until 60 % of held-out two-digit sums are right, from the same start on both sides.

    python bench/reach.py --side ours
    python bench/reach.py --side trl-fp32        (or trl-default; reach_trl.py runs in TRL's environment)

Both read the same texts in the same order (the answer begun for the model: `12 + 34 = `), are given the
same rewards and weights, sizes, learning rate of every step, Adam and gradient clipping, and answer the
same 200 held-out sums greedily every few steps, while the clock stands still. TRL's own learning rate,
1e-6, would be no match: it is given ours. What is random differs: each side samples its own answers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import record
from environment import TrlMissingError, trl_python, versions
from groupwise import advantages, groups, packing
from groupwise.allocator import keep_freed_memory
from groupwise.config import build
from groupwise.learner import Optimization
from groupwise.models import resolve
from groupwise.rewards.scoring import TrainerState
from groupwise.settings import Settings, completed
from groupwise.tasks.arithmetic import arithmetic
from groupwise.trainer import Run, evaluate
from protocol import peak_memory_gib
from worker import Worker, end_workers_with_us

HERE = Path(__file__).parent
Point = dict[str, float]
"""`seconds` of training, `step`, held-out `accuracy`, `peak_memory_gib`."""

console = Console()


def ours(settings: Settings, every: int) -> Iterator[Point]:
    """The loop of the library without journal and checkpoints; a point before it and every few steps."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        run = build(settings, Path(folder), Console(quiet=True), stopping=lambda: False).run
    seconds = 0.0
    yield _point(run, 0, seconds)
    for step in range(1, run.schedule.steps + 1):
        start = time.perf_counter()
        _step(run, step)
        seconds += time.perf_counter() - start
        if step % every == 0:
            yield _point(run, step, seconds)


def _step(run: Run, step: int) -> None:
    plan = groups.plan(run.grouping, run.task, run.schedule.prompts, run.seed, step, saved={})
    cohort = run.sampler.collect(plan.orders)
    cohort = run.score(cohort, TrainerState(step - 1, run.schedule.steps)).cohort
    cohort = advantages.assign(cohort, run.recipe.advantage, run.recipe.rescale)
    batch = packing.pack(cohort, run.recipe, run.policy, run.tokens_per_microbatch, run.reference)
    run.learner.step(batch, run.recipe, step)
    run.sampler.load(step)


def _point(run: Run, step: int, seconds: float) -> Point:
    scores = evaluate(run.sampler, run.score, run.task, run.schedule.held_out).scores
    return {
        "step": step,
        "seconds": seconds,
        "accuracy": scores["correct"],
        "peak_memory_gib": peak_memory_gib(),
    }


def trl(settings: Settings, every: int, variant: str, python: Path, limit: float) -> Iterator[Point]:
    """The same points from TRL, which trains in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.json"
        path.write_text(json.dumps({**for_trl(settings), "every": every}))
        command = [str(python), str(HERE / "reach_trl.py"), str(path), variant]
        with Worker(command, limit + 600) as worker:  # a point is some steps and an evaluation away
            yield worker.ready()
            for _ in range(settings.steps // every):
                yield worker.step()


def for_trl(settings: Settings) -> dict[str, Any]:
    """Everything the other side needs: texts, answers, sizes, rates."""
    from transformers import AutoTokenizer

    folder = resolve(settings.model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    task = arithmetic()
    optimization = _optimization(settings)

    def row(prompt: Any) -> dict[str, str]:
        text = tokenizer.apply_chat_template(prompt.content, tokenize=False, continue_final_message=True)
        ids = tokenizer.apply_chat_template(prompt.content, continue_final_message=True, return_dict=False)
        assert tokenizer.encode(text) == ids, "the text reads as other tokens than the messages"
        return {"prompt": text, "answer": prompt.columns["answer"]}

    drawn = task.stream(0, settings.steps * settings.prompts, settings.seed)
    return {
        "model": str(folder),
        "train": [row(prompt) for prompt in drawn],
        "held_out": [row(prompt) for prompt in task.examples(settings.held_out)],
        "weights": {reward.name: reward.weight for reward in task.rewards},
        "max_new_tokens": task.max_new_tokens,
        "prompts": settings.prompts,
        "group": settings.group_size,
        "rates": [optimization.rate(step) for step in range(1, settings.steps + 2)],
        "adam": [optimization.beta1, optimization.beta2, optimization.weight_decay],
        "max_grad_norm": optimization.max_grad_norm,
    }


def _optimization(s: Settings) -> Optimization:
    return Optimization(
        learning_rate=s.learning_rate,
        warmup_steps=s.warmup_steps,
        decay_steps=s.decay_steps,
        max_grad_norm=s.max_grad_norm,
        weight_decay=s.weight_decay,
    )


def climb(points: Iterator[Point], target: float, limit: float) -> dict[str, Any]:
    """The curve up to the first point at the target or beyond the time. `reached` is that point or None."""
    curve: list[Point] = []
    for point in points:
        curve.append(point)
        console.print(f"{point['seconds']:7.1f} s  step {point['step']:3}  {point['accuracy']:.3f} right")
        if point["accuracy"] >= target:
            return {"target": target, "reached": point, "curve": curve}
        if point["seconds"] > limit:
            break
    return {"target": target, "reached": None, "curve": curve}


def table(found: dict[str, Any]) -> Table:
    """One line for each side in a file of curves."""
    shown = Table(title="held-out accuracy by seconds of training", title_justify="left")
    for name in ("side", "target", "seconds", "step", "last accuracy", "peak GiB"):
        shown.add_column(name, justify="left" if name == "side" else "right")
    for side, result in found.items():
        reached, last = result["reached"], result["curve"][-1]
        when = (f"{reached['seconds']:.0f}", str(reached["step"])) if reached else ("not reached", "")
        memory = f"{last['peak_memory_gib']:.1f}"
        shown.add_row(side, f"{result['target']:.2f}", *when, f"{last['accuracy']:.3f}", memory)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", choices=("ours", "trl-fp32", "trl-default", "trl-bf16"), default="ours")
    parser.add_argument("--target", type=float, default=0.6, help="held-out accuracy to stop at")
    parser.add_argument("--limit-seconds", type=float, default=1800.0, help="seconds of training to stop at")
    parser.add_argument("--every", type=int, default=5, help="steps between evaluations")
    parser.add_argument("--trl-python", type=Path, help="an interpreter that has TRL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"reach-{date.today()}.json")
    options = parser.parse_args()
    end_workers_with_us()
    if options.every < 1:
        parser.error("--every: at least 1")
    settings = completed(Settings(seed=options.seed))
    about: dict[str, Any] = {"machine": record.machine(), "seed": options.seed, "every": options.every}
    if options.side == "ours":
        points = ours(settings, options.every)
    else:
        try:
            python = trl_python(options.trl_python)
            about["trl_versions"] = versions(python)
        except TrlMissingError as error:
            sys.exit(str(error))
        variant = options.side.removeprefix("trl-")
        points = trl(settings, options.every, variant, python, options.limit_seconds)
    result = climb(points, options.target, options.limit_seconds)
    console.print(table(record.merge(options.out, options.side, {**about, **result})))


if __name__ == "__main__":
    main()
