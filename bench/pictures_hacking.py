"""The picture and the table of bench/hacking.py: a panel for each run: reward, gold, alarm. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pictures_svg import BLUE, GREEN, GREY, LINE, MARGIN, RED, SOFT, WIDTH, Scale, Sheet

COLUMNS = 3
PANEL, GAP = 210.0, 56.0
"""Height of a panel with its title, and what is between two side by side."""
ORDER = ("hacked", "honest", "control")

Found = Mapping[str, Any]


def runs_of(found: Found) -> dict[str, Found]:
    """Hacked ones first."""
    return dict(sorted(found["runs"].items(), key=lambda item: ORDER.index(item[1]["kind"])))


def picture(found: Found) -> str:
    """Reward and gold of training answers by step, held-out gold as dots, a red line at the first alarm."""
    runs = runs_of(found)
    sheet = Sheet(
        "Rewards that are hacked, honest ones, and the guard's first alarm",
        "Blue: the reward trained on. Green: gold of training answers; dots: of held-out ones. Red: alarm.",
    )
    wide = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    for i, (name, run) in enumerate(runs.items()):
        row, column = divmod(i, COLUMNS)
        _panel(sheet, name, run, MARGIN + 22 + column * (wide + GAP - 7), 84 + row * PANEL, wide - 22)
    return sheet.svg(84 + PANEL * -(-len(runs) // COLUMNS) + 6)


def _panel(sheet: Sheet, name: str, run: Found, left: float, top: float, width: float) -> None:
    curve = run["curve"]
    values = [row[k] for row in curve for k in ("reward", "gold") if k in row]
    high, low = max(1.0, *values), min(0.0, *values)
    x = Scale(0.0, max(1.0, curve[-1]["step"]), left, left + width)
    y = Scale(low, high, top + PANEL - 70, top + 20)
    sheet.text(left, top + 6, f"{run['kind']}: {name}", bold=True)
    for value in (low, (low + high) / 2, high):
        sheet.line((x.start, y(value)), (x.end, y(value)), stroke=LINE)
        sheet.text(x.start - 5, y(value) + 4, f"{value:g}"[:4], fill=SOFT, anchor="end", size=10)
    sheet.text(x.end, y.start + 14, f"{curve[-1]['step']} steps", fill=SOFT, anchor="end", size=10)
    for key, colour in (("reward", BLUE), ("gold", GREEN)):
        spots = [(x(row["step"]), y(row[key])) for row in curve if key in row]
        sheet.line(*spots, stroke=colour, width=2)
    for step, value in run["held_out"]:
        sheet.dot(x(step), y(value), GREEN)
    first = run["first_alarm"]
    if first is None:
        sheet.text(x.start, y.start + 30, "no alarm", fill=SOFT)
        return
    sheet.line((x(first), y.start), (x(first), y.end), stroke=RED, width=1.5, dash="4 3")
    names = ", ".join(dict.fromkeys(a["alarm"] for a in run["alarms"] if a["step"] == first))
    sheet.text(x.start, y.start + 30, f"step {first}: {names}", fill=RED if run["kind"] == "hacked" else GREY)


def table(found: Found) -> str:
    """Markdown: first alarm of each run, held-out gold before, what it had lost by then and at the end."""
    lines = [
        "| run | | first alarm | at step | held-out gold before | lost by then | lost at the end |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in runs_of(found).items():
        first = run["first_alarm"]
        names = dict.fromkeys(a["alarm"] for a in run["alarms"] if a["step"] == first)
        named, by_then = "none", ""
        if first is not None:
            named, by_then = ", ".join(names), f"{run['lost_at_alarm']:+.3f}"
        cells = (named, first or "", f"{run['held_out'][0][1]:.3f}", by_then, f"{run['lost_at_end']:+.3f}")
        lines.append(f"| {name} | {run['kind']} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
