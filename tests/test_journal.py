"""A run is written down so that it can go on from any state, and shown in a table that fits the screen."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from groupwise.checkpoints import State
from groupwise.journal import COLUMNS, HEADING_EVERY, RunJournal
from groupwise.rewards.guard import Action, Alarm, Verdict
from groupwise.tables import examples, scores
from groupwise.trainer import Evaluation
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

NUMBERS = {
    "reward": 0.5, "reward_std": 0.25, "frac_reward_zero_std": 0.125, "completions/mean_length": 12.34,
    "completions/clipped_ratio": 0.5, "entropy": 1.2345, "kl": 0.00123, "clip_ratio/region_mean": 0.0123,
    "grad_norm": 0.4567, "tokens_per_second": 1234.5, "step_time": 1.25, "eval/correct": 0.75,
}  # fmt: skip
HUGE = {
    "reward": -500.0, "reward_std": 999.999, "frac_reward_zero_std": 1.0, "entropy": 11.999, "kl": 99.999,
    "completions/mean_length": 8192.0, "completions/clipped_ratio": 1.0, "clip_ratio/region_mean": 1.0,
    "grad_norm": 1234567.0, "tokens_per_second": 99999.0, "step_time": 9999.9, "eval/correct": -500.0,
}  # fmt: skip
"""As large as they get: Acrobot's worst return is -500."""


class Recorded:
    """A journal on a console of some width, and what it showed."""

    def __init__(self, folder: Path, width: int = 140) -> None:
        self.console = Console(width=width, record=True, file=io.StringIO())
        self.journal = RunJournal(folder, 10, "correct", self.console)

    def lines(self) -> list[str]:
        return [line for line in self.console.export_text(clear=False).splitlines() if line.strip()]


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text("utf-8").split("\n")[:-1]]


def cells(line: str) -> list[str]:
    at, found = 0, []
    for _, width, _, _ in COLUMNS:
        found.append(line[at : at + width])
        at += width
    return found


def test_decisions_a_second_are_called_what_they_are(tmp_path: Path) -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    journal = RunJournal(tmp_path, 10, "return", console, unit="step")
    journal.start(State(0))
    journal.step(1, NUMBERS)
    journal.close()
    heading = console.export_text().splitlines()[0].split()
    assert "step/s" in heading
    assert "tok/s" not in heading


@pytest.mark.parametrize("numbers", [NUMBERS, HUGE, {"step_time": 1.0}])
def test_a_line_fits_its_columns(tmp_path: Path, numbers: dict[str, float]) -> None:
    """Each number under its heading with a space before it, however large; an absent one leaves a gap."""
    shown = Recorded(tmp_path)
    shown.journal.start(State(0, before={"correct": 0.0}))
    shown.journal.step(123, numbers)
    shown.journal.close()
    heading, line = shown.lines()[:2]
    assert [cell.strip() for cell in cells(heading)] == [name for name, *_ in COLUMNS]
    assert len(line.rstrip()) <= sum(width for _, width, *_ in COLUMNS)
    found = {name: cell for (name, *_), cell in zip(COLUMNS, cells(line), strict=True)}
    assert all(cell.startswith(" ") or not cell for cell in found.values()), found
    assert found["step"].strip() == "123"
    assert (found["reward"].strip() == "") == ("reward" not in numbers)
    if numbers is NUMBERS:
        expected = ["123", "0.500", "0.250", "12%", "0.750", "12.3", "50%", "1.234", "0.001", "1.2%", "0.46"]
        assert [cell.strip() for cell in found.values()] == [*expected, "1234", "1.2"]


@pytest.mark.parametrize("width", [200, 100, 80, 60, 40])
def test_a_narrow_screen_leaves_columns_out_and_wraps_nothing(tmp_path: Path, width: int) -> None:
    """Step, reward, held-out score and time are there on any screen that holds them."""
    shown = Recorded(tmp_path, width)
    shown.journal.start(State(0, before={"correct": 0.0}))
    shown.journal.step(1, NUMBERS)
    shown.journal.close()
    heading, line, *rest = shown.lines()
    assert not rest
    assert max(len(heading), len(line)) < width
    assert {"step", "reward", "held-out", "seconds"} <= set(heading.split())
    assert ("clipped" in heading) == (width >= 100)


def test_the_heading_comes_again(tmp_path: Path) -> None:
    shown = Recorded(tmp_path)
    shown.journal.start(State(0, before={"correct": 0.0}))
    for step in range(1, HEADING_EVERY + 3):
        shown.journal.step(step, NUMBERS)
    shown.journal.close()
    assert sum("reward" in line for line in shown.lines()) == 2


def group(text: str = "said") -> Group:
    turn = Turn(np.arange(2), np.arange(3), np.zeros(3, dtype=np.float32))
    return Group(Prompt(0, "asked"), (Trajectory((turn,), PolicyTag(), StopReason.FINISHED, text, 1.0),))


def keep(journal: Any, upto: int, first: int = 1) -> None:
    for step in range(first, upto + 1):
        journal.samples(step, [group()])
        journal.evaluation(step, Evaluation({"correct": step / 10}, ()))
        journal.step(step, NUMBERS)


def test_a_journal_goes_on_from_a_state(tmp_path: Path) -> None:
    """What was written after it is dropped in every file, so that each step is there once."""
    first = RunJournal(tmp_path, 10, "correct", Console(quiet=True))
    first.start(State())
    first.evaluation(0, Evaluation({"correct": 0.0}, ({"text": "a\u2028b"},)))
    keep(first, 5)
    first.close()
    again = RunJournal(tmp_path, 10, "correct", Console(quiet=True))
    again.start(State(3, before={"correct": 0.0}))
    keep(again, 6, first=4)
    again.close()
    assert steps(tmp_path / "metrics.jsonl") == list(range(7))
    assert steps(tmp_path / "evaluations.jsonl") == list(range(7))
    assert steps(tmp_path / "samples.jsonl") == list(range(1, 7))


def test_a_journal_begun_before_any_state_begins_again(tmp_path: Path) -> None:
    """Killed before its first checkpoint, a run takes its first scores anew: they are there once."""
    for _ in range(2):
        journal = RunJournal(tmp_path, 10, "correct", Console(quiet=True))
        journal.start(State())
        journal.evaluation(0, Evaluation({"correct": 0.0}, ()))
        keep(journal, 2)
        journal.close()
    assert steps(tmp_path / "metrics.jsonl") == [0, 1, 2]
    assert steps(tmp_path / "evaluations.jsonl") == [0, 1, 2]


def test_a_journal_that_never_started_closes(tmp_path: Path) -> None:
    """A failure before the first line is not hidden by a second one."""
    RunJournal(tmp_path, 10, "correct", Console(quiet=True)).close()
    assert list(tmp_path.iterdir()) == []


def test_progress_before_any_time_has_passed(tmp_path: Path) -> None:
    journal = RunJournal(tmp_path, 10, "correct", Console(quiet=True))
    journal.start(State())
    report = journal.phase("writing answers")
    report(0, 8)
    report(8, 8)
    journal.close()


# ---------------------------------------------------------------------------- tables


def rendered(table: Any) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_scores_stand_side_by_side() -> None:
    """A score that was not taken before training has an empty cell."""
    text = rendered(scores({"examples": 7, "before": {"a": 0.125}, "after": {"a": 0.5, "b": 1.0}}))
    rows = [[c.strip() for c in line.strip("│ ").split("│")] for line in text.splitlines() if "│" in line]
    assert rows == [["a", "0.125", "0.500"], ["b", "", "1.000"]]
    assert "7 examples" in text


def test_answers_show_markup_as_it_stands_and_are_cut() -> None:
    """Brackets in a model's text are text; the last message is what was asked; long text ends in dots."""
    rows = [
        {
            "prompt": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "ask [red]"}],
            "before": "[/bold]\n\nno",
            "after": "x" * 100,
            "reward_after": None,
            "right": False,
        },
        {"prompt": "text", "before": "", "after": "yes", "reward_after": 1.0, "right": True},
    ]
    text = rendered(examples(rows))
    assert "ask [red]" in text
    assert "be brief" not in text
    assert "[/bold] no" in text
    assert "x" * 39 + "…" in text
    assert "x" * 40 not in text


def test_a_long_prompt_shows_its_question_and_the_begun_answer() -> None:
    """Of a passage and a question the end tells more than the beginning; "Answer:" alone tells nothing."""
    passage = "A passage of many words. " * 20 + "Who wrote it?"
    asked = [{"role": "user", "content": passage}, {"role": "assistant", "content": "Answer:"}]
    text = rendered(examples([{"prompt": asked, "before": "a", "after": "b", "right": True}]))
    assert "Who wrote it? → Answer:" in text


# ---------------------------------------------------------------------------- alarms


def test_an_alarm_is_told_once_with_its_answers_and_once_when_it_is_over(tmp_path: Path) -> None:
    """Brackets in a sentence are text; what shows it is a line as in samples.jsonl."""
    shown = Recorded(tmp_path, width=60)
    shown.journal.start(State())
    alarm = Alarm("length", "answers grew [/bold] " + "and grew " * 20, "g", ((1, 0),))
    shown.journal.verdict(3, Verdict(raised=((alarm, Action.STOP),)), [group("a"), group("b")])
    shown.journal.verdict(4, Verdict(), [group("a")])
    shown.journal.verdict(9, Verdict(over=(("length/g", 3),)), [group("a")])
    shown.journal.close()
    first, last = (json.loads(line) for line in (tmp_path / "alarms.jsonl").read_text().splitlines())
    assert [s.pop("text") for s in first.pop("samples")] == ["b"]
    assert first == {"step": 3, "alarm": "length/g", "action": "stop", "message": alarm.message}
    assert last == {"step": 9, "alarm": "length/g", "since": 3, "over": True}
    told = shown.lines()
    assert len(told) == 2
    assert told[0].startswith("alarm at step 3, length/g: answers grew [/bold] and grew")
    assert told[1] == "alarm at step 9, length/g is over (since step 3)"


def test_alarms_are_rewound_with_the_rest(tmp_path: Path) -> None:
    """A resumed run raises them again: kept, they would be there twice."""
    for steps_done in (0, 2):
        journal = RunJournal(tmp_path, 10, "correct", Console(quiet=True))
        journal.start(State(steps_done, before={"correct": 0.0}))
        for step in range(steps_done + 1, 5):
            journal.verdict(step, Verdict(raised=((Alarm("a", "m"), Action.FLAG),)), [group()])
        journal.close()
    assert steps(tmp_path / "alarms.jsonl") == [1, 2, 3, 4]
