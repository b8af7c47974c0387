"""`groupwise eval`, `chat` and `report`: what there is to know of a run or a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.progress import Progress
from tyro.conf import Positional, UseAppendAction

from groupwise import report, runs, tables
from groupwise.chat import Talk
from groupwise.settings import ConfigError
from groupwise.terminal import console
from groupwise.trainer import evaluate


@dataclass(frozen=True)
class Eval:
    """Held-out scores of a run, of one of its checkpoints, or of any model on a task."""

    model: Positional[str]
    """A run folder, runs/NAME/checkpoints/N, or a model by folder, hub id or pip:PACKAGE."""
    task: str | None = None
    """The task; that of the run unless given."""
    reward: UseAppendAction[tuple[str, ...]] = ()
    """FILE.py:FUNCTION; the run's own unless given."""
    examples: int = 200
    """Held-out prompts."""


def evaluate_command(args: Sequence[str]) -> int:
    options = tyro.cli(Eval, args=list(args), prog="groupwise eval")
    if options.examples < 1:
        raise ConfigError(f"--examples {options.examples}: at least 1")
    with console.status("loading"):
        built = runs.opened(options.model, options.task, options.reward)
    run = built.run
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bar:
        job = bar.add_task("held-out answers", total=options.examples)
        evaluation = evaluate(
            run.sampler,
            run.score,
            run.task,
            options.examples,
            lambda n, total: bar.update(job, completed=n, total=total),
        )
    scored = sum(answer["reward"] is not None for answer in evaluation.answers)
    few = "" if scored == len(evaluation.answers) else f" ({scored} scored)"
    how = tables.how(built.loaded is not None)
    title = f"{run.task.name}: {len(evaluation.answers)} held-out examples{few}{how}"
    table = tables.titled(title)
    table.add_column("score")
    table.add_column(options.model, justify="right")
    for name, value in evaluation.scores.items():
        table.add_row(name, f"{value:.3f}")
    console.print(table)
    return 0


@dataclass(frozen=True)
class Chat:
    """Talk to a model: one line a turn, an empty line or Ctrl-D ends it."""

    model: Positional[str]
    """A run folder or a model by folder, hub id or pip:PACKAGE."""
    temperature: float = 0.0
    """0 gives the likeliest answer."""
    max_new_tokens: int = 256
    """Tokens an answer may have."""
    system: str | None = None
    """A system message."""


def chat_command(args: Sequence[str]) -> int:
    options = tyro.cli(Chat, args=list(args), prog="groupwise chat")
    with console.status("loading"):
        talk = Talk(options.model, options.temperature, options.max_new_tokens, options.system)
    console.print(f"[dim]{options.model}; an empty line ends it[/]")
    while True:
        try:
            said = console.input("[bold cyan]you[/]  ")
        except (EOFError, KeyboardInterrupt):
            break
        if not said.strip():
            break
        console.print("[bold green]it[/]   ", end="")
        console.print(talk.answer(said), markup=False, highlight=False)
    return 0


@dataclass(frozen=True)
class Report:
    """Write report.html of a run: curves, answers by step, configuration."""

    folder: Positional[Path]
    """The run's folder."""


def report_command(args: Sequence[str]) -> int:
    options = tyro.cli(Report, args=list(args), prog="groupwise report")
    console.print(str(report.write(options.folder)), highlight=False)
    return 0
