"""Agents of one world that share experience, beside agents that learn alone, at equal environment steps.

    shared      one policy for all agents; an agent is compared with itself in the other worlds of its start
    pooled      one policy; all agents of all worlds of a start are one group
    one world   one policy; the agents of a single world are a group
    alone       a policy for each agent; compared as in `shared`

Same networks, seeds, starts, settings and numbers of steps; only the grouping and the network are handed in
anew. Held-out returns are means over 100 starts (20 of the crossing) and all agents, greedy. Each run is a
process of its own, one thread; seconds are the processor's.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from groupwise.config import build
from groupwise.envs import zoo
from groupwise.envs.networks import Layout, network
from groupwise.envs.scene_sampler import Member, SceneSampler, each_seat, together
from groupwise.envs.scenes import Play
from groupwise.learner import Learner
from groupwise.settings import Settings
from groupwise.trainer import train
from record import machine

CROSSING = str(Path(__file__).parent / "crossing.py:crossing")
WORLDS: dict[str, dict[str, Any]] = {
    "mpe2.simple_spread_v3": {"task": "zoo:mpe2.simple_spread_v3"},
    "mpe2.simple_reference_v3": {"task": "zoo:mpe2.simple_reference_v3"},
    "crossing": {
        "task": f"zoo:{CROSSING}", "prompts": 4, "held_out": 20, "recipe": "near_states",
        "epochs": 4, "minibatches": 4, "learning_rate": 0.0005, "entropy_scale": 0.01,
    },
}  # fmt: skip
"""Settings that are not the task's own: three agents cover three landmarks and do not collide; two tell each
other where to go; two vehicles of highway-env cross an intersection, whose steps are slow."""
HELD_OUT = 100
EVALUATIONS = 10
OUT = Path(__file__).parent / "results" / "agents.json"


class Apart(nn.Module):
    """A body for each agent; a row ends with which agent it is."""

    def __init__(self, bodies: Sequence[nn.Module]) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(bodies)

    def forward(self, rows: Tensor) -> Tensor:
        every = torch.stack([body(rows) for body in self.bodies])
        who = rows[:, -len(self.bodies) :].argmax(-1)
        return every[who, torch.arange(len(rows))]


def one_world(plays: Sequence[Play]) -> list[list[Member]]:
    """The agents of a world are compared with each other, and with nobody else."""
    return [[(play, seat) for seat in play.own] for play in plays]


def apart(agents: int, layout: Layout, outputs: int, log_stds: int, seed: int) -> nn.Module:
    """As many networks as there are agents, each begun as the one that all would share."""
    return Apart([network(layout, outputs, log_stds, seed + 1000 * i) for i in range(agents)])


CONDITIONS: dict[str, tuple[Callable[[Sequence[Play]], list[list[Member]]], bool]] = {
    "shared": (each_seat, False),
    "pooled": (together, False),
    "one world": (one_world, False),
    "alone": (each_seat, True),
}
"""Grouping, and whether each agent has a policy of its own."""


def run(world: str, condition: str, seed: int, steps: int) -> dict[str, Any]:
    """One training: held-out scores by step, and what it took."""
    torch.set_num_threads(1)
    grouped, own = CONDITIONS[condition]
    given = {"held_out": HELD_OUT, "evaluate_every": max(1, steps // EVALUATIONS), **WORLDS[world]}
    settings = Settings(seed=seed, steps=steps, save_every=steps, **given)
    with tempfile.TemporaryDirectory() as folder:
        built = build(settings, Path(folder), Console(file=io.StringIO()), lambda: False)
        sampler = player(settings, grouped, own)
        learner = Learner(sampler.policy, built.run.learner.optimization)
        begun = time.process_time()
        with contextlib.closing(built.journal):
            train(replace(built.run, sampler=sampler, policy=sampler.policy, learner=learner))
        seconds = time.process_time() - begun
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    curve = {line["step"]: line["eval/return"] for line in lines if "eval/return" in line}
    moves = sum(line["completions/mean_length"] * line["groups/answers"] for line in lines if line["step"])
    return {
        "world": world,
        "condition": condition,
        "seed": seed,
        "held_out": curve,
        "agent_steps": round(moves),
        "seconds": round(seconds, 1),
    }


def player(s: Settings, grouped: Any, own: bool) -> SceneSampler:
    world = s.task.removeprefix("zoo:")
    made = partial(zoo.player, world, s.seed, s.bounds, s.episode_steps)
    if not own:
        return made(grouped=grouped)
    agents = len(zoo.make(world).possible_agents)
    return made(grouped=grouped, body=partial(apart, agents))


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: held-out return at the start, half way and at the end, mean and the seeds' extremes."""
    lines = ["| world | condition | start | half way | end | seeds' ends | agents' steps |", "|---" * 7 + "|"]
    for world in WORLDS:
        for condition in CONDITIONS:
            mine = [r for r in runs if (r["world"], r["condition"]) == (world, condition)]
            if not mine:
                continue
            curves = [list(r["held_out"].values()) for r in mine]
            parts = [statistics.mean(c[at] for c in curves) for at in (0, len(curves[0]) // 2, -1)]
            ends = ", ".join(f"{c[-1]:.1f}" for c in curves)
            cells = [world, condition, *(f"{x:.1f}" for x in parts), ends, f"{mine[0]['agent_steps']:,}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS), choices=CONDITIONS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path, default=OUT, help="runs that it holds already are kept")
    parser.add_argument("--one", action="store_true", help="the first world, condition and seed, to stdout")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run(args.worlds[0], args.conditions[0], args.seeds[0], args.steps)))
        return
    once = len(args.worlds) * len(args.conditions) * len(args.seeds) == 1
    found = json.loads(args.out.read_text()) if args.out.exists() else {"runs": []}
    every = itertools.product(args.seeds, args.worlds, args.conditions)  # whole comparisons first
    for seed, world, condition in every:
        key = (world, condition, seed, args.steps)
        if any((r["world"], r["condition"], r["seed"], r["steps"]) == key for r in found["runs"]):
            continue
        done = run(*key) if once else one(*key)
        found["runs"].append({**done, "steps": args.steps})
        found["machine"] = machine()
        args.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{world} {condition} {seed}: {list(done['held_out'].values())}", flush=True)
    print(table(found["runs"]))


def one(world: str, condition: str, seed: int, steps: int) -> dict[str, Any]:
    """A run in a process of its own."""
    named = ["--worlds", world, "--conditions", condition, "--seeds", str(seed), "--steps", str(steps)]
    command = [sys.executable, __file__, "--one", *named]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
