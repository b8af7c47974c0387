"""Rows of stacked bars with a scale, what each is called, and what is said behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pictures_svg import (
    INK,
    LINE,
    MARGIN,
    PAPER,
    SOFT,
    WHITE_ON,
    WIDTH,
    Scale,
    Sheet,
    apart,
    round_numbers,
    short,
    width_of,
)

LEFT, RIGHT = 200.0, 660.0
"""Where bars begin, and where the longest ends; what is said of a bar stands behind it."""
ROW, THICK = 38.0, 22.0
SMALLEST = 0.001
"""Share of the longest bar below which a part has no name."""


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    size: float
    colour: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: its parts end to end, and what is said behind them."""

    label: str
    below: str
    parts: tuple[Part, ...]
    note: str
    spread: tuple[float, float] | None = None
    gap: float = 0.0
    """Room above it."""

    @property
    def size(self) -> float:
        return sum(part.size for part in self.parts)

    @property
    def end(self) -> float:
        return max(self.size, self.spread[1] if self.spread else 0.0)


def panel(
    sheet: Sheet, top: float, title: str, about: str, bars: Sequence[Bar], unit: str, most: float = 0.0
) -> float:
    """Draw a heading, a scale up to `most` or the longest bar, and the bars. Returns where it ends."""
    most = max(most, *(bar.end for bar in bars)) or 1.0
    x = Scale(0.0, most, LEFT, RIGHT)
    sheet.text(MARGIN, top + 14, title, size=13, bold=True)
    sheet.text(LEFT, top + 14, about, fill=SOFT)
    first = top + 46
    tellers = [bar for bar in bars if len(_named(bar, most)) > 1]
    teller = max(tellers, key=lambda bar: (len(_named(bar, most)), bar.size), default=None)
    rows, y = [], first
    for bar in bars:
        rows.append(y + bar.gap)
        y = rows[-1] + ROW + (_room(bar) if bar is teller else 0.0)
    for tick in round_numbers(most):
        sheet.line((x(tick), first - 6), (x(tick), rows[-1] + THICK + 4), stroke=LINE)
        sheet.text(x(tick), first - 11, f"{tick:g}" if tick else f"0 {unit}", fill=SOFT, anchor="middle")
    for bar, row in zip(bars, rows, strict=True):
        _draw(sheet, bar, row, x)
        if bar is teller:
            _names(sheet, bar, row + THICK, x)
    return y + 16


def _draw(sheet: Sheet, bar: Bar, y: float, x: Scale) -> None:
    sheet.text(MARGIN, y + (10 if bar.below else 15), bar.label, bold=bar.label == "ours")
    sheet.text(MARGIN, y + 24, bar.below, fill=SOFT)
    at = 0.0
    for part in bar.parts:
        left, right = x(at), x(at + part.size)
        at += part.size
        sheet.rect(left, y, right - left, THICK, part.colour)
        if part is not bar.parts[-1] and right - left > 2:
            sheet.line((right, y), (right, y + THICK), stroke=PAPER)
        if len(bar.parts) > 1 and right - left > width_of(short(part.size)):
            ink = PAPER if part.colour in WHITE_ON else INK
            sheet.text((left + right) / 2, y + 15, short(part.size), fill=ink, anchor="middle")
    if bar.spread and x(bar.spread[1]) - x(bar.spread[0]) > 1:
        level = y + THICK + 3  # below the numbers
        sheet.whisker((x(bar.spread[0]), level), (x(bar.spread[1]), level), cap=3, stroke=SOFT)
    sheet.text(x(bar.end) + 8, y + 15, bar.note, bold=bar.label == "ours", halo=True)


def _named(bar: Bar, most: float) -> list[Part]:
    return [part for part in bar.parts if part.name and part.size > SMALLEST * most]


def _room(bar: Bar) -> float:
    """What the names below a bar need."""
    return 4.0 + 13.0 * (1 + max(part.name.count("\n") for part in bar.parts))


def _names(sheet: Sheet, bar: Bar, y: float, x: Scale) -> None:
    """The parts' names below a bar, moved apart where the parts are narrow, each tied to its part."""
    parts = _named(bar, x.high)
    starts = [sum(p.size for p in bar.parts[: bar.parts.index(part)]) for part in parts]
    middles = [x(start + part.size / 2) for start, part in zip(starts, parts, strict=True)]
    widths = [width_of(part.name) + 6 for part in parts]
    for part, middle, place in zip(
        parts, middles, apart(middles, widths, LEFT - 40, WIDTH - MARGIN), strict=True
    ):
        sheet.line((middle, y + 1), (middle, y + 6), (place, y + 11), stroke=SOFT)
        for i, words in enumerate(part.name.split("\n")):
            sheet.text(place, y + 22 + 13 * i, words, fill=SOFT, anchor="middle", halo=True)
