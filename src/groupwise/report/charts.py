"""Draws one chart: an SVG that stretches to any width, and HTML labels that stay readable on it.

The SVG is 1000 by 1000 units without a fixed aspect; strokes and labels do not scale with it, so one
drawing serves a wide screen, a phone and paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.report.files import Point, finite
from groupwise.report.markup import MINUS, esc, fmt, short_exponent

SIZE = 1000.0
SMOOTH_ABOVE = 200
"""With more points than this the line is a moving average, and the points are drawn faint behind it."""
MAX_POINTS = 2000
MANY_DOTS = 30
MAX_BARS = 120
WIDEST_BAR = 60.0

Range = tuple[float, float]
Scale = Callable[[float], float]
"""A value -> its place on an axis, in SVG units."""


@dataclass(frozen=True, slots=True)
class Series:
    label: str
    points: Sequence[Point]
    band: Sequence[tuple[int, float, float]] = ()
    """(step, low, high), shaded behind the line."""
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    about: str
    """What it is, and what healthy looks like."""
    series: tuple[Series, ...]
    from_zero: bool = False
    log: bool = False
    """A logarithmic axis, where every value is positive."""
    stacked: bool = False
    """Bars, one series on top of the other."""
    wide: bool = False
    marks: Sequence[int] = ()
    """Steps at which an alarm was raised."""


def draw(chart: Chart, steps: Range, ordinal: int) -> tuple[str, dict[str, Any]]:
    """The chart as HTML, and the values that its tooltip reads."""
    across = steps[0] - 0.5, steps[1] + 0.5
    x = _scale(across)
    log = chart.log and all(low > 0 for low in _extent(chart))
    y_ticks = log_ticks(*_extent(chart)) if log else ticks(*_extent(chart))
    y = _log_scale(y_ticks) if log else _scale((y_ticks[0], y_ticks[-1]), upwards=True)
    x_ticks = [t for t in ticks(*steps, count=6) if t == int(t) and across[0] < t < across[1]]
    grid = "".join(f'<line class="grid" x1="0" x2="1000" y1="{y(t):.1f}" y2="{y(t):.1f}"/>' for t in y_ticks)
    marks = (
        _bars(chart, x, y, steps)
        if chart.stacked
        else "".join(_series(series, i, x, y) for i, series in enumerate(chart.series))
    )
    marks += "".join(
        f'<line class="alarm" x1="{x(t):.1f}" x2="{x(t):.1f}" y1="0" y2="1000"/>' for t in chart.marks
    )
    labels = "".join(
        f'<span class="y" style="top:{y(t) / 10:.2f}%">{tick_label(t)}</span>' for t in y_ticks
    ) + "".join(f'<span class="x" style="left:{x(t) / 10:.2f}%">{tick_label(t)}</span>' for t in x_ticks)
    body = (
        f'<figure class="chart{" wide" if chart.wide else ""}"><h4>{esc(chart.title)}</h4>'
        f'<p class="about">{esc(chart.about)}</p>'
        f'<div class="plot" data-chart="{ordinal}"><svg viewBox="0 0 1000 1000" preserveAspectRatio="none" '
        f'role="img" aria-label="{esc(_summary(chart))}">{grid}{marks}</svg>'
        f'<div aria-hidden="true">{labels}</div></div>{_table(chart)}</figure>'
    )
    return body, _values(chart, across)


# ---------------------------------------------------------------- axes


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers that enclose low and high, about `count` intervals.

    >>> ticks(0.02, 0.93), ticks(3.0, 3.0), ticks(1, 60, 6)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 2.0, 4.0, 6.0], [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    """
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-290):
        low, high = (min(0.0, 2 * low), max(0.0, 2 * high)) if abs(low) > 1e-290 else (0.0, 1.0)
    rough = (high - low) / count
    power = math.floor(math.log10(rough))
    factor = next(f for f in (1.0, 2.0, 2.5, 5.0, 10.0) if f * 10.0**power >= rough * (1 - 1e-9))
    spacing, digits = factor * 10.0**power, max(0, 1 - power)
    first, last = math.floor(low / spacing + 1e-9), math.ceil(high / spacing - 1e-9)
    return [round(i * spacing, digits) + 0.0 for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that enclose low and high, at most six or so.

    >>> log_ticks(0.0002, 0.5)
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    stride = math.ceil((last - first) / 5)
    return [10.0**power for power in range(first, last + stride, stride)]


def tick_label(value: float) -> str:
    """
    >>> tick_label(0.25), tick_label(20000.0), tick_label(2.5e6), tick_label(1e-5)
    ('0.25', '20k', '2.5M', '1e−5')
    """
    if 1e4 <= abs(value) < 1e13:
        size, letter = next(unit for unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if abs(value) >= unit[0])
        return f"{value / size:g}{letter}".replace("-", MINUS)
    return short_exponent(f"{value:.6g}")


def _scale(values: Range, upwards: bool = False) -> Scale:
    low, high = values
    if upwards:
        return lambda value: SIZE * (high - value) / (high - low)
    return lambda value: SIZE * (value - low) / (high - low)


def _log_scale(powers: Sequence[float]) -> Scale:
    linear = _scale((math.log10(powers[0]), math.log10(powers[-1])), upwards=True)
    return lambda value: linear(math.log10(value))


def _extent(chart: Chart) -> Range:
    """The lowest and the highest value that is drawn."""
    if chart.stacked:
        return 0.0, max(sum(parts.values()) for parts in _columns(chart).values())
    values = [value for series in chart.series for _, value in _sound(series.points)]
    values += [edge for series in chart.series for _, *edges in series.band for edge in edges]
    low, high = min(values), max(values)
    return (min(0.0, low), max(0.0, high)) if chart.from_zero else (low, high)


# ---------------------------------------------------------------- marks


def _series(series: Series, i: int, x: Scale, y: Scale) -> str:
    points = _sound(series.points)
    broken = [step for step, value in series.points if not finite(value)]
    marks = "".join(f'<path class="broken" d="M{x(step):.1f} 985h0"/>' for step in broken)
    if series.band:
        upper = [(step, high) for step, _, high in series.band]
        lower = [(step, low) for step, low, _ in reversed(series.band)]
        marks += f'<polygon class="band s{i}" points="{_path(upper + lower, x, y)}"/>'
    if series.dots or len(points) == 1:
        dots = "".join(f"M{x(step):.1f} {y(value):.1f}h0" for step, value in points)
        many = " many" if len(points) > MANY_DOTS else ""
        return marks + f'<path class="dots{many} s{i}" d="{dots}"/>'
    if len(points) > SMOOTH_ABOVE:
        marks += f'<polyline class="raw s{i}" points="{_path(thin(points), x, y)}"/>'
        points = smooth(points)
    return marks + f'<polyline class="line s{i}" points="{_path(thin(points), x, y)}"/>'


def _bars(chart: Chart, x: Scale, y: Scale, steps: Range) -> str:
    """At most MAX_BARS columns, each the mean of the steps it stands for."""
    per_bar = math.ceil((steps[1] - steps[0] + 1) / MAX_BARS)
    bars: dict[int, list[dict[int, float]]] = {}
    for step, parts in _columns(chart).items():
        bars.setdefault(int(step - steps[0]) // per_bar, []).append(parts)
    rects = []
    for bar, members in bars.items():
        width = min((x(1.0) - x(0.0)) * (per_bar - 0.2), WIDEST_BAR)
        left = x(steps[0] + (bar + 0.5) * per_bar - 0.5) - width / 2
        width = min(width, SIZE - left)
        floor = 0.0
        for i in range(len(chart.series)):
            height = sum(parts.get(i, 0.0) for parts in members) / len(members)
            top, bottom = y(floor + height), y(floor)
            rects.append(
                f'<rect class="bar s{i}" x="{left:.1f}" y="{top:.1f}" '
                f'width="{width:.1f}" height="{bottom - top:.1f}"/>'
            )
            floor += height
    return "".join(rects)


def _columns(chart: Chart) -> dict[int, dict[int, float]]:
    """step -> series -> height."""
    columns: dict[int, dict[int, float]] = {}
    for i, series in enumerate(chart.series):
        for step, value in _sound(series.points):
            columns.setdefault(step, {})[i] = max(0.0, value)
    return columns


def _sound(points: Sequence[Point]) -> list[Point]:
    return [(step, value) for step, value in points if finite(value)]


def _path(points: Sequence[Point], x: Scale, y: Scale) -> str:
    return " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)


def smooth(points: Sequence[Point]) -> list[Point]:
    """A centred moving average over a fortieth of the points; the window shrinks at both ends."""
    total = [0.0]
    for _, value in points:
        total.append(total[-1] + value)
    half, smoothed = max(2, len(points) // 80), []
    for i, (step, _) in enumerate(points):
        reach = min(half, i, len(points) - 1 - i)
        smoothed.append((step, (total[i + reach + 1] - total[i - reach]) / (2 * reach + 1)))
    return smoothed


def thin(points: Sequence[Point]) -> list[Point]:
    """At most MAX_POINTS: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= MAX_POINTS:
        return list(points)
    stretch = math.ceil(2 * len(points) / MAX_POINTS)
    kept: set[Point] = {points[0], points[-1]}
    for i in range(0, len(points), stretch):
        kept |= {min(points[i : i + stretch], key=_value), max(points[i : i + stretch], key=_value)}
    return sorted(kept)


def _value(point: Point) -> float:
    return point[1]


# ---------------------------------------------------------------- words


def _summary(chart: Chart) -> str:
    ends = (f"{s.label} from {fmt(s.points[0][1])} to {fmt(s.points[-1][1])}" for s in chart.series)
    return f"{chart.title}: {'; '.join(ends)}"


def _table(chart: Chart) -> str:
    rows = []
    for i, series in enumerate(chart.series):
        values = [value for _, value in _sound(series.points)]
        broken = [step for step, value in series.points if not finite(value)]
        note = (
            f" <em>not finite: {len(broken)} of {len(series.points)}, first at step {broken[0]}</em>"
            if broken
            else ""
        )
        mark = "dots" if series.dots else "bar" if chart.stacked else "line"
        rows.append(
            f'<tr><th scope="row"><i class="key-{mark} s{i}"></i>{esc(series.label)}{note}</th>'
            f"<td>{fmt(min(values))}</td><td>{fmt(max(values))}</td><td>{fmt(values[-1])}</td></tr>"
        )
    head = "<td></td>" + "".join(f'<th scope="col">{word}</th>' for word in ("min", "max", "last"))
    return f'<table class="stats"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _values(chart: Chart, across: Range) -> dict[str, Any]:
    """The drawn values, as text where they are not finite: JSON has no such numbers."""
    series = [
        {
            "label": series.label,
            "steps": [step for step, _ in points],
            "values": [float(f"{value:.5g}") if finite(value) else fmt(value) for _, value in points],
        }
        for series in chart.series
        for points in [thin(series.points)]
    ]
    return {"from": across[0], "to": across[1], "series": series}
