"""Lines over one axis, named at their ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pictures_svg import (
    AMBER,
    BLUE,
    GREEN,
    LINE,
    MARGIN,
    PLUM,
    RED,
    SKY,
    SOFT,
    WIDTH,
    Scale,
    Sheet,
    Spot,
    apart,
    round_numbers,
)

COLOURS = (BLUE, RED, GREEN, AMBER, PLUM, SKY)
TOP, BOTTOM = 84.0, 330.0
BESIDE = 160.0
"""Room for the names."""
GAP = 16.0


@dataclass(frozen=True, slots=True)
class Line:
    """A named curve, or (with no name) dots in the colour of the curve before it."""

    name: str
    points: Sequence[Spot]
    dots: bool = False


def drawn(title: str, about: str, unit: str, lines: Sequence[Line], high: float) -> str:
    """A picture as SVG; the upright axis runs from 0 to `high`, and what is above it is not drawn."""
    sheet = Sheet(title, about)
    places = [x for line in lines for x, _ in line.points]
    x = Scale(min(places), max(places), MARGIN + 34, WIDTH - BESIDE)
    y = Scale(0.0, high, BOTTOM, TOP)
    _axes(sheet, x, y, unit)
    ends: list[tuple[float, str, str]] = []
    colours = iter(COLOURS)
    colour = BLUE
    for line in lines:
        colour = colour if line.dots else next(colours)
        spots = [(x(a), y(b)) for a, b in _below(line.points, high)]
        if line.dots:
            for spot in spots:
                sheet.dot(*spot, colour)
        else:
            sheet.line(*spots, stroke=colour, width=2)
            ends.append((spots[-1][1], line.name, colour))
    ends.sort()
    for (end, name, colour), place in zip(
        ends, apart([e[0] for e in ends], [GAP] * len(ends), TOP - 8, BOTTOM + 8), strict=True
    ):
        sheet.line((x.end + 2, end), (x.end + 12, place), stroke=LINE)
        sheet.text(x.end + 16, place + 4, name, fill=colour, bold=True)
    return sheet.svg(BOTTOM + 54)


def _below(points: Sequence[Spot], high: float) -> Iterator[Spot]:
    """Points up to `high`, and the place where a line crosses it."""
    before: Spot | None = None
    for a, b in points:
        if before is not None and (b > high) != (before[1] > high):
            share = (high - before[1]) / (b - before[1])
            yield before[0] + share * (a - before[0]), high
        if b <= high:
            yield a, b
        before = a, b


def _axes(sheet: Sheet, x: Scale, y: Scale, unit: str) -> None:
    for value in round_numbers(y.high):
        sheet.line((x.start, y(value)), (x.end, y(value)), stroke=LINE)
        sheet.text(x.start - 8, y(value) + 4, f"{value:g}", fill=SOFT, anchor="end")
    for value in _ticks(x.low, x.high):
        sheet.line((x(value), y.start), (x(value), y.start + 4), stroke=SOFT)
        sheet.text(x(value), y.start + 18, f"{value:g}".replace("-", "−"), fill=SOFT, anchor="middle")
    sheet.text((x.start + x.end) / 2, y.start + 38, unit, fill=SOFT, anchor="middle")


def _ticks(low: float, high: float) -> Iterator[float]:
    """Round numbers from `low` to `high`, on both sides of 0."""
    reach = max(high, -low)
    for value in round_numbers(reach, 6):
        for signed in {value, -value}:
            if low <= signed <= high:
                yield round(signed, 9)
