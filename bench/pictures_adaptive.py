"""The picture of bench/adaptive.py: held-out accuracy against answers written. No torch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pictures_svg import (
    AMBER,
    BLUE,
    GREEN,
    LINE,
    MARGIN,
    PLUM,
    RED,
    SOFT,
    WIDTH,
    Scale,
    Sheet,
    apart,
    round_numbers,
)

COLOURS = {"variance": BLUE, "knapsack": GREEN, "fixed-8": AMBER, "fixed-16": RED, "fixed-32": PLUM}
BESIDE = 130.0
"""Room for a line's name at its end."""

Curve = Sequence[Mapping[str, float]]


def answers_to(curve: Curve, target: float) -> float | None:
    """Answers written when the accuracy first is `target`, between points on a straight line; None: never.

    >>> answers_to([{"answers": 0, "accuracy": 0.1}, {"answers": 100, "accuracy": 0.5}], 0.2)
    25.0
    """
    if curve[0]["accuracy"] >= target:
        return float(curve[0]["answers"])
    for before, after in pairwise(curve):
        if after["accuracy"] >= target:
            share = (target - before["accuracy"]) / (after["accuracy"] - before["accuracy"])
            return before["answers"] + share * (after["answers"] - before["answers"])
    return None


def common_target(found: Mapping[str, Any]) -> float:
    """The highest accuracy that every run came to."""
    return min(max(point["accuracy"] for point in run["curve"]) for run in found.values())


def picture(found: Mapping[str, Any], target: float) -> str:
    """A thick line for the mean of an arm's seeds, thin ones for the seeds."""
    about = f"Share of held-out sums that are right; dashed: {target:.1%}, which every run came to."
    sheet = Sheet("Accuracy by answers written", about)
    points = [point for run in found.values() for point in run["curve"]]
    x = Scale(0.0, max(p["answers"] for p in points) or 1.0, MARGIN + 40, WIDTH - BESIDE)
    high = max(p["accuracy"] for p in points) + 0.05
    y = Scale(0.0, high, 380.0, 80.0)
    _axes(sheet, x, y)
    sheet.line((x.start, y(target)), (x.end, y(target)), stroke=SOFT, dash="4 4")
    ends = {}
    for arm, colour in COLOURS.items():
        curves = [run["curve"] for run in found.values() if run["arm"] == arm]
        if not curves:
            continue
        for curve in curves:
            sheet.line(*((x(p["answers"]), y(p["accuracy"])) for p in curve), stroke=colour, width=0.6)
        mean = [
            (x(at[0]["answers"]), y(statistics.mean(p["accuracy"] for p in at)))
            for at in zip(*curves, strict=False)
        ]
        sheet.line(*mean, stroke=colour, width=2.5)
        ends[arm] = mean[-1][1]
    arms = sorted(ends, key=ends.__getitem__)
    places = apart([ends[arm] for arm in arms], [15.0] * len(arms), y.end, y.start)
    for arm, place in zip(arms, places, strict=True):
        needed = [answers_to(r["curve"], target) for r in found.values() if r["arm"] == arm]
        known = [n for n in needed if n is not None]
        words = f"{arm}: {statistics.median(known):.0f}" if known else arm
        sheet.text(x.end + 8, place + 4, words, fill=COLOURS[arm], bold=True)
    return sheet.svg(y.start + 54)


def _axes(sheet: Sheet, x: Scale, y: Scale) -> None:
    for value in round_numbers(y.high):
        sheet.line((x.start, y(value)), (x.end, y(value)), stroke=LINE)
        sheet.text(x.start - 8, y(value) + 4, f"{value:.0%}", fill=SOFT, anchor="end")
    for value in round_numbers(x.high, 8):
        sheet.line((x(value), y.start), (x(value), y.start + 4), stroke=SOFT)
        sheet.text(x(value), y.start + 18, f"{value:g}", fill=SOFT, anchor="middle")
    sheet.text((x.start + x.end) / 2, y.start + 38, "answers written", fill=SOFT, anchor="middle")
    sheet.text(x.end + 8, y.end - 14, "answers to the dashes", fill=SOFT)
