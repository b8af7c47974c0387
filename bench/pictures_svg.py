"""What the pictures are drawn with: a sheet of SVG, its colours, and scales. No torch.

`groupwise.report` draws too, but a chart there needs its page around it, and importing it imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 860.0
MARGIN = 20.0
PAPER, INK, SOFT, LINE = "#fdfdfb", "#1b1d20", "#5f646b", "#e3e3dd"
BLUE, SKY, PALE = "#0072b2", "#5ba3d0", "#a9cfe6"
AMBER, YELLOW, SAND = "#e69f00", "#f0bd4f", "#f7dca0"
GREEN, RED, PLUM, GREY = "#009e73", "#d55e00", "#aa4499", "#c9ccd0"
WHITE_ON = {BLUE, GREEN, RED, PLUM}
"""Colours on which words are white."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"

Spot = tuple[float, float]


class Sheet:
    """Elements in the order they are drawn; `svg` puts them on light paper, dark pages or not."""

    def __init__(self, title: str, about: str = "") -> None:
        self.title, self.about = title, about
        self._elements: list[str] = []
        self.text(MARGIN, 32, title, size=15, bold=True)
        self.text(MARGIN, 51, about, fill=SOFT)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: int = 12,
        fill: str = INK,
        anchor: str = "start",
        bold: bool = False,
        halo: bool = False,
    ) -> None:
        """`y` is the baseline. A halo keeps words readable where they cross lines."""
        weight = ' font-weight="600"' if bold else ""
        around = f' stroke="{PAPER}" stroke-width="4" paint-order="stroke"' if halo else ""
        self._elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"'
            f"{weight}{around}>{escape(words)}</text>"
        )

    def rect(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        self._elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'
        )

    def line(self, *spots: Spot, stroke: str = INK, width: float = 1.0, dash: str = "") -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._elements.append(
            f'<polyline points="{places}" fill="none" stroke="{stroke}" stroke-width="{width:g}"'
            f' stroke-linejoin="round" stroke-linecap="round"{dashed}/>'
        )

    def dot(self, x: float, y: float, fill: str, radius: float = 3.5) -> None:
        self._elements.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{fill}" stroke="{PAPER}"/>'
        )

    def whisker(self, low: Spot, high: Spot, cap: float = 4.0, stroke: str = INK) -> None:
        """From least to most, upright or level."""
        dx, dy = (cap, 0.0) if low[0] == high[0] else (0.0, cap)
        self.line(low, high, stroke=stroke, width=1.5)
        for x, y in (low, high):
            self.line((x - dx, y - dy), (x + dx, y + dy), stroke=stroke, width=1.5)

    def svg(self, height: float) -> str:
        body = "\n".join(self._elements)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" '
            f'width="{WIDTH:.0f}" height="{height:.0f}" role="img" font-family="{FONT}">\n'
            f"<title>{escape(self.title)}. {escape(self.about)}</title>\n"
            f'<rect width="{WIDTH:.0f}" height="{height:.0f}" rx="8" fill="{PAPER}"/>\n{body}\n</svg>\n'
        )


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` on a line from place `start` to place `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def round_numbers(high: float, count: int = 5) -> Iterator[float]:
    """0 and its round multiples up to `high`, about `count` of them."""
    power = 10.0 ** math.floor(math.log10(high / count))
    gap = next(f * power for f in (1, 2, 5, 10) if f * power * count >= high * (1 - 1e-9))
    return (i * gap for i in range(math.floor(high / gap + 1e-9) + 1))


def round_powers(low: float, high: float) -> Iterator[float]:
    """1, 2, 5, 10, ... from the last not above `low` to the first not below `high`."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = [float(f"{f}e{power}") for power in range(first, last + 1) for f in (1, 2, 5)]
    start = max(v for v in every if v <= low)
    end = min((v for v in every if v >= high and v > start), default=every[-1])
    return (v for v in every if start <= v <= end)


def width_of(words: str, size: int = 12) -> float:
    """About how wide words are, in fonts that run wide."""
    return 0.6 * size * max(map(len, words.split("\n")))


def apart(wanted: Sequence[float], widths: Sequence[float], low: float, high: float) -> list[float]:
    """Middles near those wanted, in their order, so that nothing of these widths overlaps."""
    places = list(wanted)
    edge = low
    for i, width in enumerate(widths):
        places[i] = max(places[i], edge + width / 2)
        edge = places[i] + width / 2
    edge = high
    for i, width in reversed(list(enumerate(widths))):
        places[i] = min(places[i], edge - width / 2)
        edge = places[i] - width / 2
    return places


def short(value: float) -> str:
    """Three digits or so."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
