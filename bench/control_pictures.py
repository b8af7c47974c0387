"""The curves and the table of bench/control.py."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from control_setups import BASELINES, COMPARED, SETUPS, trial
from pictures_svg import BLUE, INK, LINE, MARGIN, RED, SOFT, WIDTH, Scale, Sheet, Spot

NAMES = {"ours": "groupwise, no critic", "ppo": "stable-baselines3, PPO"}
COLOURS = {"ours": BLUE, "ppo": RED}
COLUMNS = 3
GAP, LEFT = 22.0, 42.0
PANEL, HEAD = 168.0, 84.0
BEYOND = 1.02
"""A point counts as one within the steps of a comparison up to so many times as many."""
STEPS, WALL, PROCESSOR, GREEDY, DRAWN = range(5)
Runs = Mapping[str, Any]
"""Seed -> figures of one side."""


def at(points: Sequence[Sequence[float]], steps: float, what: int) -> float:
    """A curve's value there, on the line between its points."""
    if steps <= points[0][STEPS]:
        return points[0][what]
    for one, two in pairwise(points):
        if steps <= two[STEPS]:
            share = (steps - one[STEPS]) / (two[STEPS] - one[STEPS])
            return one[what] + share * (two[what] - one[what])
    return points[-1][what]


def mean_curve(runs: Runs, budget: int, what: int = GREEDY, count: int = 40) -> list[Spot]:
    """The mean over seeds at even steps."""
    marks = [budget * i / count for i in range(count + 1)]
    return [(m, statistics.fmean(at(run["points"], m, what) for run in runs.values())) for m in marks]


def within(points: Sequence[Sequence[float]], budget: int) -> list[Sequence[float]]:
    """Points that were reached with no more steps, or hardly: an update that began within may end beyond."""
    return [p for p in points if p[STEPS] <= BEYOND * budget]


def last(runs: Runs, what: int, budget: int) -> list[float]:
    return [within(run["points"], budget)[-1][what] for run in runs.values()]


def reached(runs: Runs, score: float, what: int) -> list[float | None]:
    """For each seed the steps, or seconds, at the first point whose greedy score is that good."""
    return [next((p[what] for p in run["points"] if p[GREEDY] >= score), None) for run in runs.values()]


# ---------------------------------------------------------------- the picture


def picture(found: Mapping[str, Any]) -> str:
    """A panel for each environment: score by steps, thick lines for means and thin ones for seeds."""
    sheet = Sheet(
        "Control without a critic, and with one",
        "Return of held-out starts, likeliest actions, by steps of the environment; thin: seeds.",
    )
    x = MARGIN
    for side, name in NAMES.items():
        sheet.line((x, 68), (x + 18, 68), stroke=COLOURS[side], width=2.5)
        sheet.text(x + 24, 72, name, fill=COLOURS[side], bold=True)
        x += 190
    sheet.line((x, 68), (x + 18, 68), stroke=SOFT, dash="3 3")
    sheet.text(x + 24, 72, "solved", fill=SOFT)
    drawn = [name for name in SETUPS if found.get(name)]
    for i, name in enumerate(drawn):
        width = (WIDTH - 2 * MARGIN + GAP) / COLUMNS
        _panel(sheet, name, found[name], MARGIN + (i % COLUMNS) * width, HEAD + i // COLUMNS * PANEL)
    return sheet.svg(HEAD + math.ceil(max(len(drawn), 1) / COLUMNS) * PANEL + 8)


def _panel(sheet: Sheet, name: str, sides: Mapping[str, Runs], left: float, top: float) -> None:
    setup = SETUPS[name]
    width = (WIDTH - 2 * MARGIN + GAP) / COLUMNS - GAP
    points = [
        p for runs in sides.values() for run in runs.values() for p in within(run["points"], setup.steps)
    ]
    low, high = min(p[GREEDY] for p in points), max(p[GREEDY] for p in points)
    if setup.solved is not None:
        low, high = min(low, setup.solved), max(high, setup.solved)
    room = 0.06 * (high - low) or 1.0
    across = Scale(0.0, float(setup.steps), left + LEFT, left + width)
    up = Scale(low - room, high + room, top + PANEL - 42, top + 30)
    sheet.text(left, top + 16, name, bold=True)
    for value in _ticks(low, high):
        sheet.line((across.start, up(value)), (across.end, up(value)), stroke=LINE)
        sheet.text(across.start - 5, up(value) + 4, f"{value:g}".replace("-", "−"), 10, SOFT, "end")
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        words = f"{setup.steps * share / 1000:g}k" if share else "0"
        sheet.text(across(setup.steps * share), up.start + 14, words, 10, SOFT, anchor)
    if setup.solved is not None:
        place = up(setup.solved)
        sheet.line((across.start, place), (across.end, place), stroke=SOFT, dash="3 3")
    for side, runs in sides.items():
        for run in runs.values():
            spots = [(across(p[STEPS]), up(p[GREEDY])) for p in within(run["points"], setup.steps)]
            sheet.line(*spots, stroke=COLOURS[side], width=0.6)
    for side, runs in sides.items():
        spots = [(across(x), up(y)) for x, y in mean_curve(runs, setup.steps)]
        sheet.line(*spots, stroke=COLOURS[side], width=2.4)
    sheet.line((across.start, up.start), (across.end, up.start), stroke=INK, width=0.8)


def _ticks(low: float, high: float) -> list[float]:
    """Three to five round numbers."""
    apart = (high - low) / 4 or 1.0
    power = 10.0 ** math.floor(math.log10(apart))
    gap = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= apart * 0.999)
    first = math.ceil(low / gap - 1e-9)
    return [round(i * gap, 9) for i in range(first, math.floor(high / gap + 1e-9) + 1)]


# ---------------------------------------------------------------- the table


def table(found: Mapping[str, Any]) -> str:
    """Markdown: what each side has come to within the steps, and the seconds of the processor."""
    lines = [
        "| environment | steps | groupwise greedy | drawn | CPU s | PPO greedy | drawn | CPU s |",
        "|---|---:|---|---|---:|---|---|---:|",
    ]
    for name, setup in SETUPS.items():
        if sides := found.get(name):
            cells = [cell for side in NAMES for cell in _cells(sides.get(side, {}), setup.steps)]
            lines.append(f"| {name} | {setup.steps / 1000:g}k | {' | '.join(cells)} |")
    return "\n".join(lines)


def baselines(found: Mapping[str, Any]) -> str:
    """Markdown: what each baseline has come to, by drawn actions, half way and at the end."""
    columns = [(name, share) for name in COMPARED for share in (0.5, 1.0)]
    heads = [f"{name}, {COMPARED[name] * share / 1000:g}k" for name, share in columns]
    lines = [f"| compared with siblings | {' | '.join(heads)} |", "|---|" + "---|" * len(columns)]
    for baseline in BASELINES:
        cells = []
        for name, share in columns:
            runs = found.get(trial(name, baseline), {}).get("ours", {})
            values = [at(run["points"], COMPARED[name] * share, DRAWN) for run in runs.values()]
            cells.append(_range(values) if values else "–")
        lines.append(f"| {baseline} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(runs: Runs, budget: int) -> list[str]:
    if not runs:
        return ["–", "–", "–"]
    seconds = statistics.fmean(last(runs, PROCESSOR, budget))
    return [*(_range(last(runs, what, budget)) for what in (GREEDY, DRAWN)), f"{seconds:.0f}"]


def _range(values: Sequence[float]) -> str:
    """The mean, and the least and the most of the seeds."""
    mean, low, high = (_short(v) for v in (statistics.fmean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} … {high})"


def _short(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}".replace("-", "−")
