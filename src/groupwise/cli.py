"""The command line: groupwise train | plan | eval | chat | report | reward."""

from __future__ import annotations

import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from tyro.conf import Positional, UseAppendAction

from groupwise import __version__, hardware, report, runs, tables
from groupwise.allocator import keep_freed_memory
from groupwise.chat import Talk
from groupwise.checkpoints import DamagedError, SaveError, State
from groupwise.config import Built, build, outlook
from groupwise.learner import NonFiniteError
from groupwise.planning import table as plan_table
from groupwise.rescue import OutOfMemoryError
from groupwise.reward_commands import reward
from groupwise.rewards.scoring import RewardError
from groupwise.settings import ConfigError, Settings, completed, read_toml
from groupwise.trainer import Run, evaluate
from groupwise.trainer import train as train_run

console = Console()
STOPPED = 3
"""The exit code of a run that the guard ended."""

HELP = """[bold]groupwise[/] trains policies with Group Relative Policy Optimization.

  groupwise train               two-digit addition with the small default model
  groupwise train my.jsonl --reward my_reward.py:score
  groupwise train gym:CartPole-v1
  groupwise train --resume runs/NAME
  groupwise plan my.jsonl ...   memory and time that `train` with the same options will take

  groupwise eval runs/NAME      held-out scores of a run or a model
  groupwise chat runs/NAME      talk to it
  groupwise report runs/NAME    write report.html
  groupwise reward train pairs.jsonl    learn a reward from what people prefer

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
    _announce(built, completed(settings), folder)
    with stop.listening():
        try:
            state = train_run(built.run)
        except KeyboardInterrupt:
            console.print(f"stopped. Go on from the last checkpoint: groupwise train --resume {folder}")
            return 130
        except (RewardError, SaveError) as error:
            raise type(error)(f"{error}\nThen go on: groupwise train --resume {folder}") from error
        except OutOfMemoryError as error:
            raise OutOfMemoryError(error.phase, f"{error}\n{_lower(error.phase, settings, folder)}") from None
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
    more = "" if s.lora_rank or s.task.startswith("gym:") else "; in a new run --lora-rank 16 would"
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
    if settings.task.startswith("gym:"):
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
    console.print(
        f"[bold]{run.task.name}[/] · {what} · {settings.recipe} · {machine['dtype']} on {machine['device']} "
        f"({machine['threads']} threads)"
    )
    seats = f" ({escape(settings.seats)})" if settings.seats else ""
    console.print(
        f"{run.schedule.steps} steps of {_spent(run)}{seats}, "
        f"learning rate {settings.learning_rate:g}, seed {run.seed} -> {folder}"
    )


def _spent(run: Run) -> str:
    prompts, grouping = run.schedule.prompts, run.grouping
    if grouping.varies(prompts):
        return f"{grouping.budget(prompts)} answers to {prompts} prompts"
    return f"{prompts} prompts x {grouping.budget(prompts) // prompts} answers"


def _conclude(result: Any, state: State, folder: Path, page: Path, built: Built, seconds: float) -> None:
    held_out = result["held_out"]
    if held_out["after"]:
        console.print(tables.scores(held_out))
    if built.loaded is not None and result["answers"]:
        console.print(tables.examples(result["answers"]))
    console.print(
        f"{result['status']} after {state.step} steps: {state.train_seconds:.0f} s of training, "
        f"{seconds:.0f} s in all"
    )
    console.print(f"report   {page}", highlight=False)
    if (folder / "model").exists():
        console.print(f"model    {folder / 'model'}", highlight=False)
    if result["status"] != "finished":
        console.print(f"go on    groupwise train --resume {folder}", highlight=False)


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
    table = Table(
        title=f"{run.task.name}: {len(evaluation.answers)} held-out examples, greedy", title_justify="left"
    )
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


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train,
    "plan": plan,
    "eval": evaluate_command,
    "chat": chat_command,
    "report": report_command,
    "reward": reward,
}

EXPECTED = (
    ValueError,
    OutOfMemoryError,
    RewardError,
    SaveError,
    DamagedError,
    NonFiniteError,
    FloatingPointError,
    OSError,
)
"""What a user can put right: told in a sentence, without a traceback."""


def main() -> None:
    """The entry point of the `groupwise` command."""
    keep_freed_memory()
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
    warnings.showwarning = lambda message, *_, **__: console.print(f"[yellow]{escape(str(message))}[/]")
    try:
        sys.exit(COMMANDS[args[0]](args[1:]))
    except EXPECTED as error:
        console.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
