"""The tables that a person reads at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table


def scores(held_out: Mapping[str, Any]) -> Table:
    table = Table(title=f"held-out, {held_out['examples']} examples, greedy", title_justify="left")
    for name in ("score", "before", "after"):
        table.add_column(name, justify="left" if name == "score" else "right")
    for name, after in held_out["after"].items():
        before = held_out["before"].get(name)
        table.add_row(name, "" if before is None else f"{before:.3f}", f"[bold]{after:.3f}[/]")
    return table


def examples(answers: Sequence[Any]) -> Table:
    table = Table(title="held-out answers", title_justify="left")
    for name in ("prompt", "before", "after"):
        table.add_column(name, max_width=40)
    for row in answers[:8]:
        before, after = _short(row["before"]), _short(row["after"])
        good = "green" if row.get("right") else "red"
        table.add_row(_short(_asked(row["prompt"])), before, f"[{good}]{after}[/]")
    return table


def _asked(prompt: Any) -> str:
    return str(prompt[-1]["content"]) if isinstance(prompt, list) else str(prompt)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return escape(text if len(text) <= 40 else text[:39] + "…")
