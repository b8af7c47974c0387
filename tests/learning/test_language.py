"""A small language model learns by rewards alone, from chance; and learns nothing where there is nothing."""

from __future__ import annotations

import contextlib
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import tiny_folder
from groupwise.config import build
from groupwise.settings import Settings
from groupwise.trainer import evaluate, train

DIGITS = "0123456789"
REWARDS = '''
import hashlib

def copied(completions, answer, **columns):
    """1 for the digit that the prompt names."""
    return [float(c[:1] == a) for c, a in zip(completions, answer)]

def constant(completions, **columns):
    return [0.5] * len(completions)

def noise(prompts, completions, trainer_state, **columns):
    """A coin for every answer, whatever it says."""
    place = trainer_state.global_step
    coins = [hashlib.blake2b(f"{place} {i}".encode()).digest()[0] for i in range(len(completions))]
    return [float(coin % 2) for coin in coins]
'''


def world(folder: Path) -> Path:
    """A model of 0.02 M random parameters over 16 characters, and prompts such as `qzx7=`."""
    words = tiny_folder.tokenizer(DIGITS + "=xyz")
    model = tiny_folder.model(len(words), hidden=48)
    assert model.num_parameters() < 300_000
    model.save_pretrained(folder / "model")
    words.save_pretrained(folder / "model")
    chance = random.Random(0)
    rows = [
        {"prompt": "".join(chance.choice("xyz") for _ in range(i % 4)) + f"{i % 10}=", "answer": str(i % 10)}
        for i in range(300)
    ]
    for name, part in (("train.jsonl", rows[:200]), ("held.jsonl", distinct(rows))):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in part))
    (folder / "rewards.py").write_text(REWARDS)
    return folder


def distinct(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Prompts of the later rows, each once: ten digits in several dresses."""
    return list({row["prompt"]: row for row in rows[200:]}.values())


def taught(folder: Path, reward: str, **settings: Any) -> Any:
    """(the run, trained; its state; its weights before)"""
    options = {
        "task": str(folder / "train.jsonl"),
        "model": str(folder / "model"),
        "held_out_file": str(folder / "held.jsonl"),
        "reward": (f"{folder / 'rewards.py'}:{reward}",),
        "steps": 120, "prompts": 10, "group_size": 16, "max_new_tokens": 1, "learning_rate": 5e-3,
        "device": "cpu", "dtype": "float32", **settings,
    }  # fmt: skip
    (folder / "out").mkdir()
    built = build(Settings(**options), folder / "out", Console(file=io.StringIO()), lambda: False)
    run = built.run
    before = [w.detach().clone() for w in run.learner.masters.weights.values()]
    with contextlib.closing(built.journal):
        state = train(run)
    return run, state, before


def copying(folder: Path, run: Any) -> float:
    """The share of held-out prompts whose digit is copied, whatever the run was rewarded for."""
    answers = evaluate(run.sampler, run.score, run.task, 100).answers
    return sum(a["text"][:1] == a["columns"]["answer"] for a in answers) / len(answers)


@pytest.mark.learning
@pytest.mark.slow
def test_a_random_model_learns_to_copy_by_reward_alone(tmp_path: Path) -> None:
    """From near chance to over nine in ten of prompts, some of which it never saw."""
    run, state, _ = taught(world(tmp_path), "copied")
    assert state.before["copied"] <= 0.25
    assert copying(tmp_path, run) > 0.9


@pytest.mark.learning
@pytest.mark.slow
def test_nothing_is_learnt_from_a_constant_reward(tmp_path: Path) -> None:
    """Not one bit of one weight changes."""
    run, _, before = taught(world(tmp_path), "constant", steps=10)
    after = run.learner.masters.weights.values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.learning
@pytest.mark.slow
def test_nothing_is_learnt_from_noise(tmp_path: Path) -> None:
    """The weights move, and the task stays as it was: what the first test shows is no artefact."""
    run, _, before = taught(world(tmp_path), "noise")
    after = run.learner.masters.weights.values()
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert copying(tmp_path, run) <= 0.3
