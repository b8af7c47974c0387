"""Settings: flags over a file over the task's defaults, and what is said when one of them cannot be."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import tiny_folder
from groupwise.advantages import gdpo
from groupwise.config import build, device_of, dtype_of, recipe_of
from groupwise.losses import k3
from groupwise.precision import best_device, best_dtype
from groupwise.recipes import DAPO, DR_GRPO, GRPO
from groupwise.settings import (
    ARITHMETIC,
    GROUNDED,
    GYM,
    LANGUAGE,
    ConfigError,
    Settings,
    completed,
    defaults_of,
    from_mapping,
    read_toml,
)
from groupwise.train_commands import _settings


def toml(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, "utf-8")
    return path


# ---------------------------------------------------------------------------- precedence


def test_flags_go_before_the_file_and_the_file_before_defaults(tmp_path: Path) -> None:
    path = toml(tmp_path, 'task = "gsm8k"\nsteps = 7\nlearning-rate = 1\nseed = 3\nreward = "a.py:f"\n')
    got = _settings(["--config", str(path), "--steps", "9", "--lr=0.5"])
    assert (got.task, got.steps, got.learning_rate, got.seed) == ("gsm8k", 9, 0.5, 3)
    assert got.reward == ("a.py:f",)
    assert got.prompts is None
    assert _settings(["--config", str(path), "--reward", "b.py:g"]).reward == ("b.py:g",)
    assert completed(got).prompts == LANGUAGE.prompts
    assert _settings([f"--config={path}", "arithmetic"]).task == "arithmetic"


def test_a_file_may_set_everything(tmp_path: Path) -> None:
    """Every name that a flag has, with the type that it has there."""
    values: dict[str, Any] = {
        f.name: {
            "task": "gsm8k",
            "recipe": "grpo",
            "seats": "current:2",
            "held_out_file": "x",
            "device": "cpu",
            "dtype": "float32",
            "train_on": "8",
            "guard": "stop",
            "opponents": "random:1",
        }.get(f.name, f.default)
        for f in dataclasses.fields(Settings)
    }
    values |= {name: 3 for name, value in values.items() if value is None}
    values |= {"config": "c", "out": "o", "resume": "r", "reward": ["a", "b"], "stop": "x"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    got = read_toml(toml(tmp_path, "\n".join(lines)))
    assert (got.reward, got.stop, got.out) == (("a", "b"), ("x",), Path("o"))
    assert all(getattr(got, f.name) is not None for f in dataclasses.fields(Settings))
    assert isinstance(got.learning_rate, float)


@pytest.mark.parametrize(
    ("task", "defaults"),
    [
        ("arithmetic", ARITHMETIC),
        ("arithmetic:digits=3", ARITHMETIC),
        ("grounded:my.jsonl,words=50", GROUNDED),
        ("gsm8k", LANGUAGE),
        ("arithmetic.jsonl", LANGUAGE),
        ("gym:CartPole-v1", GYM),
    ],
)
def test_a_task_fills_in_what_was_not_given(task: str, defaults: Any) -> None:
    assert defaults_of(task) is defaults
    full = completed(Settings(task=task, steps=3))
    assert full.steps == 3
    for field in dataclasses.fields(defaults):
        if field.name != "steps":
            assert getattr(full, field.name) == getattr(defaults, field.name)
    assert completed(full) == full


def test_zero_is_a_setting_and_not_a_missing_one() -> None:
    """A user's 0 is refused where 0 cannot be; it never turns into a default."""
    assert completed(Settings(steps=0, learning_rate=0.0)).steps == 0
    assert completed(Settings(steps=0, learning_rate=0.0)).learning_rate == 0.0


def test_what_run_json_keeps_comes_back() -> None:
    settings = completed(Settings(reward=("a.py:f", "b.py:g=2"), stop=("\n",), kl_scale=0.0))
    written = json.loads(json.dumps(dataclasses.asdict(settings)))
    assert from_mapping(written, "run.json") == settings


# ---------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepps = 3", ("run.toml", "'stepps'", "did you mean 'steps'")),
        ("zzz = 3", ("run.toml", "'zzz'", "learning_rate")),
        ("steps = 1.5", ("run.toml", "steps is 1.5", "int")),
        ('steps = "3"', ("run.toml", "steps is '3'", "int")),
        ("steps = true", ("run.toml", "steps is True", "int")),
        ("tensorboard = 1", ("run.toml", "tensorboard is 1", "bool")),
        ('learning_rate = "1e-5"', ("run.toml", "learning_rate is '1e-5'", "float")),
        ("seed = [1]", ("run.toml", "seed is [1]", "int")),
        ("model = 3", ("run.toml", "model is 3", "str")),
        ("stop = 5", ("run.toml", "stop is 5")),
        ("reward = [1]", ("run.toml", "reward is [1]")),
        ("out = 5", ("run.toml", "out is 5")),
        ("[train]\nsteps = 3", ("run.toml", "'train'")),
        ("steps = ?", ("run.toml", "not valid TOML", "line 1")),
        ("steps = 1\nsteps = 2", ("run.toml", "not valid TOML")),
    ],
)
def test_a_bad_file_is_named_with_the_setting(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        _settings(["--config", str(toml(tmp_path, text))])
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        read_toml(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match="directory"):
        read_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'task = "\xe9"')
    with pytest.raises(ConfigError, match=r"latin\.toml is not valid TOML"):
        read_toml(tmp_path / "latin.toml")


@pytest.mark.parametrize("wrong", [[], None, 3, "text"])
def test_settings_that_are_no_mapping_are_named(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"run\.json"):
        from_mapping(wrong, "run.json")


@pytest.mark.parametrize(("flag", "value"), [("--steps", "many"), ("--lr", "fast"), ("--seed", "1.5")])
def test_a_flag_of_another_type_ends_with_usage(
    flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        _settings([flag, value])
    assert end.value.code == 2
    assert value in "".join(capsys.readouterr())


# ---------------------------------------------------------------------------- what becomes of them


def test_a_recipe_takes_the_users_scales() -> None:
    """0 drops the divergence and its reference; a scale gives a recipe one that had none."""
    assert recipe_of(Settings(recipe="grpo")) is GRPO
    assert recipe_of(Settings(recipe="grpo", kl_scale=0.0)).needs_reference is False
    assert recipe_of(Settings(recipe="grpo", kl_scale=0.5)) == dataclasses.replace(GRPO, kl_scale=0.5)
    assert recipe_of(Settings(recipe="dapo", kl_scale=0.5)) == dataclasses.replace(DAPO, kl=k3, kl_scale=0.5)
    sharp = recipe_of(Settings(recipe="dr_grpo", entropy_scale=0.1))
    assert sharp == dataclasses.replace(DR_GRPO, entropy_scale=0.1)


def test_precision_is_what_was_asked_or_what_the_machine_has() -> None:
    assert dtype_of(Settings(dtype="float32")) is torch.float32
    assert dtype_of(Settings(dtype="bfloat16")) is torch.bfloat16
    assert dtype_of(Settings(device="cpu")) is best_dtype(torch.device("cpu"))
    assert device_of(Settings()) == best_device()
    assert device_of(Settings(device="cpu")) == torch.device("cpu")


def test_the_probe_asks_for_units_and_not_for_support(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every CPU "supports" bfloat16; it pays only where there are instructions for it."""
    for units, expected in (
        ({}, torch.float32),
        ({"avx512_f": True, "avx2": True}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda units=units: units)
        assert best_dtype(torch.device("cpu")) is expected


def built(folder: Path, **settings: Any) -> Any:
    console = Console(file=io.StringIO())
    defaults = {"task": "gym:CartPole-v1", "device": "cpu", "dtype": "float32"}
    return build(Settings(**{**defaults, **settings}), folder / "out", console, lambda: False)


def test_building_a_run_puts_every_setting_in_its_place(tmp_path: Path) -> None:
    """And writes nothing."""
    run = built(
        tmp_path, steps=3, prompts=5, group_size=6, learning_rate=0.25, warmup_steps=2, epochs=4,
        max_grad_norm=0.5, weight_decay=0.125, evaluate_every=7, save_every=9, held_out=11, seed=13,
        recipe="grpo", tokens_per_microbatch=17,
    ).run  # fmt: skip
    assert (run.schedule.steps, run.schedule.prompts, run.grouping.size, run.seed) == (3, 5, 6, 13)
    assert (run.schedule.evaluate_every, run.schedule.save_every, run.schedule.held_out) == (7, 9, 11)
    optimization = run.learner.optimization
    assert (optimization.learning_rate, optimization.warmup_steps, optimization.epochs) == (0.25, 2, 4)
    assert (optimization.max_grad_norm, optimization.weight_decay) == (0.5, 0.125)
    assert run.recipe == GRPO
    assert run.reference is not None
    assert run.tokens_per_microbatch == 17
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": 0.5}, "--temperature: only for language models, and gym:CartPole-v1 is an env"),
        ({"model": "m", "lora_rank": 4}, "--model, --lora-rank: only for language models"),
        ({"noise": 0.0}, "--noise 0.0: above 0"),
        ({"noise": 0.5, "bounds": "clip"}, "--bounds, --noise: only for actions that are real numbers"),
        ({"episode_steps": 0}, "--episode-steps 0: at least 1"),
        ({"task": "market:prices.csv", "episode_steps": 5}, "--episode-steps: prices have episodes of"),
    ],
)
def test_settings_that_a_world_has_no_use_for_are_refused(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Taken in silence, they would be believed to have had an effect."""
    with pytest.raises(ConfigError, match=re.escape(words)):
        built(tmp_path, **settings)


def test_a_language_run_has_its_sampling(tmp_path: Path) -> None:
    model = str(tiny_folder.save(tmp_path / "model"))
    options = {"task": "arithmetic", "model": model, "temperature": 0.7, "stop": ("\n",), "max_rows": 5}
    run = built(tmp_path, **options).run
    sampling = run.sampler.sampling
    assert (sampling.max_new_tokens, sampling.temperature) == (len("198") + 1, 0.7)
    assert (sampling.stop, sampling.max_rows) == (("\n",), 5)
    assert run.policy.temperature == 0.7
    assert run.reference is None
    assert run.task.measure == "correct"


def test_a_task_ends_answers_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    folder = tiny_folder.save(tmp_path / "model")
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | {"max_position_embeddings": 4096}))
    task = {"task": "grounded", "model": str(folder)}
    run = built(tmp_path, **task).run
    assert (run.sampler.sampling.stop, run.sampler.sampling.temperature) == (("\n",), 0.7)
    assert run.policy.temperature == 0.7
    run = built(tmp_path, **task, stop=(".",), temperature=0.9).run
    assert (run.sampler.sampling.stop, run.sampler.sampling.temperature) == ((".",), 0.9)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # from within peft
def test_bfloat16_keeps_float32_masters(tmp_path: Path) -> None:
    model = str(tiny_folder.save(tmp_path / "model"))
    learner = built(tmp_path, task="arithmetic", model=model, dtype="bfloat16").run.learner
    assert {w.dtype for w in learner.masters.weights.values()} == {torch.float32}
    assert {p.dtype for p in learner.policy.module.parameters()} == {torch.bfloat16}
    adapted = built(tmp_path, task="arithmetic", model=model, dtype="bfloat16", lora_rank=2).run.learner
    assert {w.dtype for w in adapted.masters.weights.values()} == {torch.float32}
    assert all("lora_" in name for name in adapted.masters.weights)


def test_gdpo_takes_the_weights_of_the_rewards_unless_it_has_its_own(tmp_path: Path) -> None:
    """They were given with the rewards, and then not used."""
    options = {"task": "arithmetic", "model": str(tiny_folder.save(tmp_path / "model"))}
    weights = {"correct": 1.0, "digits": 0.5, "alone": 0.2}
    assert built(tmp_path, **options, recipe="gdpo").run.recipe.advantage == gdpo(weights)
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nfrom groupwise import DAPO\nfrom groupwise.advantages import gdpo\n"
        "OWN = replace(DAPO, advantage=gdpo({'digits': 2.0}))\n"
    )
    own = built(tmp_path, **options, recipe=f"{tmp_path}/mine.py:OWN").run.recipe
    assert own.advantage == gdpo({"digits": 2.0})
