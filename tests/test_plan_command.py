"""`groupwise plan`, and the refusal of a run that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tiny_folder
from commands import Done, groupwise

TINY_MACHINE = """
import groupwise.hardware as hardware
hardware.room = lambda device: hardware.Room({available}, 2**34, 2**27)
"""
FAST = """
import groupwise.hardware as hardware
hardware.rates = lambda device, dtype: hardware.Rates(1e11, 1e10)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    tiny_folder.save(folder / "model")
    (folder / "reward.py").write_text("def score(completions, **k):\n    return [1.0] * len(completions)\n")
    rows = [{"prompt": "say " + "x" * i} for i in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


ROWS = ("rows.jsonl", "--reward", "reward.py:score", "--max-new-tokens", 8, "--held-out", 4)


def command(name: str, world: Path, *args: Any, before: str = "") -> Done:
    return groupwise(name, *map(str, args), "--model", "model", cwd=world, before=before)


def fits(world: Path, *args: Any, available: int = 2**33) -> Done:
    return command("plan", world, *args, before=FAST + TINY_MACHINE.format(available=available))


def files(world: Path) -> set[Path]:
    return {path for path in world.rglob("*") if "__pycache__" not in path.parts}


def test_a_plan_names_parts_peak_and_time(world: Path) -> None:
    before = files(world)
    done = fits(world, *ROWS, "--steps", 7)
    assert done.code == 0, done.said
    for word in ("weights", "optimizer", "keys and values", "activations", "logits", "process"):
        assert word in done.out
    assert "7 steps of 8 prompts x 8 answers of up to 8 tokens; prompts of up to 43" in done.out
    assert "of 8.0 GiB available (16.0 in all): fits" in done.out
    assert "a step (writing" in done.out
    assert "--lora-rank" not in done.out  # no advice where none is needed
    assert files(world) == before


def test_a_plan_counts_the_models_of_rewards(world: Path) -> None:
    assert "rewards' models" not in fits(world, *ROWS).out
    done = fits(world, *ROWS, "--reward", "fluency:model=0.1", "--gold", "relevance:model")
    assert done.code == 0, done.said
    assert "rewards' models" in done.out


LARGE = (
    *ROWS[:3], "--prompts", 32, "--group-size", 32, "--max-new-tokens", 100, "--held-out", 4,
    "--tokens-per-microbatch", 100_000,
)  # fmt: skip
"""Activations of 300 MB, of a model whose weights are 100 kB."""


def test_a_plan_that_does_not_fit_names_what_helps(world: Path) -> None:
    done = fits(world, *LARGE, available=2**28)
    assert done.code == 0, done.said
    assert "of 0.2 GiB available (16.0 in all): does not fit" in done.out
    helpful = [line for line in done.out.splitlines() if " saves " in line]
    assert len(helpful) == 3
    assert any("--tokens-per-microbatch 50000" in line for line in helpful)


def test_a_plan_makes_no_weights(world: Path) -> None:
    """Not one file of weights is opened."""
    guard = """
import sys
def audit(event, args):
    if event == "open" and str(args[0]).endswith(".safetensors"):
        raise AssertionError(args[0])
sys.addaudithook(audit)
"""
    done = command("plan", world, *ROWS, before=FAST + guard)
    assert done.code == 0, done.said


def test_a_plan_of_an_environment_is_a_sentence(world: Path) -> None:
    done = command("plan", world, "gym:CartPole-v1")
    assert done.code == 0, done.said
    assert "memory is no concern" in done.out


def test_a_mistake_in_a_plan_is_one_sentence(world: Path) -> None:
    command("plan", world, *ROWS, "--group-size", 1).sentence("group size 1")
    command("plan", world, "rows.jsonl").sentence("--reward my_reward.py:score")
    groupwise("plan", "--model", "./nowhere", cwd=world).sentence("no model at './nowhere'")


LOADING = """
import groupwise.config as config
def load(*args, **kwargs):
    raise AssertionError("the weights were loaded")
config.load = load
"""


def test_a_run_that_cannot_fit_is_refused_before_its_weights_are_loaded(world: Path) -> None:
    before = files(world)
    machine = LOADING + TINY_MACHINE.format(available=2**28)
    said = command("train", world, *LARGE, before=machine).sentence(
        "needs about 0.", "0.2 GiB are available", "What helps most: --",
        "--tokens-per-microbatch 50000 (saves", "groupwise plan", "--no-check-memory",
    )  # fmt: skip
    assert said.count("(saves") == 3
    assert files(world) == before


def test_a_person_may_know_better(world: Path, tmp_path: Path) -> None:
    machine = TINY_MACHINE.format(available=2**20)
    small = ("--steps", 1, "--prompts", 1, "--group-size", 2, "--out", tmp_path / "run")
    done = command("train", world, *ROWS, *small, "--no-check-memory", before=machine)
    assert done.code == 0, done.said
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["config"]["check_memory"] is False


def test_a_budget_below_a_sequence_is_refused_before_the_weights_are_loaded(world: Path) -> None:
    said = command("train", world, *ROWS, "--tokens-per-microbatch", 50, before=LOADING)
    said.sentence("has 43 tokens", "up to 51", "holds 50", "Raise --tokens-per-microbatch")
    said = command("plan", world, *ROWS, "--tokens-per-microbatch", 50)
    said.sentence("has 43 tokens", "up to 51", "holds 50", "Raise --tokens-per-microbatch")
