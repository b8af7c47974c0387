"""Self-play in small games: held-out results by step, three seeds each, mostly by the settings of the task.

    tic_tac_toe    lost against a random and an exact player; 0 exploitability: it never loses, whoever plays
    kuhn_poker     exploitability, computed exactly; 0 is an equilibrium
    connect_four   won against a random player

Each run is a process of its own, one thread; seconds are the processor's. Runs that the file holds are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from games_pictures import picture
from groupwise.config import build
from groupwise.settings import Settings
from groupwise.trainer import train
from record import machine

HELD_OUT = 200
OUT = Path(__file__).parent / "results" / "games.json"
PICTURE = Path(__file__).parents[1] / "docs" / "games" / "curves.svg"


@dataclass(frozen=True, slots=True)
class Setup:
    """What is left of the defaults, and which scores are of interest."""

    scores: tuple[str, ...]
    steps: int = 200
    prompts: int = 64
    every: int = 10
    """Steps between evaluations."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of `groupwise train`."""


GAMES = {
    "tic_tac_toe": Setup(("random/loss", "exact/loss", "random/win", "exploitability")),
    "kuhn_poker": Setup(("exploitability",)),
    "connect_four": Setup(
        ("random/win", "random/loss"),
        prompts=32,
        others={
            "recipe": "near_states",
            "learning_rate": 1e-3,
            "entropy_scale": 0.02,
            "minibatches": 16,
        },
    ),
}


def run(game: str, seed: int) -> dict[str, Any]:
    """One training: held-out scores by step, and what it took."""
    torch.set_num_threads(1)
    setup = GAMES[game]
    settings = Settings(
        task=f"game:{game}",
        seed=seed,
        steps=setup.steps,
        decay_steps=setup.steps,
        prompts=setup.prompts,
        evaluate_every=setup.every,
        save_every=setup.steps,
        held_out=HELD_OUT,
        device="cpu",
        **setup.others,
    )
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        built = build(settings, Path(folder), Console(file=io.StringIO()), lambda: False)
        with contextlib.closing(built.journal):
            train(built.run)
        seconds = time.process_time() - begun
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if "eval/reward" in line]
    return {
        "game": game,
        "seed": seed,
        "steps": [line["step"] for line in judged],
        "scores": {name: [round(line[f"eval/{name}"], 4) for line in judged] for name in setup.scores},
        "games": setup.steps * setup.prompts * 8,
        "seconds": round(seconds, 1),
    }


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: each score before and after, mean and the seeds'."""
    lines = ["| game | held out | before | after | seeds | games | seconds |", "|---" * 7 + "|"]
    for game, setup in GAMES.items():
        mine = [r for r in runs if r["game"] == game]
        for name in setup.scores if mine else ():
            ends = [r["scores"][name][-1] for r in mine]
            before, after = (statistics.fmean(r["scores"][name][at] for r in mine) for at in (0, -1))
            seconds = statistics.fmean(r["seconds"] for r in mine)
            cells = [f"{before:.3f}", f"{after:.3f}", ", ".join(f"{x:.3f}" for x in ends)]
            lines.append(f"| {game} | {name} | {' | '.join(cells)} | {mine[0]['games']:,} | {seconds:.0f} |")
    return "\n".join(lines)


def apart(game: str, seed: int) -> dict[str, Any]:
    """A run in a process of its own."""
    command = [sys.executable, __file__, "--one", "--games", game, "--seeds", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=GAMES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--one", action="store_true", help="the first game and seed, to stdout")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run(args.games[0], args.seeds[0])))
        return
    one = apart if len(args.games) * len(args.seeds) > 1 else run
    found = json.loads(args.out.read_text()) if args.out.exists() else {"runs": []}
    for seed in args.seeds:
        for game in args.games:
            if any((r["game"], r["seed"]) == (game, seed) for r in found["runs"]):
                continue
            found["runs"].append(one(game, seed))
            found["machine"] = machine()
            args.out.write_text(json.dumps(found) + "\n")
            print(f"{game} {seed}: {found['runs'][-1]}", flush=True)
    args.picture.parent.mkdir(exist_ok=True)
    args.picture.write_text(picture(found["runs"]))
    print(table(found["runs"]))


if __name__ == "__main__":
    main()
