"""Every named recipe trains: three steps of a tiny language model, in this process."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import tiny_folder
from groupwise.config import build
from groupwise.recipes import RECIPES
from groupwise.settings import Settings
from groupwise.trainer import train

REWARD = '''
def varied(completions, **columns):
    """Right or wrong as if by a coin: something to learn from even for a random model."""
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [float(sum(map(ord, text)) % 3 == 0) for text in texts]
'''
STEPS = 3


@pytest.fixture(autouse=True)
def _float32() -> None:
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    tiny_folder.save(folder / "model")
    (folder / "reward.py").write_text(REWARD)
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()][1:]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_three_steps(world: Path, name: str) -> None:
    """By name alone, and the weights move in each; what it measures is in the metrics."""
    settings = Settings(
        task="arithmetic", model=str(world / "model"), reward=(f"{world / 'reward.py'}:varied",),
        recipe=name, steps=STEPS, prompts=2, group_size=8, held_out=1, learning_rate=1e-3,
        max_new_tokens=60 if RECIPES[name].keep else 12, warmup_steps=0, device="cpu", dtype="float32", check_memory=False, save_every=9,
    )  # fmt: skip
    folder = world / name
    folder.mkdir()
    built = build(settings, folder, Console(file=io.StringIO()), lambda: False)
    run = built.run
    before = [p.detach().clone() for p in run.policy.module.parameters()]
    with contextlib.closing(built.journal):
        assert train(run).step == STEPS
    rows, recipe = rows_of(folder), RECIPES[name]
    assert [row["grad_norm"] > 0 for row in rows] == [True] * STEPS
    assert any(not torch.equal(a, b) for a, b in zip(before, run.policy.module.parameters(), strict=True))
    assert ("kl" in rows[0]) == recipe.needs_reference
    assert ("correction" in rows[0]) == (recipe.correction is not None)
    assert ("left_out/stale" in rows[0]) == (recipe.staleness is not None)
