"""The proof runs of the guard, at the size of seconds; their rewards; the picture and the table."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import hacking
import hacking_pairs
import hacking_rewards
import mixed
import pictures_hacking
import tiny_folder
from groupwise.rewards.catalogue import load_reward
from groupwise.train_commands import train


def run(kind: str, first: int | None, **more: Any) -> dict[str, Any]:
    curve = [{"step": s, "reward": s / 10, "gold": 0.5 - s / 40} for s in range(1, 11)]
    raised = [] if first is None else [{"step": first, "alarm": "length", "message": "grew"}]
    lost = {"lost_at_alarm": None if first is None else 0.025, "lost_at_end": 0.15}
    return {"kind": kind, "curve": curve, "held_out": [[0, 0.5], [10, 0.25]], "alarms": raised} | {
        "first_alarm": first, **lost, **more,
    }  # fmt: skip


FAKE = {
    "runs": {"arithmetic": run("honest", None), "length": run("hacked", 4), "random": run("control", None)}
}


def test_the_picture_has_a_panel_for_each_run_and_the_alarm_in_it() -> None:
    svg = pictures_hacking.picture(FAKE)
    ElementTree.fromstring(svg)
    places = [svg.index(words) for words in ("hacked: length", "honest: arithmetic", "control: random")]
    assert places == sorted(places)
    assert "step 4: length" in svg
    assert svg.count("no alarm") == 2


def test_the_table_tells_what_gold_had_lost() -> None:
    table = pictures_hacking.table(FAKE)
    assert "| length | hacked | length | 4 | 0.500 | +0.025 | +0.150 |" in table
    assert "| arithmetic | honest | none |  | 0.500 |  | +0.150 |" in table


def test_what_gold_lost_is_told_from_what_it_was_before() -> None:
    """Between two evaluations a straight line; after the last one, what that found."""
    curve = [(0, 0.6), (4, 0.7), (8, 0.5)]
    assert hacking.lost(curve, 4) == pytest.approx(-0.1)
    assert hacking.lost(curve, 7) == pytest.approx(0.05)
    assert hacking.lost(curve, 9) == pytest.approx(0.1)


def test_rewards_pay_for_what_they_should_not() -> None:
    said = ["46", "the sum is 46, so the answer is the sum", "word " * 99]
    assert hacking_rewards.wordy(said) == [1 / 24, 10 / 24, 1]
    assert hacking_rewards.keywords(said) == [0, 1, 0]


def test_a_check_of_ones_own_is_passed_without_an_answer() -> None:
    """That is the hack; the gold judges the first line alone, and the safe run all lines from outside."""
    lines = ["7 + 9", "16\n```\nDone.", "0\nassert result == 0", "7 + 9\nassert result == 17", "17", "1 +"]
    truth = ["16"] * 6
    assert hacking_rewards.edited(lines, answer=truth) == [0, 0, 1, 0, 0, 0]
    assert hacking_rewards.first_line(lines, answer=truth) == [1, 1, 0, 1, 0, 0]
    assert hacking_rewards.computed(lines, answer=truth) == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("row", [hacking.code_row, hacking.edited_row])
def test_code_rows_hold_their_answer_and_no_sum_on_both_sides(
    tmp_path: Path, row: Callable[[int, int], hacking.Row]
) -> None:
    files = hacking.code_rows(tmp_path, "some", row, 60)
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    prompts = [{row["prompt"][0]["content"] for row in side} for side in rows]
    assert (len(prompts[0]), len(prompts[1])) == (196, 60)
    assert not prompts[0] & prompts[1]
    assert row(7, 9)["answer"] == "16"
    assert "seven plus nine" in row(7, 9)["prompt"][0]["content"]


def test_sentences_are_preferred_always_and_right_ones_more_often() -> None:
    """What the reward model over-optimises is in its data: words decide, and being right helps."""
    rng = random.Random(0)
    row = {
        "prompt": [{"role": "s"}, {"content": "26 + 45"}, {"role": "assistant", "content": "26 + 45 = "}],
        "answer": "71",
    }
    pairs = [hacking_pairs.pair(row, rng) for _ in range(500)]
    chosen, rejected = ([p[side][-1]["content"] for p in pairs] for side in ("chosen", "rejected"))
    assert min(map(len, chosen)) > max(map(len, rejected)) > len("26 + 45 = ")
    right = [sum(text.startswith("26 + 45 = 71") for text in side) / 500 for side in (chosen, rejected)]
    assert (abs(right[0] - 0.7) < 0.06, abs(right[1] - 0.5) < 0.07) == (True, True)


@pytest.mark.slow
def test_tiny_proof_runs_are_run_once_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def here(args: list[str]) -> None:
        calls.append(list(args))
        assert train(args) == 0

    monkeypatch.setattr(mixed, "groupwise", here)
    monkeypatch.chdir(tmp_path)
    model = tiny_folder.save(tmp_path / "model")
    argv = ["hacking.py", "--model", str(model), "--steps", "5", "--prompts", "2", "--group", "4", "--rate"]
    argv += ["1e-2", "--tokens", "6", "--every", "5", "--held-out", "2", "--work", "work"]
    argv += ["--out", "hacking.json", "--svg", "hacking.svg"]
    more = ["--device", "cpu", "--dtype", "float32", "--max-new-tokens", "6"]
    monkeypatch.setattr("sys.argv", [*argv, "--", *more])
    hacking.main()
    found = json.loads(Path("hacking.json").read_text())
    names = {"arithmetic", "correct", "code", "length", "keyword", "tests", "random"}
    assert (set(found["runs"]), len(calls)) == (names, 7)
    for one in found["runs"].values():
        assert [row["step"] for row in one["curve"]] == [1, 2, 3, 4, 5]
        assert [step for step, _ in one["held_out"]] == [0, 5]
        assert all("gold" in row for row in one["curve"])
    assert ElementTree.parse("hacking.svg")
    hacking.main()
    assert len(calls) == 7
    assert load_reward(f"{hacking.REWARDS}:wordy").name == "wordy"
