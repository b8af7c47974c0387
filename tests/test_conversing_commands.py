"""Conversations from the command line: trained, evaluated, shown, talked to, refused in a sentence."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import pytest

import tiny_folder
from commands import groupwise, lines

DOOR = '''
class Door:
    """Worth a point for every digit; closed for seed 1 in 3; opens after two messages."""
    def reset(self, row):
        self.turn, self.seed = 0, row["seed"]
        return "in?"

    def step(self, message):
        self.turn += 1
        if self.seed % 3 == 1 and self.turn == 2:
            raise OSError("it is locked")
        return "no", float(sum(x.isdigit() for x in message)), self.turn == 2

class Long(Door):
    def reset(self, row):
        return "in? " * 99
'''
COMMON = (
    "--steps", "2", "--prompts", "3", "--group-size", "3", "--held-out", "3", "--max-new-tokens", "30",
    *(word for letter in "aeiouAEIOU" for word in ("--stop", letter)),
)  # fmt: skip
KEPT: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def world() -> Path:
    """A folder with a run of conversations."""
    folder = tempfile.TemporaryDirectory(prefix="doors-")
    KEPT.append(folder)
    here = Path(folder.name)
    (here / "door.py").write_text(DOOR)
    tiny_folder.save(here / "model")
    done = groupwise("train", "env:door.py:Door", "--model", "model", *COMMON, "--out", "run", cwd=here)
    assert done.code == 0, done.said
    return here


def test_a_run_of_conversations_has_its_numbers() -> None:
    first, second = lines(world() / "run" / "metrics.jsonl")[1:]
    assert {"rewards/return/mean", "completions/mean_turns", "stopped/error"} <= {*first, *second}
    result = json.loads((world() / "run" / "result.json").read_text())["held_out"]
    assert "return" in result["after"]
    assert (world() / "run" / "model" / "config.json").exists()


def test_a_run_of_conversations_is_evaluated() -> None:
    whole = groupwise("eval", "run", "--examples", "3", cwd=world())
    assert whole.code == 0, whole.said
    after = json.loads((world() / "run" / "result.json").read_text())["held_out"]["after"]["return"]
    assert f"{after:.3f}" in whole.out
    assert groupwise("eval", "run/checkpoints/2", "--examples", "3", cwd=world()).code == 0
    model = groupwise("eval", "model", "--task", "env:door.py:Door", "--examples", "3", cwd=world())
    assert "return" in model.out, model.said


@pytest.mark.parametrize("args", [(), ("--stochastic",)])
def test_held_out_conversations_are_shown_as_text(args: tuple[str, ...]) -> None:
    done = groupwise("play", "run", "--episodes", "3", *args, cwd=world())
    assert done.code == 0, done.said
    assert done.out.count("conversation ") == done.out.count("user: in?") == 3
    assert done.out.count("assistant: ") > 3
    assert (
        done.out.count(", it ended") + done.out.count("cut by --max-new-tokens") + done.out.count("locked")
        > 2
    )
    assert "reward " in done.out
    assert "(return " in done.out
    groupwise("play", "run", "--gif", "x.gif", cwd=world()).sentence("a conversation is shown as text")


def test_a_run_of_conversations_is_talked_to() -> None:
    done = groupwise("chat", "run", "--max-new-tokens", "4", cwd=world(), typed="hello\nand\n")
    assert done.code == 0, done.said
    assert done.out.count("it   ") == 2


def test_an_opening_longer_than_the_context_is_one_sentence() -> None:
    args = ("train", "env:door.py:Long", "--model", "model", *COMMON, "--out", "long")
    groupwise(*args, cwd=world()).sentence("398 tokens", "reads 160", "lower --max-new-tokens")
    tight = groupwise(*args[:1], "env:door.py:Door", *args[2:], "--max-context", "20", cwd=world())
    tight.sentence("a conversation may have 20", "Raise --max-context or lower --max-new-tokens")
    assert "'role'" not in tight.said


def test_tools_of_a_built_in_task_that_do_not_fit_are_one_sentence() -> None:
    args = ("train", "calculator", "--model", "model", *COMMON, "--out", "calc")
    groupwise(*args, cwd=world()).sentence("tokens", "reads 160")
