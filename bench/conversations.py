"""SmolLM2-135M-Instruct in conversations, three seeds each: held-out scores before and after, and on the way.

    guess        textarena's GuessTheNumber (1 to 20, ten guesses), every guess begun with "["
    calculator   sums and products of numbers of up to 8 digits, with a tool that works them out

Held out are greedy conversations. Each run is a process of its own with one thread; runs that the file holds
are kept. `--folders` takes the figures from run folders that `groupwise train` left with these settings:
FOLDER/guess-0 and so on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record import machine

OUT = Path(__file__).parent / "results" / "conversations.json"


@dataclass(frozen=True, slots=True)
class Setup:
    """A task, what is left of its defaults, and which scores are of interest."""

    task: str
    settings: Mapping[str, float]
    scores: tuple[str, ...]
    """Held-out."""


SETUPS = {
    "guess": Setup(
        "textarena:GuessTheNumber-v0,begin=[",
        {
            "steps": 24,
            "prompts": 2,
            "group_size": 8,
            "max_new_tokens": 6,
            "max_context": 768,
            "learning_rate": 2e-5,
            "decay_steps": 24,
            "evaluate_every": 8,
            "held_out": 40,
            "save_every": 24,
        },
        ("won", "score", "valid"),
    ),
    "calculator": Setup(
        "calculator:digits=8",
        {
            "steps": 12,
            "prompts": 2,
            "group_size": 8,
            "learning_rate": 1e-5,
            "decay_steps": 12,
            "evaluate_every": 6,
            "held_out": 40,
            "save_every": 12,
        },
        ("correct", "called"),
    ),
}


def flags(setup: Setup, seed: int, folder: Path) -> list[str]:
    """What follows `groupwise train`."""
    named = [
        word for name, value in setup.settings.items() for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    return [setup.task, "--seed", str(seed), "--out", str(folder), *named]


def figures(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Of a finished run folder.

    Raises:
        SystemExit: it was trained with other settings.
    """
    setup, told = SETUPS[name], json.loads((folder / "run.json").read_text())["config"]
    for key, value in {"task": setup.task, "seed": seed, **setup.settings}.items():
        if told[key] != value:
            sys.exit(f"{folder}: {key} is {told[key]}, and {value} is wanted")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if "eval/reward" in line]
    drawn = [line for line in lines if "reward" in line]
    return {
        "name": name,
        "seed": seed,
        "steps": [line["step"] for line in judged],
        "scores": {score: [round(line[f"eval/{score}"], 4) for line in judged] for score in setup.scores},
        "drawn": {
            score: [round(line[f"rewards/{score}/mean"], 4) for line in drawn] for score in setup.scores
        },
        "turns": [round(line["completions/mean_turns"], 2) for line in drawn],
        "conversations": sum(line["groups/answers"] for line in drawn),
        "seconds": json.loads((folder / "result.json").read_text())["train_seconds"],
    }


def trained(name: str, seed: int) -> dict[str, Any]:
    """A run in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        code = "from groupwise.cli import main; main()"
        command = [sys.executable, "-c", code, "train", *flags(SETUPS[name], seed, folder)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return figures(name, seed, folder)


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: each held-out score before and after, the mean and the seeds'."""
    lines = ["| task | held out, greedy | before | after | seeds | conversations |", "|---" * 6 + "|"]
    for name, setup in SETUPS.items():
        mine = [run for run in runs if run["name"] == name]
        for score in setup.scores if mine else ():
            curves = [run["scores"][score] for run in mine]
            before, after = (statistics.fmean(curve[at] for curve in curves) for at in (0, -1))
            seeds = ", ".join(f"{curve[-1]:.2f}" for curve in curves)
            cells = [name, score, f"{before:.2f}", f"{after:.2f}", seeds, f"{mine[0]['conversations']:.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(SETUPS), choices=SETUPS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folders", type=Path, help="take what is there instead of training")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    found = json.loads(args.out.read_text()) if args.out.exists() else {"runs": []}
    for seed in args.seeds:
        for name in args.only:
            if any((run["name"], run["seed"]) == (name, seed) for run in found["runs"]):
                continue
            kept = args.folders / f"{name}-{seed}" if args.folders else None
            if kept and not (kept / "result.json").exists():
                continue
            found["runs"].append(figures(name, seed, kept) if kept else trained(name, seed))
            found["machine"] = machine()
            args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found["runs"]))


if __name__ == "__main__":
    main()
