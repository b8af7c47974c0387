"""The settings of bench/conversations.py are the command's, and figures of other settings are refused."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

import conversations
from groupwise.settings import Settings, completed

DRAWN = {"reward": 0.5, "rewards/called/mean": 1.0, "groups/answers": 16.0, "completions/mean_turns": 1.5}
JUDGED = {"eval/reward": 1.0, "eval/called": 1.0}
ON_THE_WAY = [
    {"step": 0, **JUDGED, "eval/correct": 0.25},
    {"step": 1, **DRAWN, "rewards/correct/mean": 0.5},
    {"step": 2, **DRAWN, "rewards/correct/mean": 0.75, **JUDGED, "eval/correct": 1.0},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    setup = conversations.SETUPS["calculator"]
    config = {"task": setup.task, "seed": 1, **setup.settings}
    (tmp_path / "run.json").write_text(json.dumps({"config": config}))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ON_THE_WAY))
    (tmp_path / "result.json").write_text(json.dumps({"train_seconds": 7.5}))
    return tmp_path


@pytest.mark.parametrize("name", conversations.SETUPS)
def test_flags_are_those_of_the_command(name: str, tmp_path: Path) -> None:
    setup = conversations.SETUPS[name]
    words = conversations.flags(setup, 2, tmp_path)
    assert words[:3] == [setup.task, "--seed", "2"]
    named = {word[2:].replace("-", "_") for word in words if word.startswith("--")}
    assert named - {"out"} <= {field.name for field in fields(Settings)}
    completed(Settings(task=setup.task, **setup.settings))


def test_a_folder_is_read_and_told_as_a_table(folder: Path) -> None:
    run = conversations.figures("calculator", 1, folder)
    assert run["steps"] == [0, 2]
    assert run["scores"]["correct"] == [0.25, 1.0]
    assert run["drawn"]["correct"] == [0.5, 0.75]
    assert (run["conversations"], run["seconds"]) == (32, 7.5)
    assert "| calculator | correct | 0.25 | 1.00 | 1.00 | 32 |" in conversations.table([run])


def test_a_run_with_other_settings_is_refused(folder: Path) -> None:
    with pytest.raises(SystemExit, match="seed is 1, and 2 is wanted"):
        conversations.figures("calculator", 2, folder)
