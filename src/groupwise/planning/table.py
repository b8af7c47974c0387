"""What `groupwise plan` prints: memory by part, whether it fits, time, and what would help."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from groupwise.hardware import Rates, Room
from groupwise.planning.advice import savings
from groupwise.planning.inputs import HELPFUL, Outlook
from groupwise.planning.memory import Memory, memory
from groupwise.planning.sizes import GIB
from groupwise.planning.time import Seconds, seconds
from groupwise.precision import best_dtype
from groupwise.settings import Settings

TIGHT = 0.85
"""Of the available memory: the estimate is within a fifth of what is measured (bench/results/plan.json)."""


def page(ahead: Outlook, rates: Rates, settings: Settings) -> Iterator[RenderableType]:
    """The whole of it, for settings with every default filled in."""
    shape, work = ahead.model.shape(), ahead.work
    found = memory(shape, work)
    kind = str(ahead.dtype).removeprefix("torch.")
    yield f"[bold]{escape(ahead.task)}[/] · {escape(ahead.model.name)} · {kind} on {ahead.device}"
    yield (
        f"{settings.steps} steps of {work.prompts} prompts x {work.group_size} answers of up to "
        f"{work.max_new_tokens} tokens; prompts of up to {work.prompt_tokens}"
    )
    yield _parts(found)
    yield _verdict(found.peak, ahead.room)
    if found.peak > TIGHT * ahead.room.available:
        yield from _help(ahead, found.peak)
    yield _time(seconds(shape, work, rates), settings)


def _parts(found: Memory) -> Table:
    table = Table()
    for name in ("part", "GiB", "note"):
        table.add_column(name, justify="right" if name == "GiB" else "left")
    sections = (("", found.always), ("writing answers", found.generating), ("learning", found.learning))
    for title, parts in sections:
        table.add_section()
        if title:
            table.add_row(f"[bold]{title}[/]", _gib(sum(part.bytes for part in parts), "bold"), "")
        for part in parts:
            table.add_row(f"{'  ' if title else ''}{part.name}", _gib(part.bytes), part.note)
    return table


def _gib(size: int, style: str = "") -> str:
    text = f"{size / GIB:.2f}"
    return f"[{style}]{text}[/]" if style else text


def _verdict(peak: int, room: Room) -> str:
    fits = peak <= room.available
    word = "[bold green]fits[/]" if peak <= TIGHT * room.available else "[bold yellow]fits, but is tight[/]"
    return (
        f"peak {peak / GIB:.1f} GiB of {room.available / GIB:.1f} GiB available "
        f"({room.total / GIB:.1f} in all): {word if fits else '[bold red]does not fit[/]'}"
    )


def _help(ahead: Outlook, peak: int) -> Iterator[str]:
    shape = ahead.model.shape()
    for s in savings(shape, ahead.work, best_dtype(ahead.device) == torch.bfloat16)[:HELPFUL]:
        yield f"  {s.flag:<32} saves {s.bytes / GIB:.1f} GiB, leaves {(peak - s.bytes) / GIB:.1f}"


def _time(taken: Seconds, settings: Settings) -> str:
    steps = settings.steps or 0
    evaluations = 2 + (max(0, steps - 1) // settings.evaluate_every if settings.evaluate_every else 0)
    total = steps * taken.step + evaluations * taken.evaluate
    return (
        f"time {_span(taken.step)} a step (writing {_span(taken.generate)}, learning {_span(taken.learn)}), "
        f"{_span(total)} in all with {evaluations} evaluations; for answers of full length, rewards not "
        "counted"
    )


def _span(s: float) -> str:
    if s < 100:
        return f"{s:.2g} s" if s < 10 else f"{s:.0f} s"
    return f"{s / 60:.0f} min" if s < 6000 else f"{s / 3600:.1f} h"
