"""What it saves, or costs, that rewards begin while answers are being written.

    wait    a worker process waits 0.2 s for each answer, as for a judge elsewhere
    work    it computes 0.2 s for each answer instead, on the cores that answers are written with
    code    answers are code, run in the sandbox; the tests themselves compute for a while

Each with and without, in turn. Seconds of a step: the median over all steps but each run's first.

    python bench/overlap.py --out bench/results/overlap.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from groupwise.config import build
from groupwise.settings import Settings
from groupwise.trainer import train

SLOW = Path(__file__).with_name("slow.py")
KINDS: Mapping[str, Mapping[str, Any]] = {
    "wait": {"reward": (f"{SLOW}:waiting",)},
    "work": {"reward": (f"{SLOW}:working",)},
    "code": {},
}
NAMES = ("step_time", "time/generate", "time/reward", "ahead_time", "reward")


def rows(kind: str) -> list[dict[str, Any]]:
    """Prompts that make a small model write on; of code, with tests that take 0.1 to 0.2 s."""
    if kind != "code":
        return [
            {"prompt": [{"role": "user", "content": f"Tell a story with {i} animals."}]} for i in range(60)
        ]
    burn = "sum(i * i for i in range(2_000_000))"
    return [
        {
            "prompt": f'def add_{i}(x):\n    """Return x plus {i}."""\n',
            "entry_point": f"add_{i}",
            "test": f"{burn}\ndef check(candidate):\n    assert candidate(1) == {i + 1}\n",
        }
        for i in range(60)
    ]


def steps(kind: str, ahead: bool, given: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    """The lines of a run's steps, the first left out: processes start in it."""
    folder.mkdir(parents=True)
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(kind)))
    settings = Settings(
        task=f"code:{data}" if kind == "code" else str(data), model=given.model, steps=given.steps,
        prompts=given.prompts, group_size=given.group_size, max_rows=given.max_rows, held_out=1,
        max_new_tokens=given.max_new_tokens, save_every=given.steps, allow_unsafe_code=True, **KINDS[kind],
    )  # fmt: skip
    run = build(settings, folder, Console(file=io.StringIO()), lambda: False).run
    for reward in run.task.rewards:
        reward.function.ahead = ahead  # type: ignore[attr-defined]
    with contextlib.closing(run.journal):  # type: ignore[type-var]
        train(replace(run, checkpoints=Unsaved()))  # type: ignore[arg-type]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["step"] > 1]


class Unsaved:
    """Checkpoints that are not written."""

    def resume(self, learner: Any) -> None: ...

    def save(self, learner: Any, state: Any) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default=Settings.model)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--max-rows", type=int, default=16, help="fewer than answers: groups end in turn")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    given = parser.parse_args()
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads()}
    found |= {name: value for name, value in vars(given).items() if name != "out"}
    for kind in given.kinds:
        lines: dict[bool, list[dict[str, float]]] = {True: [], False: []}
        with tempfile.TemporaryDirectory(prefix="overlap-") as work:
            for i in range(given.rounds):
                for ahead in (True, False) if i % 2 else (False, True):
                    lines[ahead] += steps(kind, ahead, given, Path(work) / f"{i}-{ahead}")
        found[kind] = {
            "ahead" if ahead else "after": {
                name: round(statistics.median(line.get(name, 0.0) for line in of), 3) for name in NAMES
            }
            for ahead, of in lines.items()
        }
        print(kind, json.dumps(found[kind], indent=1), flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
