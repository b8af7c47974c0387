"""Runs with seats: from settings to metrics, resumed exactly, and what is refused before any long work."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import tiny_folder
from groupwise import runs, trainer
from groupwise.advantages import importance_weighted, stratified
from groupwise.checkpoints import State
from groupwise.config import build, outlook, recipe_of
from groupwise.losses import both
from groupwise.mixed import MixedSampler
from groupwise.models import ModelError
from groupwise.recipes import DAPO, MIXED, RECIPES
from groupwise.rollouts import TextSampler
from groupwise.settings import ConfigError, Settings, completed

REWARD = """
def digits(completions, **columns):
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [sum(x.isdigit() for x in text) / 8 + len(set(text)) / 100 for text in texts]
"""
SMALL: dict[str, Any] = {
    "task": "arithmetic", "steps": 6, "prompts": 3, "held_out": 4, "evaluate_every": 3, "save_every": 2,
    "max_new_tokens": 6, "learning_rate": 1e-2, "device": "cpu", "dtype": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seating")
    tiny_folder.save(folder / "model")
    tiny_folder.save(folder / "other", seed=4)
    (folder / "reward.py").write_text(REWARD)
    return folder


def settings(world: Path, **more: Any) -> Settings:
    reward = (f"{world / 'reward.py'}:digits",)
    return Settings(**{**SMALL, "model": str(world / "model"), "reward": reward, **more})


def run(s: Settings, folder: Path, stop_after: int | None = None) -> tuple[State, str]:
    """Train from where the folder stands; (the state, what was said)."""
    said = io.StringIO()
    folder.mkdir(exist_ok=True)
    if not (folder / "run.json").exists():
        runs.begin(folder, s)
    steps = iter(range(1, 100))
    built = build(s, folder, Console(file=said, width=1000), lambda: next(steps) == stop_after)
    with contextlib.closing(built.journal):
        return trainer.train(built.run), said.getvalue()


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("step_time", "tokens_per_second", "peak_memory_gib")
    return [{k: v for k, v in r.items() if k not in timed and not k.startswith("time/")} for r in rows]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = max((folder / "checkpoints").iterdir(), key=lambda p: int(p.name))
    return load_file(newest / "weights.safetensors")


# ---------------------------------------------------------------------------- whole runs


def test_a_run_whose_groups_are_shared_with_its_past_and_another_model(world: Path, tmp_path: Path) -> None:
    other = str(world / "other")
    s = settings(world, seats=f"current:2,latest-1:2,best:2,{other}:2", group_size=8)
    _, said = run(s, tmp_path / "run")
    rows = {row["step"]: row for row in metrics_of(tmp_path / "run")}
    counts = [
        {name: rows[step].get(f"sources/{name}/count", 0) for name in ("current", "latest-1", "best", other)}
        for step in range(1, 7)
    ]
    # the second checkpoint is that of step 4; held-out scores are first taken after step 3, and are the best
    assert [c["latest-1"] for c in counts] == [0, 0, 0, 0, 6, 6]
    assert [c["best"] for c in counts] == [0, 0, 0, 6, 6, 6]
    assert [c[other] for c in counts] == [6] * 6
    assert [sum(c.values()) for c in counts] == [24] * 6
    assert said.count("there is no latest-1 yet") == said.count("there is no best yet") == 1
    assert all("correction" in rows[step] for step in range(1, 7))
    named = ("count", "reward", "advantage", "log_weight", "ess")
    assert all(f"sources/{other}/{what}" in rows[step] for step in range(1, 7) for what in named)
    lines = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    versions = {(x["step"], x["policy"]["version"]) for x in lines if x["policy"]["name"] == "latest-1"}
    assert versions == {(5, 2), (6, 2)}


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # from within peft
def test_a_run_that_was_stopped_and_resumed_ends_as_one_that_was_not(
    world: Path, tmp_path: Path, lora: int
) -> None:
    """The checkpoint that stopping writes is none that `latest` counts, and pushes out none that it needs."""
    s = settings(world, seats="current:2,latest-1:2", lora_rank=lora, keep=1, prompts=1, held_out=1)
    run(s, tmp_path / "whole")
    for stop in (5, None):
        run(s, tmp_path / "parts", stop)
    assert metrics_of(tmp_path / "parts") == metrics_of(tmp_path / "whole")
    for name in ("samples.jsonl", "evaluations.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    ours, theirs = weights(tmp_path / "parts"), weights(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_the_sampler_remembers_is_in_the_checkpoint(world: Path, tmp_path: Path) -> None:
    other = str(world / "other")
    s = settings(world, seats=f"current:2,{other}:2", steps=4, prompts=1, held_out=1)
    state, _ = run(s, tmp_path / "whole")
    assert len(state.sampler["sums"][other]) == 4
    for stop in (3, None):
        parts, _ = run(s, tmp_path / "parts", stop)
    assert parts.sampler == state.sampler


def test_without_seats_nothing_is_mixed(world: Path, tmp_path: Path) -> None:
    built = build(settings(world, group_size=2), tmp_path, Console(quiet=True), lambda: False)
    assert isinstance(built.run.sampler, TextSampler)
    assert built.run.recipe.correction is None


def test_a_run_with_seats_is_evaluated_without_loading_the_others(world: Path, tmp_path: Path) -> None:
    s = settings(world, seats=f"current:2,{world / 'gone'}:2")
    built = build(s, tmp_path, Console(quiet=True), lambda: False, trains=False)
    assert isinstance(built.run.sampler, TextSampler)


# ---------------------------------------------------------------------------- settings


def test_seats_fill_in_group_size_and_recipe() -> None:
    full = completed(Settings(seats="current:5,best:2"))
    assert (full.group_size, full.recipe) == (7, "mixed")
    assert completed(full) == full
    assert recipe_of(full) == MIXED
    assert MIXED.advantage is stratified


def test_a_recipe_without_a_correction_gets_one_with_seats_alone() -> None:
    assert recipe_of(Settings(recipe="dapo")) == DAPO
    assert recipe_of(Settings(recipe="dapo", seats="current:2")).correction == MIXED.correction
    for name in ("topr", "vespo", "luffy", "asymre", "tis"):  # made for such answers: their own way stays
        assert recipe_of(Settings(recipe=name, seats="current:2")) == RECIPES[name]


def test_a_mask_is_no_importance_weight() -> None:
    """DeepSeek-V3.2's alone would take a teacher's good answers for the policy's own."""
    recipe = recipe_of(Settings(recipe="deepseek_v3_2", seats="current:2"))
    assert MIXED.correction is not None
    assert recipe.correction == both(RECIPES["deepseek_v3_2"].correction, MIXED.correction)


def test_a_baseline_that_is_biased_is_allowed_and_said(world: Path, tmp_path: Path) -> None:
    said = io.StringIO()

    def building(**more: Any) -> str:
        s = settings(world, seats="current:2,best:2", **more)
        assert isinstance(
            build(s, tmp_path, Console(file=said, width=1000), lambda: False).run.sampler, MixedSampler
        )
        return said.getvalue()

    assert "turns the gradient" not in building()
    assert "turns the gradient" not in building(recipe="dapo", ratios="per_source")
    assert "--seats with --recipe dapo: its baseline" in building(recipe="dapo")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"seats": "current:two"}, "is not SOURCE:COUNT"),
        ({"seats": "current:4,best:2", "group_size": 8}, r"4 \+ 2 = 6, and --group-size is 8"),
        ({"seats": "current:4,best:1"}, "best has one seat, .*importance_weighted"),
        ({"seats": "current:1,best:2"}, "current has one seat"),
        ({"seats": "current:2", "ratios": "fair"}, "--ratios fair: one of balance, per_source, none"),
        ({"ratios": "none", "group_size": 2}, "--ratios none is for groups of several policies"),
        (
            {"seats": "current:2,best:2", "task": "gym:CartPole-v1", "reward": ()},
            "--seats: only for language",
        ),
        ({"kind": "level", "task": "gym:CartPole-v1", "reward": ()}, "--kind: only for language"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_read(
    tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    s = Settings(**{**SMALL, "model": str(tmp_path / "none"), **more})
    with pytest.raises(ValueError, match=words):
        build(s, tmp_path, Console(quiet=True), lambda: False)


def test_a_single_seat_is_fine_with_a_baseline_that_needs_no_sibling(world: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nfrom groupwise.advantages import importance_weighted\n"
        "from groupwise.recipes import MIXED\nMINE = replace(MIXED, advantage=importance_weighted)\n"
    )
    s = settings(world, seats="current:1,best:1", recipe=f"{tmp_path / 'mine.py'}:MINE")
    built = build(s, tmp_path, Console(quiet=True), lambda: False)
    assert built.run.recipe.advantage is importance_weighted
    assert built.run.grouping.size == 2


def test_a_place_that_is_not_there_is_refused_before_the_run_begins(world: Path, tmp_path: Path) -> None:
    s = settings(world, seats=f"current:2,{world / 'gone'}:2")
    with pytest.raises((ConfigError, ModelError), match="gone"):
        build(s, tmp_path, Console(quiet=True), lambda: False)


# ---------------------------------------------------------------------------- plan


def test_the_plan_counts_the_other_policies(world: Path, tmp_path: Path) -> None:
    """A model and a moving checkpoint take a copy each; under LoRA the run's checkpoint is an adapter."""

    def others(**more: Any) -> int:
        return outlook(settings(world, **more), lambda _: None).work.others

    other = world / "other"
    size = sum(p.numel() for p in tiny_folder.model(len(tiny_folder.tokenizer())).parameters())
    assert others(group_size=4) == 0
    assert others(seats=f"current:2,{other}:2,best:2") == 2 * 4 * size
    assert others(seats=f"current:2,{other}:2,best:2", dtype="bfloat16") == 2 * 2 * size
    adapted = outlook(settings(world, group_size=4), lambda _: None).model.shape().adapted
    assert others(seats="current:2,best:2", lora_rank=3) == 3 * adapted * 4
