"""Where a run is written down (files, trackers) and how a person watches it (a table and a bar)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from groupwise.checkpoints import State
from groupwise.metrics import JsonLines, Writer, rewind, sample_of, samples_of
from groupwise.rewards.guard import Verdict
from groupwise.rollouts import Progress as Report
from groupwise.trainer import Evaluation
from groupwise.trajectory import Group

FILES = ("metrics.jsonl", "samples.jsonl", "evaluations.jsonl", "alarms.jsonl")

COLUMNS = (
    # heading, width, name of the number, format; see FIRST_TO_GO for narrow screens
    ("step", 5, "step", "{:.0f}"),
    ("reward", 9, "reward", "{:.3f}"),
    ("± group", 8, "reward_std", "{:.3f}"),
    ("no signal", 10, "frac_reward_zero_std", "{:.0%}"),
    ("held-out", 9, "held-out", "{:.3f}"),
    ("length", 7, "completions/mean_length", "{:.1f}"),
    ("cut", 5, "completions/clipped_ratio", "{:.0%}"),
    ("entropy", 8, "entropy", "{:.3f}"),
    ("kl", 7, "kl", "{:.3f}"),
    ("clipped", 8, "clip_ratio/region_mean", "{:.1%}"),
    ("grad", 8, "grad_norm", "{:.2g}"),
    ("tok/s", 7, "tokens_per_second", "{:.0f}"),
    ("seconds", 8, "step_time", "{:.1f}"),
)
FIRST_TO_GO = ("clipped", "kl", "cut", "tok/s", "grad", "± group", "length", "entropy", "no signal")
"""Columns that a narrow screen leaves out, in this order."""
HEADING_EVERY = 25
"""Steps after which the table's heading is repeated."""


class RunJournal:
    """The files of a folder (`FILES`), further writers, and the console."""

    def __init__(
        self,
        folder: Path,
        steps: int,
        measure: str,
        console: Console,
        writers: Sequence[Writer] = (),
        unit: str = "tok",
    ) -> None:
        """`unit` is what a decision is called, in no more than four letters."""
        self._folder, self._steps, self._measure = folder, steps, measure
        self._writers, self._console, self._unit = writers, console, unit
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._files: list[JsonLines] = []
        self._lines = 0

    def start(self, state: State) -> None:
        started = state.step > 0 or state.before
        for name in FILES:
            written = state.step - (bool(state.owed) and name != "samples.jsonl")
            rewind(self._folder / name, written if started else -1)
        self._files = [JsonLines(self._folder / name) for name in FILES]
        self._metrics, self._samples, self._evaluations, self._alarms = self._files
        self._all = self._bar.add_task("steps", total=self._steps, completed=state.step, note="")
        self._now = self._bar.add_task("starting", total=None, note="")
        self._bar.start()

    def close(self) -> None:
        self._bar.stop()
        for writer in (*self._files, *self._writers):
            writer.close()

    def phase(self, name: str) -> Report:
        self._bar.reset(self._now, description=name, total=None, note="")
        started = time.perf_counter()

        def report(done: int, total: int) -> None:
            rate = done / max(time.perf_counter() - started, 1e-9)
            self._bar.update(self._now, completed=done, total=total, note=f"{rate:.1f}/s")

        return report

    def samples(self, step: int, cohort: Sequence[Group]) -> None:
        for line in samples_of(cohort):
            self._samples.write(step, line)

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        self._evaluations.write(step, {"scores": evaluation.scores, "answers": evaluation.answers})
        if step == 0:
            scores = {f"eval/{name}": value for name, value in evaluation.scores.items()}
            self._metrics.write(0, scores)
            self._line(0, scores)

    def verdict(self, step: int, verdict: Verdict, cohort: Sequence[Group]) -> None:
        """A line where an alarm is raised, with the answers that show it, and one where it is over."""
        for alarm, action in verdict.raised:
            line = {"alarm": alarm.key, "action": action, "message": alarm.message}
            samples = [sample_of(cohort[g], i) for g, i in alarm.offenders]
            self._alarms.write(step, {**line, "samples": samples})
            said = escape(f"{alarm.key}: {alarm.message}")
            self._console.print(f"[red]alarm[/] at step {step}, {said}", highlight=False, soft_wrap=True)
        for key, since in verdict.over:
            self._alarms.write(step, {"alarm": key, "since": since, "over": True})
            said = escape(f"{key} is over (since step {since})")
            self._console.print(f"[green]alarm[/] at step {step}, {said}", highlight=False, soft_wrap=True)

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        self._metrics.write(step, numbers)
        for writer in self._writers:
            writer.write(step, numbers)
        self._line(step, numbers)
        self._bar.update(self._all, completed=step, note=f"{numbers['step_time']:.1f} s/step")

    def _line(self, step: int, numbers: Mapping[str, float]) -> None:
        columns = _columns(self._console.width)
        if self._lines % HEADING_EVERY == 0:
            heads = [f"{head.replace('tok', self._unit):>{width}}" for head, width, _, _ in columns]
            self._console.print("".join(heads), style="bold")
        self._lines += 1
        known = {"step": step, "held-out": numbers.get(f"eval/{self._measure}"), **numbers}
        cells = [_cell(known.get(name), width, style) for _, width, name, style in columns]
        self._console.print("".join(cells), highlight=False)


def _columns(width: int) -> list[tuple[str, int, str, str]]:
    """The columns that fit into a screen of this width."""
    columns = list(COLUMNS)
    for name in FIRST_TO_GO:
        if sum(column[1] for column in columns) >= width:
            columns = [column for column in columns if column[0] != name]
    return columns


def _cell(value: float | None, width: int, style: str) -> str:
    return f"{'' if value is None else style.format(value):>{width}}"
