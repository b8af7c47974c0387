"""Pictures of lines: how the cost of an answer grows, and accuracy by seconds of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pictures_data import Found
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
    Spot,
    apart,
    round_numbers,
    round_powers,
    width_of,
)

COSTS = {"generate": BLUE, "learn": RED}
CURVES = {
    "group": ("group size", "answers to a prompt"),
    "answer": ("answer length", "tokens of an answer"),
    "prompt": ("prompt length", "tokens of a prompt"),
}
BESIDE = 64.0
"""Room for a line's name at its end."""
GAP = 14.0
SIDES = {"ours": BLUE, "trl-default": RED, "trl-fp32": PLUM, "trl-bf16": AMBER}


@dataclass(frozen=True, slots=True)
class Curve:
    """Of one cost: at each size the median and, from least to most, its steps."""

    name: str
    points: tuple[Spot, ...]
    spread: tuple[Spot, ...]


def growth(found: Found) -> str:
    """growth.svg: three small pictures with one scale of seconds, both axes logarithmic."""
    about = "Seconds of an answer: to write it and to learn from it. Both axes are logarithmic."
    sheet = Sheet("How the cost of an answer grows", about)
    curves = {c: [_curve(cost, c, rows) for cost in COSTS] for c, rows in found["curves"].items() if rows}
    every = [value for members in curves.values() for c in members for pair in c.spread for value in pair]
    seconds = list(round_powers(min(every), max(every)))
    top, bottom = 104.0, 330.0
    y = Scale(seconds[0], seconds[-1], bottom, top, log=True)
    room = (WIDTH - 2 * MARGIN - 30) / len(CURVES)
    for i, name in enumerate(name for name in CURVES if name in curves):
        left = MARGIN + 30 + i * room
        _small(sheet, name, curves[name], Scale(0, 1, left, left + room - BESIDE - 8), y, seconds)
    for value in seconds:
        sheet.text(MARGIN + 22, y(value) + 4, f"{value:g}", fill=SOFT, anchor="end")
    sheet.text(MARGIN, top - 12, "s", fill=SOFT)
    return sheet.svg(bottom + 54)


def _curve(cost: str, axis: str, rows: Sequence[Found]) -> Curve:
    points = tuple((row[axis], row[f"{cost}_per_answer"]) for row in rows)
    answers = [row["prompts"] * row["group"] for row in rows]
    steps = [[step[cost] / n for step in row["steps"]] for row, n in zip(rows, answers, strict=True)]
    return Curve(cost, points, tuple((min(values), max(values)) for values in steps))


def _small(
    sheet: Sheet, name: str, curves: Sequence[Curve], across: Scale, y: Scale, seconds: Sequence[float]
) -> None:
    sizes = [size for size, _ in curves[0].points]
    x = Scale(sizes[0], max(sizes[-1], sizes[0] + 1), across.start + 10, across.end - 6, log=True)
    title, unit = CURVES[name]
    sheet.text(across.start, y.end - 26, title, size=13, bold=True)
    for value in seconds:
        sheet.line((across.start, y(value)), (across.end, y(value)), stroke=LINE)
    for size in sizes:
        sheet.line((x(size), y.start), (x(size), y.start + 4), stroke=SOFT)
        sheet.text(
            x(size),
            y.start + 18,
            f"{size / 1000:g}k" if size % 1000 == 0 else f"{size}",
            fill=SOFT,
            anchor="middle",
        )
    sheet.text((across.start + across.end) / 2, y.start + 38, unit, fill=SOFT, anchor="middle")
    ends = [y(curve.points[-1][1]) for curve in curves]
    order = sorted(range(len(ends)), key=ends.__getitem__)
    places = apart([ends[i] for i in order], [GAP] * len(ends), y.end, y.start)
    for i, place in zip(order, places, strict=True):
        curve, colour = curves[i], COSTS[curves[i].name]
        for (size, _), (low, high) in zip(curve.points, curve.spread, strict=True):
            if y(low) - y(high) > 2:
                sheet.whisker((x(size), y(low)), (x(size), y(high)), cap=3, stroke=colour)
        sheet.line(*((x(size), y(value)) for size, value in curve.points), stroke=colour, width=2)
        for size, value in curve.points:
            sheet.dot(x(size), y(value), colour)
        sheet.text(across.end + 4, place + 4, curve.name, fill=colour, bold=True)


# ---------------------------------------------------------------- accuracy


def reach(found: Found) -> str:
    """reach.svg: held-out accuracy against seconds of training, a line for each side."""
    target = max(side["target"] for side in found.values())
    about = f"Share of held-out sums that are right. A side stops at {target:.0%} or when its time is up."
    sheet = Sheet("Accuracy by seconds of training", about)
    points = [point for side in found.values() for point in side["curve"]]
    high = max(target, *(point["accuracy"] for point in points)) + 0.05
    x = Scale(0.0, max(point["seconds"] for point in points) or 1.0, MARGIN + 30, WIDTH - 60)
    y = Scale(0.0, high, 380.0, 124.0)
    for value in round_numbers(high):
        sheet.line((x.start, y(value)), (x.end, y(value)), stroke=LINE)
        sheet.text(x.start - 8, y(value) + 4, f"{value:.0%}", fill=SOFT, anchor="end")
    for value in round_numbers(x.high, 8):
        sheet.line((x(value), y.start), (x(value), y.start + 4), stroke=SOFT)
        sheet.text(x(value), y.start + 18, f"{value:g}", fill=SOFT, anchor="middle")
    sheet.text((x.start + x.end) / 2, y.start + 38, "seconds of training", fill=SOFT, anchor="middle")
    sheet.line((x.start, y(target)), (x.end, y(target)), stroke=SOFT, dash="4 4")
    for name, side in found.items():
        spots = [(x(point["seconds"]), y(point["accuracy"])) for point in side["curve"]]
        sheet.line(*spots, stroke=SIDES.get(name, GREEN), width=2)
        for spot in spots:
            sheet.dot(*spot, SIDES.get(name, GREEN))
    _sides(sheet, found, x, y)
    return sheet.svg(y.start + 54)


def _sides(sheet: Sheet, found: Found, x: Scale, y: Scale) -> None:
    """Names above the lines' ends, moved apart and tied to them."""
    ends = sorted(found.items(), key=lambda item: item[1]["curve"][-1]["seconds"])
    words = []
    for _, side in ends:
        last = side["curve"][-1]
        taken = f"{last['seconds']:.0f} s, {last['step']} steps"
        words.append(taken if side["reached"] else f"{last['accuracy']:.0%} after {last['seconds']:.0f} s")
    middles = [x(side["curve"][-1]["seconds"]) for _, side in ends]
    places = apart(middles, [width_of(said) + 12 for said in words], MARGIN, WIDTH - MARGIN)
    for (name, side), said, middle, place in zip(ends, words, middles, places, strict=True):
        colour = SIDES.get(name, GREEN)
        end = y(side["curve"][-1]["accuracy"])
        sheet.line((place, 110), (middle, y.end - 4), (middle, end - 5), stroke=SOFT)
        sheet.text(place, 88, name.replace("trl-", "TRL "), fill=colour, bold=True, anchor="middle")
        sheet.text(place, 103, said, anchor="middle")
