"""The command line: groupwise train | eval | chat | report."""

from __future__ import annotations

import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from groupwise import __version__, report, runs
from groupwise.checkpoints import SaveError, State
from groupwise.config import Built, ConfigError, Settings, build, completed, read_toml
from groupwise.learner import NonFiniteError
from groupwise.rewards.scoring import RewardError
from groupwise.trainer import train as train_run

console = Console()

HELP = """[bold]groupwise[/] trains policies with Group Relative Policy Optimization.

  groupwise train               two-digit addition with the small default model
  groupwise train my.jsonl --reward my_reward.py:score
  groupwise train gym:CartPole-v1
  groupwise train --resume runs/NAME

  groupwise eval runs/NAME      held-out scores of a run or a model
  groupwise chat runs/NAME      talk to it
  groupwise report runs/NAME    write report.html

Each command explains itself: groupwise train --help
"""


class Stop:
    """Ctrl-C once: save after this step and end. Twice: end now."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_signal(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        console.print("[yellow]stopping after this step; Ctrl-C again to stop at once[/]")


def train(args: Sequence[str]) -> int:
    settings = _settings(args)
    resumed = settings.resume is not None
    folder = settings.resume or runs.new_folder(settings)
    stop = Stop()
    started = time.perf_counter()
    built = build(settings, folder, console, stop)
    if not resumed:
        runs.begin(folder, settings)
    _announce(built, completed(settings), folder)
    with stop.listening():
        try:
            state = train_run(built.run)
        except KeyboardInterrupt:
            console.print(f"stopped. Go on from the last checkpoint: groupwise train --resume {folder}")
            return 130
        finally:
            built.journal.close()
    result = runs.finish(folder, built, state)
    page = report.write(folder)
    _conclude(result, state, folder, page, built, time.perf_counter() - started)
    return 130 if stop.asked else 0


def _settings(args: Sequence[str]) -> Settings:
    """Flags over the TOML file or the run to resume over the defaults."""
    base = Settings()
    folder, file = _value_of(args, "--resume"), _value_of(args, "--config")
    if folder is not None:
        base = replace(runs.settings_of(Path(folder)), resume=Path(folder))
    elif file is not None:
        base = replace(read_toml(Path(file)), config=Path(file))
    settings = tyro.cli(Settings, args=list(args), default=base, prog="groupwise train")
    if folder is not None and replace(settings, steps=base.steps) != base:
        changed = [n for n in vars(base) if n != "steps" and getattr(base, n) != getattr(settings, n)]
        raise ConfigError(
            f"--resume goes on with the run as it was; it cannot change {', '.join(changed)}. Only --steps "
            "may differ. For another experiment start a new run; --model runs/NAME starts from its weights."
        )
    return settings


def _value_of(args: Sequence[str], flag: str) -> str | None:
    for i, word in enumerate(args):
        if word == flag and i + 1 < len(args):
            return args[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


def _announce(built: Built, settings: Settings, folder: Path) -> None:
    run = built.run
    what = settings.model if built.loaded else "a small network"
    machine = runs._machine(settings)
    console.print(
        f"[bold]{run.task.name}[/] · {what} · {settings.recipe} · {machine['dtype']} on {machine['device']} "
        f"({machine['threads']} threads)"
    )
    console.print(
        f"{run.schedule.steps} steps of {run.schedule.prompts} prompts x {run.grouping.size} answers, "
        f"learning rate {settings.learning_rate:g}, seed {run.seed} -> {folder}"
    )


def _conclude(result: Any, state: State, folder: Path, page: Path, built: Built, seconds: float) -> None:
    held_out = result["held_out"]
    if held_out["after"]:
        console.print(_scores(held_out))
    if built.loaded is not None and result["answers"]:
        console.print(_examples(result["answers"]))
    console.print(
        f"{result['status']} after {state.step} steps: {state.train_seconds:.0f} s of training, "
        f"{seconds:.0f} s in all"
    )
    console.print(f"report   {page}", highlight=False)
    if (folder / "model").exists():
        console.print(f"model    {folder / 'model'}", highlight=False)
    if result["status"] != "finished":
        console.print(f"go on    groupwise train --resume {folder}", highlight=False)


def _scores(held_out: Any) -> Table:
    table = Table(title=f"held-out, {held_out['examples']} examples, greedy", title_justify="left")
    for name in ("score", "before", "after"):
        table.add_column(name, justify="left" if name == "score" else "right")
    for name, after in held_out["after"].items():
        before = held_out["before"].get(name)
        table.add_row(name, "" if before is None else f"{before:.3f}", f"[bold]{after:.3f}[/]")
    return table


def _examples(answers: Sequence[Any]) -> Table:
    table = Table(title="held-out answers", title_justify="left")
    for name in ("prompt", "before", "after"):
        table.add_column(name, max_width=40)
    for row in answers[:8]:
        before, after = _short(row["before"]), _short(row["after"])
        good = "green" if row["reward_after"] and row["reward_after"] > 0 else "red"
        table.add_row(_short(_asked(row["prompt"])), before, f"[{good}]{after}[/]")
    return table


def _asked(prompt: Any) -> str:
    return str(prompt[-1]["content"]) if isinstance(prompt, list) else str(prompt)


def _short(text: str) -> str:
    from rich.markup import escape

    text = " ".join(text.split())
    return escape(text if len(text) <= 40 else text[:39] + "…")


def report_command(args: Sequence[str]) -> int:
    @dataclass(frozen=True)
    class Report:
        """Write report.html of a run: curves, answers by step, configuration."""

        folder: Positional[Path]
        """The run's folder."""

    options = tyro.cli(Report, args=list(args), prog="groupwise report")
    console.print(str(report.write(options.folder)), highlight=False)
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"train": train, "report": report_command}

EXPECTED = (ValueError, RewardError, SaveError, NonFiniteError)
"""What a user can put right: told in a sentence, without a traceback."""


def main() -> None:
    """The entry point of the `groupwise` command."""
    args = sys.argv[1:]
    if not args or args[0] in ("-h", "--help"):
        console.print(HELP, highlight=False)
        sys.exit(0)
    if args[0] == "--version":
        console.print(__version__, highlight=False)
        sys.exit(0)
    if args[0] not in COMMANDS:
        console.print(f"[red]unknown command {args[0]!r}[/]; there are {', '.join(COMMANDS)}")
        sys.exit(2)
    warnings.showwarning = lambda message, *_, **__: console.print(f"[yellow]{message}[/]")
    try:
        sys.exit(COMMANDS[args[0]](args[1:]))
    except EXPECTED as error:
        console.print(f"[red]error:[/] {error}", highlight=False, markup=True)
        sys.exit(1)


__all__ = ["Annotated", "arg", "main"]
