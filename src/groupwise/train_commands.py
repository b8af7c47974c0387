"""`groupwise train` and `groupwise plan`."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro
from rich.markup import escape

from groupwise import hardware, report, runs, tables
from groupwise.checkpoints import State
from groupwise.config import Built, build, outlook
from groupwise.planning import table as plan_table
from groupwise.rescue import OutOfMemoryError
from groupwise.settings import ConfigError, Settings, completed, read_toml
from groupwise.tasks.task import is_world
from groupwise.terminal import console
from groupwise.trainer import Run
from groupwise.trainer import train as train_run

STOPPED = 3
"""The exit code of a run that the guard ended."""


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
    folder = settings.resume or runs.new_folder(settings)
    with runs.held(folder):
        return _train(settings, folder)


def _train(settings: Settings, folder: Path) -> int:
    resumed = settings.resume is not None
    stop = Stop()
    started = time.perf_counter()
    try:
        built = build(settings, folder, console, stop)
    except BaseException:
        runs.give_up(folder)
        raise
    if not resumed:
        runs.begin(folder, settings)
    else:
        runs.extend(folder, settings)
        if warning := runs.moved(folder, completed(settings)):
            console.print(f"[yellow]{escape(warning)}[/]", highlight=False)
        if not built.run.checkpoints.steps():
            console.print(f"[yellow]{escape(str(folder))} has no checkpoint yet: it begins at step 1[/]")
    _announce(built, completed(settings), folder)
    with stop.listening():
        try:
            state = train_run(built.run)
        except KeyboardInterrupt:
            console.print(f"stopped. Go on from the last checkpoint: groupwise train --resume {folder}")
            return 130
        except OutOfMemoryError as error:
            raise OutOfMemoryError(error.phase, f"{error}\n{_lower(error.phase, settings, folder)}") from None
        except Exception as error:
            error.add_note(f"Then go on: groupwise train --resume {folder}")
            raise
        finally:
            built.journal.close()
    result = runs.finish(folder, built, state)
    page = report.write(folder)
    _conclude(result, state, folder, page, built, time.perf_counter() - started)
    if state.stopped:
        console.print(
            f"[red]stopped by the guard:[/] {escape(state.stopped)}", highlight=False, soft_wrap=True
        )
        return STOPPED
    return 130 if stop.asked else 0


def _lower(phase: str, settings: Settings, folder: Path) -> str:
    """Which settings need less memory in a phase, and how to go on with them."""
    s = completed(settings)
    name, now = "--tokens-per-microbatch", s.tokens_per_microbatch or 1
    more = "" if s.lora_rank or is_world(s.task) else "; in a new run --lora-rank 16 would"
    if phase != "learning":
        name, now = "--max-rows", s.max_rows
        more = "; in a new run a lower --max-new-tokens would"
    return (
        f"A lower {name} (now {now}) takes less memory{more}. Go on: "
        f"groupwise train --resume {folder} {name} {max(1, now // 2)}"
    )


def plan(args: Sequence[str]) -> int:
    """Memory and time of a run, before there is one."""
    about = "Memory and time that `groupwise train` with the same options will take, against what there is."
    settings = _settings(args, "plan", about)
    if is_world(settings.task):
        console.print(f"{settings.task} trains a network of a few thousand weights: memory is no concern.")
        return 0
    with console.status("reading"):
        ahead = outlook(settings, lambda text: console.print(f"[dim]{text} ...[/]"))
        rates = hardware.rates(ahead.device, ahead.dtype)
    for part in plan_table.page(ahead, rates, completed(settings)):
        console.print(part, highlight=False)
    return 0


def _settings(args: Sequence[str], command: str = "train", about: str | None = None) -> Settings:
    """Flags over the TOML file or the run to resume over the defaults."""
    base = Settings()
    folder, file = _value_of(args, "--resume"), _value_of(args, "--config")
    if folder is not None:
        base = replace(runs.settings_of(Path(folder)), resume=Path(folder))
    elif file is not None:
        base = replace(read_toml(Path(file)), config=Path(file))
        # flags take the place of the file's, and are not added to them
        reward, gold, stop = (
            () if _value_of(args, f"--{name}") is not None else getattr(base, name)
            for name in ("reward", "gold", "stop")
        )
        base = replace(base, reward=reward, gold=gold, stop=stop)
    settings = tyro.cli(
        Settings, args=list(args), default=base, prog=f"groupwise {command}", description=about
    )
    changed = [n for n in vars(base) if n not in runs.FREE and getattr(base, n) != getattr(settings, n)]
    if folder is not None and changed:
        raise ConfigError(
            f"--resume goes on with the run as it was; it cannot change {', '.join(changed)}. Only --steps, "
            "--max-rows, --check-memory and --tokens-per-microbatch may differ. For another experiment "
            "start a new run; --model runs/NAME starts from its weights."
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
    machine = runs.machine(settings)
    threads = machine["threads"]
    console.print(
        f"[bold]{run.task.name}[/] · {what} · {settings.recipe} · {machine['dtype']} on {machine['device']} "
        f"({threads} thread{'s' if threads != 1 else ''})"
    )
    seats = f" ({escape(settings.seats)})" if settings.seats else ""
    console.print(
        f"{run.schedule.steps} steps of {_spent(run)}{seats}, "
        f"learning rate {settings.learning_rate:g}, seed {run.seed} -> {folder}"
    )
    if run.task.measure != (run.task.rewards[0].name if run.task.rewards else "reward"):
        console.print(f"held-out is {run.task.measure}", highlight=False)


def _spent(run: Run) -> str:
    prompts, grouping = run.schedule.prompts, run.grouping
    if grouping.varies(prompts):
        return f"{grouping.budget(prompts)} answers to {prompts} prompts"
    return f"{prompts} prompts x {grouping.budget(prompts) // prompts} answers"


def _conclude(result: Any, state: State, folder: Path, page: Path, built: Built, seconds: float) -> None:
    held_out = result["held_out"]
    if held_out["after"]:
        console.print(tables.scores(held_out, tables.how(built.loaded is not None)))
    if built.loaded is not None and result["answers"]:
        console.print(tables.examples(result["answers"]))
    steps = [line for line in runs.read_lines(folder / "metrics.jsonl") if line["step"]]
    for doubt in tables.doubts(steps):
        console.print(f"[yellow]{doubt}[/]", highlight=False)
    console.print(
        f"{result['status']} after {state.step} steps: {state.train_seconds:.0f} s of training, "
        f"{seconds:.0f} s in all"
    )
    console.print(f"report   {page}", highlight=False)
    if (folder / "model").exists():
        console.print(f"model    {folder / 'model'}", highlight=False)
    if result["status"] != "finished":
        console.print(f"go on    groupwise train --resume {folder}", highlight=False)
