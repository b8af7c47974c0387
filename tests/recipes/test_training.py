"""Every named recipe trains: three steps of a tiny language model, in this process."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import tiny_folder
from groupwise import packing
from groupwise.config import build, recipe_of
from groupwise.recipes import RECIPES, Recipe
from groupwise.settings import ConfigError, Settings
from groupwise.trainer import Run, train

REWARD = '''
def coin(completions, **columns):
    """Right or wrong as if by a coin: something to learn from even for a random model."""
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [float(sum(map(ord, text)) % 3 == 0) for text in texts]
'''
MOVING = """
from dataclasses import replace

from groupwise.recipes import GRPO, AdaptiveKL, EntropyTarget, Refresh

MOVING = replace(
    GRPO, kl_control=AdaptiveKL(1e-3), entropy_control=EntropyTarget(9.0), refresh=Refresh(2, 0.6)
)
"""
CHARGED = """
from dataclasses import replace

from groupwise.recipes import RECIPES, AdaptiveKL

CHARGED = replace(RECIPES["rloo_kl"], reward_kl=0.1, kl_control=AdaptiveKL(1e-9, 2))
"""
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


def small(world: Path, recipe: str, **more: Any) -> Settings:
    chosen: dict[str, Any] = {
        "task": "arithmetic", "model": str(world / "model"), "reward": (f"{world / 'reward.py'}:coin",),
        "recipe": recipe, "steps": STEPS, "prompts": 3, "group_size": 8, "held_out": 1, "max_new_tokens": 12,
        "learning_rate": 1e-3, "warmup_steps": 0, "device": "cpu", "dtype": "float32", "check_memory": False,
        "save_every": 99,
    }  # fmt: skip
    return Settings(**{**chosen, **more})


def trained(folder: Path, settings: Settings) -> Run:
    folder.mkdir(exist_ok=True)
    built = build(settings, folder, Console(file=io.StringIO()), lambda: False)
    with contextlib.closing(built.journal):
        train(built.run)
    return built.run


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_three_steps(world: Path, name: str) -> None:
    """By name alone, and the weights move in each; what it measures is in the metrics."""
    recipe = RECIPES[name]
    length = 60 if recipe.keep else 12  # long enough for some to end by themselves
    trained(world / name, small(world, name, max_new_tokens=length))
    rows = rows_of(world / name)
    assert [row["grad_norm"] > 0 for row in rows] == [True] * STEPS
    assert ("kl" in rows[0]) == recipe.needs_reference
    assert ("correction" in rows[0]) == (recipe.correction is not None)
    assert ("left_out/stale" in rows[0]) == (recipe.staleness is not None)
    assert ("left_out/filtered" in rows[0]) == (recipe.keep is not None)


def test_a_run_that_moves_scales_and_reference_is_resumed_bit_for_bit(world: Path) -> None:
    """Through the whole of it: settings, checkpoint on disk, another process's worth of objects."""
    (world / "moving.py").write_text(MOVING)
    recipe = f"{world / 'moving.py'}:MOVING"
    trained(world / "whole", small(world, recipe, steps=4, decay_steps=0, save_every=2))
    for steps in (3, 4):
        trained(world / "halves", small(world, recipe, steps=steps, decay_steps=0, save_every=3))
    last = [world / name / "checkpoints" / "4" for name in ("whole", "halves")]
    for name in ("weights.safetensors", "optimizer.safetensors", "reference.safetensors", "scales.json"):
        one, other = ((folder / name).read_bytes() for folder in last)
        assert one == other, name


def test_the_reward_is_charged_at_the_scale_of_now(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its charge is put into the advantages before the learner is asked: at the scale of the beginning?"""
    (world / "charged.py").write_text(CHARGED)
    charged: list[float] = []
    pack = packing.pack

    def watched(cohort: Any, recipe: Recipe, *more: Any, **named: Any) -> Any:
        charged.append(recipe.reward_kl)
        return pack(cohort, recipe, *more, **named)

    monkeypatch.setattr(packing, "pack", watched)
    trained(world / "charged", small(world, f"{world / 'charged.py'}:CHARGED"))
    assert charged == pytest.approx([0.1, 0.09, 0.099]), "no divergence in the first step, much in the second"
    reported = [row["reward_kl"] for row in rows_of(world / "charged")]
    assert reported == pytest.approx(charged)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # from within peft
def test_a_reference_that_lora_does_not_have_cannot_be_moved(world: Path) -> None:
    (world / "moving.py").write_text(MOVING)
    settings = small(world, f"{world / 'moving.py'}:MOVING", lora_rank=2)
    with pytest.raises(ConfigError, match=r"--lora-rank 2 .*base model itself: set --lora-rank 0"):
        build(settings, world, Console(file=io.StringIO()), lambda: False)


@pytest.mark.parametrize("name", ["adaptive_kl", "prorl", "rloo_kl"])
def test_kl_scale_zero_drops_all_that_needs_a_reference(name: str) -> None:
    recipe = recipe_of(Settings(recipe=name, kl_scale=0.0))
    assert not recipe.needs_reference
    assert (recipe.kl_control, recipe.refresh) == (None, None)


def test_a_kl_scale_goes_where_the_recipe_has_its_divergence() -> None:
    assert recipe_of(Settings(recipe="rloo_kl", kl_scale=0.5)) == replace(RECIPES["rloo_kl"], reward_kl=0.5)
    assert recipe_of(Settings(recipe="grpo", kl_scale=0.5)) == replace(RECIPES["grpo"], kl_scale=0.5)
