"""groupwise reward eval | score: what a reward model makes of other preferences, and of single answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from groupwise.config import device_of
from groupwise.preferences import report
from groupwise.preferences.comparisons import drawn, read
from groupwise.preferences.training import measured_on
from groupwise.reward_models.ensemble import opened
from groupwise.settings import ConfigError, Settings

console = Console()


@dataclass(frozen=True)
class Eval:
    """Accuracy, calibration and length bias of a reward model on other preferences."""

    folder: Positional[Path]
    """What `groupwise reward train` wrote."""
    pairs: Positional[str]
    """FILE or OWNER/DATASET, as for training."""
    limit: int | None = None
    """Use so many comparisons, drawn by chance."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""


def evaluate(args: Sequence[str]) -> int:
    options = tyro.cli(Eval, args=list(args), prog="groupwise reward eval")
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit {options.limit}: 1 or more")
    used = read(options.pairs).comparisons
    if options.limit is not None:
        used = drawn(used, options.limit, seed=0)
    with console.status("judging"):
        ensemble = opened(options.folder, device_of(replace(Settings(), device=options.device)))
        measured, n = measured_on(ensemble, used)
    for section in report.sections(measured):
        console.print(report.on_screen(section))
    if n < len(used):
        console.print(f"left out: {len(used) - n} that are equal in what the model reads")
    return 0


@dataclass(frozen=True)
class Score:
    """What a reward model says of answers to a prompt: try how it can be gamed."""

    folder: Positional[Path]
    """What `groupwise reward train` wrote."""
    prompt: Positional[str]
    """What was asked."""
    answers: Positional[tuple[str, ...]]
    """Answers to it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""


def score(args: Sequence[str]) -> int:
    options = tyro.cli(Score, args=list(args), prog="groupwise reward score")
    if not options.answers:
        raise ConfigError('give an answer or more: groupwise reward score FOLDER "Hi" "Hello!" "Go away."')
    with console.status("judging"):
        ensemble = opened(options.folder, device_of(replace(Settings(), device=options.device)))
        found = ensemble.judge([(options.prompt, answer) for answer in options.answers])
    table = Table()
    for name in ("score", "± members", "answer"):
        table.add_column(name, justify="left" if name == "answer" else "right")
    for i in (-found.value).argsort(kind="stable"):
        spread = f"{found.disagreement[i]:.2f}" if len(ensemble.members) > 1 else ""
        table.add_row(f"{found.value[i]:+.2f}", spread, escape(options.answers[i]))
    console.print(table)
    return 0
