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
        table.add_row(_asked(row["prompt"]), before, f"[{good}]{after}[/]")
    return table


def _asked(prompt: Any) -> str:
    """The end of what was asked, where a question stands; with the words that begin the answer, if any do."""
    if isinstance(prompt, list):
        last = next((i for i in reversed(range(len(prompt))) if prompt[i]["role"] == "user"), len(prompt) - 1)
        prompt = " ".join(str(message["content"]) for message in prompt[last:])
    text = " ".join(str(prompt).split())
    return escape(text if len(text) <= 40 else "…" + text[-39:])


def _short(text: str) -> str:
    text = " ".join(text.split())
    return escape(text if len(text) <= 40 else text[:39] + "…")
