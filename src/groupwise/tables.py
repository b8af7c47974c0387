"""The tables that a person reads at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

MANY = 0.05
"""Share of failed answers from which on a run's end speaks of them."""


def titled(title: str) -> Table:
    """A table that is no narrower than its title: rich would break the title."""
    return Table(title=title, title_justify="left", min_width=len(title))


def scores(held_out: Mapping[str, Any], how: str = "") -> Table:
    """The reward is left out where another score has the same two numbers."""
    rows = {name: (held_out["before"].get(name), after) for name, after in held_out["after"].items()}
    if any(name != "reward" and row == rows.get("reward") for name, row in rows.items()):
        del rows["reward"]
    table = titled(f"held-out, {counted(held_out)}{how}")
    for name in ("score", "before", "after"):
        table.add_column(name, justify="left" if name == "score" else "right")
    for name, (before, after) in rows.items():
        table.add_row(name, "" if before is None else f"{before:.3f}", f"[bold]{after:.3f}[/]")
    return table


def how(greedy: bool) -> str:
    """What a title says of how a language model answered; of environments their pages say it."""
    return ", greedy" if greedy else ""


def counted(held_out: Mapping[str, Any]) -> str:
    """How many examples the scores are means of: those that failed have none."""
    n, scored = held_out["examples"], held_out.get("scored", ())
    said = ", ".join(f"{k} {when}" for k, when in zip(scored, ("before", "after"), strict=False))
    return f"{n} examples" + (f" (scored: {said})" if any(k != n for k in scored) else "")


def doubts(steps: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """What a run that came to its end should not be silent about; of the lines of its steps."""
    failed = [step["stopped/error"] for step in steps if "stopped/error" in step]
    if failed and (share := sum(failed) / len(failed)) >= MANY:
        yield f"{share:.0%} of the answers failed and were left out: samples.jsonl says why, under extra."
    silent = [step.get("frac_reward_zero_std") == 1 for step in steps]
    if silent and all(silent):
        yield "In no step did answers to one prompt differ in their reward, so nothing was learned."


def examples(answers: Sequence[Any]) -> Table:
    table = titled("held-out answers")
    for name in ("prompt", "before", "after"):
        table.add_column(name, max_width=40)
    for row in answers[:8]:
        before, after = (_short(_said(row, side)) for side in ("before", "after"))
        good = "green" if row.get("right") else "red"
        table.add_row(_asked(row["prompt"]), before, f"[{good}]{after}[/]")
    return table


def _said(row: Mapping[str, Any], side: str) -> str:
    """An answer; of a conversation how many turns it had, and how it ended."""
    said = [m["content"] for m in row.get(f"messages_{side}", ()) if m["role"] == "assistant"]
    return f"{len(said)} turns, the last: {said[-1]}" if len(said) > 1 else row[side]


def _asked(prompt: Any) -> str:
    """The end of what was asked, where a question stands; with the words that begin the answer, if any do."""
    if isinstance(prompt, list):
        last = next((i for i in reversed(range(len(prompt))) if prompt[i]["role"] == "user"), len(prompt) - 1)
        prompt = " → ".join(str(message["content"]) for message in prompt[last:])
    text = " ".join(str(prompt).split())
    return escape(text if len(text) <= 40 else "…" + text[-39:])


def _short(text: str) -> str:
    text = " ".join(text.split())
    return escape(text if len(text) <= 40 else text[:39] + "…")
