"""groupwise reward: from pairs to a folder, from the folder to a GRPO run; what bad input is told."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

import preferred
from commands import Done, groupwise, lines, start
from groupwise import runs

SMALL: tuple[Any, ...] = ("--model", "model", "--batch", 8, "--lr", 5e-3, "--held-out", 20)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return preferred.save(tmp_path_factory.mktemp("models") / "words")


@pytest.fixture
def world(tmp_path: Path, model: Path) -> Path:
    (tmp_path / "model").symlink_to(model)
    preferred.write(tmp_path / "pairs.jsonl", preferred.pairs(80))
    return tmp_path


def reward(world: Path, *args: Any, before: str = "") -> Done:
    return groupwise("reward", *map(str, args), cwd=world, before=before)


def test_a_reward_model_is_trained_and_then_trained_on(world: Path) -> None:
    """The whole way: pairs, two members, a report, a GRPO run with it as its reward."""
    rows = [*preferred.pairs(80), {"prompt": "w5", "chosen": "w6", "rejected": "w6"}]
    preferred.write(world / "pairs.jsonl", rows)
    done = reward(world, "train", "pairs.jsonl", *SMALL, "--members", 2)
    assert done.code == 0, done.said
    for word in ("held-out: 16 pairs", "calibration", "length", "members", "left out: 1 equal sides"):
        assert word in done.out
    folder = world / "runs" / "reward-1"
    held = {p.name for p in folder.iterdir()}
    facts = {"reward.json", "report.json", "report.md", "metrics.jsonl"}
    assert held == facts | {"member-0", "member-1", runs.LOCK}
    facts = json.loads((folder / "report.json").read_text())
    assert facts["status"] == "finished"
    assert facts["comparisons"] == {"trained": 64, "held_out": 16}
    assert [line["member"] for line in lines(folder / "metrics.jsonl")] == [0] * 8 + [1] * 8

    preferred.write(world / "prompts.jsonl", [{"prompt": f"w{i}"} for i in range(10, 30)])
    small = ("--steps", 2, "--prompts", 2, "--group-size", 3, "--held-out", 3, "--max-new-tokens", 6)
    args = ("prompts.jsonl", "--model", "model", "--reward", "runs/reward-1", *small, "--out", "run")
    done = groupwise("train", *map(str, args), cwd=world)
    assert done.code == 0, done.said
    last = lines(world / "run" / "metrics.jsonl")[-1]
    assert {"rewards/reward-1/mean", "reward-1/disagreement", "reward-1/cut"} <= last.keys()
    samples = lines(world / "run" / "samples.jsonl")
    assert all(sample["extra"]["reward-1/disagreement"] >= 0 for sample in samples)


def test_a_folder_is_tried_on_other_pairs_and_single_answers(world: Path) -> None:
    done = reward(world, "train", "pairs.jsonl", *SMALL, "--lora-rank", 4, "--out", "rm", "--limit", 40)
    assert done.code == 0, done.said
    assert json.loads((world / "rm" / "report.json").read_text())["comparisons"]["trained"] == 32
    preferred.write(world / "other.jsonl", preferred.pairs(12, seed=5))
    done = reward(world, "eval", "rm", "other.jsonl", "--limit", 10)
    assert done.code == 0, done.said
    assert "held-out: 10 pairs" in done.out
    done = reward(world, "score", "rm", "w10", "w20 w21", "w7")
    assert done.code == 0, done.said
    assert "w20 w21" in done.out
    reward(world, "train", "pairs.jsonl", *SMALL, "--out", "rm").sentence("already holds a reward model")


def test_ctrl_c_saves_what_there_is(world: Path) -> None:
    preferred.write(world / "pairs.jsonl", preferred.pairs(4000))
    running = start("reward", "train", "pairs.jsonl", *SMALL, "--out", "rm", cwd=world)
    assert running.until(
        lambda: (
            (world / "rm" / "metrics.jsonl").exists()
            and len((world / "rm" / "metrics.jsonl").read_text()) > 200
        )
    )
    running.send(signal.SIGINT)
    done = running.wait()
    assert done.code == 130, done.said
    assert "saving what there is" in done.out
    assert json.loads((world / "rm" / "report.json").read_text())["status"] == "stopped early"
    assert (world / "rm" / "model" / "model.safetensors").exists()


def test_the_commands_teach(world: Path) -> None:
    for args in ((), ("--help",)):
        assert "groupwise reward train pairs.jsonl" in reward(world, *args).out
    assert "--members" in reward(world, "train", "--help").out
    done = reward(world, "trian")
    assert (done.code, "there are train, eval, score" in done.out) == (2, True)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("train", "nowhere.jsonl"), ["no file nowhere.jsonl"]),
        (("train", "bad.jsonl"), ["bad.jsonl, row 2", "no rejected"]),
        (("train", "pairs.jsonl", "--model", "./nowhere"), ["no model at './nowhere'"]),
        (("train", "pairs.jsonl", "--members", "0"), ["members 0"]),
        (("train", "pairs.jsonl", "--limit", "1"), ["--limit 1"]),
        (("train", "pairs.jsonl", "--lr", "0"), ["learning_rate"]),
        (("train", "pairs.jsonl", "--device", "cuda:99"), ["--device cuda:99"]),
        (("eval", "nowhere", "pairs.jsonl"), ["nowhere holds no reward model"]),
        (("score", "nowhere", "a", "b"), ["nowhere holds no reward model"]),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    world: Path, args: tuple[str, ...], words: list[str]
) -> None:
    (world / "bad.jsonl").write_text('{"chosen": "a", "rejected": "b"}\n{"chosen": "a"}\n')
    before = {p.name for p in world.iterdir()}
    reward(world, *args).sentence(*words)
    assert {p.name for p in world.iterdir()} == before
