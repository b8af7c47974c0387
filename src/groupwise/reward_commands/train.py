"""groupwise reward train: preferences to a reward model in a folder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from tyro.conf import Positional, arg

from groupwise import runs
from groupwise.config import device_of
from groupwise.metrics import JsonLines
from groupwise.models import Lora
from groupwise.preferences import report
from groupwise.preferences.comparisons import Preferences, drawn, read, split
from groupwise.preferences.fit import Fitting
from groupwise.preferences.training import Plan, Trained, Watch
from groupwise.preferences.training import train as train_members
from groupwise.reward_models.ensemble import FACTS
from groupwise.settings import ConfigError, Settings

console = Console()


@dataclass(frozen=True)
class Train:
    """Train a reward model on preferences."""

    pairs: Positional[str]
    """FILE (.jsonl .json .csv .parquet) or OWNER/DATASET: chosen and rejected, or rankings."""
    model: Annotated[str, arg(aliases=["-m"])] = Settings.model
    """The language model to begin with: a folder, a run, a hub id, or pip:PACKAGE."""
    out: Path | None = None
    """The folder to write; runs/reward-N unless given."""
    members: int = 1
    """Models that judge together."""
    deviations: float = 1.0
    """Standard deviations of the members' scores that are taken off their mean."""
    lora_rank: int = 0
    """Rank of a LoRA adapter on every linear layer, merged at the end; 0 trains all weights."""
    lora_alpha: float = 32.0
    """Scale of the adapter: alpha / rank."""
    epochs: int = 1
    """Passes over the comparisons; more than one soon learns them by heart."""
    batch: int = 16
    """Comparisons in an optimizer step."""
    learning_rate: Annotated[float | None, arg(aliases=["--lr"])] = None
    """Peak learning rate of AdamW; 2e-5 unless given, 2e-4 for an adapter."""
    centring: float = 0.0
    """Weight of (chosen + rejected)^2, which holds scores around 0."""
    max_tokens: int = 512
    """Of a longer text the end is read."""
    tokens_per_microbatch: int = 1024
    """Tokens in one forward and backward pass; changes memory, not results."""
    held_out: int = 500
    """Comparisons to judge by, a fifth of all at most; the same prompt is never on both sides."""
    limit: int | None = None
    """Use so many comparisons, drawn by the seed."""
    seed: int = 0
    """Names every random number."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""


def train(args: Sequence[str]) -> int:
    options = tyro.cli(Train, args=list(args), prog="groupwise reward train")
    plan = _plan(options)
    folder = _folder(options.out)
    with runs.held(folder):
        return _in_its_folder(options, plan, folder)


def _in_its_folder(options: Train, plan: Plan, folder: Path) -> int:
    try:
        return _train(options, plan, folder)
    except BaseException:
        if not any(folder.glob(f"*/{FACTS}")):
            (folder / "metrics.jsonl").unlink(missing_ok=True)
            runs.give_up(folder)
        raise


def _train(options: Train, plan: Plan, folder: Path) -> int:
    started = time.perf_counter()
    preferences = read(options.pairs)
    used = preferences.comparisons
    if options.limit is not None:
        used = drawn(used, options.limit, options.seed)
    given, kept = split(used, options.held_out, options.seed)
    _announce(options, preferences, len(given), len(kept), folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = JsonLines(folder / "metrics.jsonl")
    try:
        with _bar() as bar:
            watch = _watch(bar, lines, plan.fitting.steps(len(given)))
            trained = train_members(folder, plan, given, kept, watch, _say)
    finally:
        lines.close()
    _conclude(options, trained, preferences.excluded, folder, time.perf_counter() - started)
    return 0 if trained.finished else 130


def _plan(options: Train) -> Plan:
    if options.lora_rank < 0 or options.held_out < 1 or not 0 <= options.seed < 2**31:
        raise ConfigError(
            f"--lora-rank {options.lora_rank}: 0 or more; --held-out {options.held_out}: 1 or more; "
            f"--seed {options.seed}: 0 or more, below 2^31"
        )
    if options.limit is not None and options.limit < 2:
        raise ConfigError(f"--limit {options.limit}: 2 or more, one of them is held out")
    usual = 2e-4 if options.lora_rank else 2e-5
    return Plan(
        model=options.model,
        device=device_of(replace(Settings(), device=options.device)),
        max_tokens=options.max_tokens,
        members=options.members,
        deviations=options.deviations,
        lora=Lora(options.lora_rank, options.lora_alpha) if options.lora_rank else None,
        fitting=Fitting(
            learning_rate=usual if options.learning_rate is None else options.learning_rate,
            epochs=options.epochs,
            batch=options.batch,
            centring=options.centring,
            tokens_per_microbatch=options.tokens_per_microbatch,
            seed=options.seed,
        ),
    )


def _folder(out: Path | None) -> Path:
    if out is not None and (out / FACTS).exists():
        raise ConfigError(f"{out} already holds a reward model: choose another --out.")
    return runs.new_folder(replace(Settings(), task="reward", out=out))


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _watch(bar: Progress, lines: JsonLines, steps: int) -> Watch:
    jobs: dict[int, TaskID] = {}

    def watch(member: int, numbers: Mapping[str, float]) -> None:
        if member not in jobs:
            jobs[member] = bar.add_task(f"member {member}", total=steps, note="")
        note = f"loss {numbers['loss']:.3f}, right {numbers['accuracy']:.0%}"
        bar.update(jobs[member], completed=int(numbers["step"]), note=note)
        lines.write(int(numbers["step"]), {"member": member, **numbers})

    return watch


def _say(text: str) -> None:
    console.print(f"[dim]{escape(text)} ...[/]")


def _announce(options: Train, found: Preferences, given: int, kept: int, folder: Path) -> None:
    what = f"LoRA of rank {options.lora_rank}" if options.lora_rank else "all weights"
    members = f" · {options.members} members" if options.members > 1 else ""
    console.print(f"[bold]reward model[/] · {escape(options.model)} · {what}{members}", highlight=False)
    console.print(f"{given} comparisons, {kept} held out, seed {options.seed} -> {folder}", highlight=False)
    if found.bare:
        console.print(
            f"[yellow]no dialogues, learned as they stand: {found.bare} of the comparisons. As a reward "
            "the model reads prompt and answer as a dialogue: give the rows a prompt (docs/rewards.md).[/]"
        )


def _conclude(options: Train, trained: Trained, excluded: Counter[str], folder: Path, seconds: float) -> None:
    excluded = excluded + trained.excluded
    settings = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(options).items()}
    report.write(folder, trained, excluded, seconds, settings)
    for section in report.of_training(trained):
        console.print(report.on_screen(section))
    if excluded:
        console.print(f"left out: {report.listed(excluded)}", highlight=False)
    status = "finished" if trained.finished else "stopped early"
    console.print(f"{status}, {seconds:.0f} s in all", highlight=False)
    console.print(f"report   {folder / 'report.md'}", highlight=False)
    console.print(f"use it   groupwise train prompts.jsonl --reward {folder}", highlight=False)
