"""The curves of bench/games.py: a panel for each score, thick the mean, thin the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pictures_svg import BLUE, INK, LINE, MARGIN, SOFT, WIDTH, Scale, Sheet, round_numbers

PANELS = {
    ("tic_tac_toe", "exact/loss"): "tic-tac-toe: lost to an exact player",
    ("tic_tac_toe", "exploitability"): "tic-tac-toe: exploitability",
    ("kuhn_poker", "exploitability"): "Kuhn poker: exploitability",
    ("connect_four", "random/win"): "connect four: won against random",
}
COLUMNS, GAP, LEFT = 2, 30.0, 42.0
PANEL, HEAD = 190.0, 64.0


def picture(runs: Sequence[Mapping[str, Any]]) -> str:
    """Markdown's curves.svg."""
    sheet = Sheet("Self-play from nothing", "Held-out scores by training step; thin: seeds.")
    drawn = [key for key in PANELS if any(run["game"] == key[0] for run in runs)]
    width = (WIDTH - 2 * MARGIN + GAP) / COLUMNS
    for i, (game, score) in enumerate(drawn):
        mine = [run for run in runs if run["game"] == game]
        left, top = MARGIN + (i % COLUMNS) * width, HEAD + i // COLUMNS * PANEL
        _panel(sheet, PANELS[game, score], mine, score, left, top, width - GAP)
    return sheet.svg(HEAD + -(-len(drawn) // COLUMNS) * PANEL + 8)


def _panel(
    sheet: Sheet,
    title: str,
    runs: Sequence[Mapping[str, Any]],
    score: str,
    left: float,
    top: float,
    width: float,
) -> None:
    steps = runs[0]["steps"]
    curves = [run["scores"][score] for run in runs]
    high = max(max(curve) for curve in curves) or 1.0
    across = Scale(0.0, steps[-1], left + LEFT, left + width)
    up = Scale(0.0, 1.05 * high, top + PANEL - 42, top + 30)
    sheet.text(left, top + 16, title, bold=True)
    for value in round_numbers(high, 4):
        sheet.line((across.start, up(value)), (across.end, up(value)), stroke=LINE)
        sheet.text(across.start - 5, up(value) + 4, f"{value:g}", 10, SOFT, "end")
    for value in round_numbers(steps[-1], 4):
        sheet.text(across(value), up.start + 14, f"{value:g}", 10, SOFT, "middle")
    mean = [statistics.fmean(values) for values in zip(*curves, strict=True)]
    for curve in curves:
        sheet.line(*((across(x), up(y)) for x, y in zip(steps, curve, strict=True)), stroke=BLUE, width=0.7)
    sheet.line(*((across(x), up(y)) for x, y in zip(steps, mean, strict=True)), stroke=BLUE, width=2.4)
    sheet.line((across.start, up.start), (across.end, up.start), stroke=INK, width=0.8)
