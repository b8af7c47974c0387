"""Games and crowds from the command line: trained, evaluated, shown, refused where settings make no sense."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from pathlib import Path

import pytest

from commands import groupwise, lines, start

pytest.importorskip("pyspiel")


@functools.cache
def world() -> Path:
    """A folder with a run of a game and one of a crowd."""
    folder = tempfile.TemporaryDirectory(prefix="worlds-")
    KEPT.append(folder)
    here = Path(folder.name)
    (here / "crowds.py").write_bytes((Path(__file__).parent / "crowds.py").read_bytes())
    common = ("--steps", "2", "--prompts", "4", "--group-size", "4", "--held-out", "4")
    game = groupwise("train", "game:tic_tac_toe", *common, "--out", "g", cwd=here)
    assert game.code == 0, game.said
    crowd = groupwise("train", "zoo:crowds.py:parallel_env", *common, "--out", "z", cwd=here)
    assert crowd.code == 0, crowd.said
    return here


KEPT: list[tempfile.TemporaryDirectory[str]] = []


@pytest.mark.slow
def test_a_games_run_has_its_numbers_and_what_was_played() -> None:
    first, second = lines(world() / "g" / "metrics.jsonl")[1:]
    assert first["groups/size/mean"] == 4
    assert {"rewards/return/mean", "entropy", "kl"} <= set(second)
    assert second["reward"] == pytest.approx(0, abs=1e-9)  # what one seat wins the other loses
    result = json.loads((world() / "g" / "result.json").read_text())["held_out"]
    assert {"exploitability", "worst_case", "random/win", "exact/loss", "return"} <= set(result["after"])
    samples = lines(world() / "g" / "samples.jsonl")
    assert {s["columns"]["seat"] for s in samples} == {0, 1}
    assert any(s["text"].startswith("x(") for s in samples)
    assert any("|" in s["text"] for s in samples)  # openings


@pytest.mark.slow
def test_a_game_is_shown_as_text() -> None:
    done = groupwise("play", "g", "--episodes", "2", cwd=world())
    assert done.code == 0, done.said
    assert "the policy (seat 0): x(" in done.said
    assert "random (seat 1): o(" in done.said
    assert done.said.count("game ") == 2
    refused = groupwise("play", "g", "--gif", "game.gif", cwd=world())
    assert refused.code == 1
    assert "a game is shown as text" in refused.said


@pytest.mark.slow
def test_a_crowd_is_filmed() -> None:
    done = start("play", "z", cwd=world(), env={"DISPLAY": "", "WAYLAND_DISPLAY": ""}).wait()
    assert done.code == 0, done.said
    assert "agent 2: return" in done.said
    assert (world() / "z" / "play.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.slow
@pytest.mark.parametrize(("siblings", "size"), [("agent", 4), ("all", 12)])
def test_whose_returns_are_compared_is_told(siblings: str, size: int, tmp_path: Path) -> None:
    """Three agents in four worlds of a start: three groups of four, or one of twelve."""
    (tmp_path / "crowds.py").write_bytes((Path(__file__).parent / "crowds.py").read_bytes())
    chosen = (
        "--siblings",
        siblings,
        "--steps",
        "1",
        "--prompts",
        "2",
        "--group-size",
        "4",
        "--held-out",
        "2",
    )
    done = groupwise("train", "zoo:crowds.py:parallel_env", *chosen, "--out", "z", cwd=tmp_path)
    assert done.code == 0, done.said
    [_, row] = lines(tmp_path / "z" / "metrics.jsonl")
    assert (row["groups/size/mean"], row["groups/answers"]) == (size, 24)
    shown = groupwise("play", "z", "--episodes", "1", "--gif", "z.gif", cwd=tmp_path)
    assert "agent 2: return" in shown.out, shown.said


@pytest.mark.slow
def test_runs_are_evaluated_and_need_no_plan() -> None:
    done = groupwise("eval", "g/checkpoints/2", "--examples", "8", cwd=world())
    assert done.code == 0, done.said
    assert "exploitability" in done.said
    assert "memory is no concern" in groupwise("plan", "game:tic_tac_toe", cwd=world()).said


@pytest.mark.slow
def test_a_run_outlives_its_opponents(tmp_path: Path) -> None:
    """Held-out games are against others: a checkpoint that it trained against may be gone."""
    shutil.copytree(world() / "g", tmp_path / "g")
    described = json.loads((tmp_path / "g" / "run.json").read_text())
    described["config"]["opponents"] = "runs/gone/checkpoints/3:1"
    (tmp_path / "g" / "run.json").write_text(json.dumps(described))
    done = groupwise("eval", "g", "--examples", "4", cwd=tmp_path)
    assert done.code == 0, done.said
    assert "exploitability" in done.said


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("game:tic_tac_to",), ("no game 'tic_tac_to'", "Near it: tic_tac_toe")),
        (("game:nim", "--bounds", "clip"), ("--bounds: not for games",)),
        (("game:nim", "--siblings", "all"), ("--siblings: not for games",)),
        (("gym:CartPole-v1", "--siblings", "all"), ("--siblings: only for several agents",)),
        (("arithmetic", "--siblings", "all"), ("--siblings: only for environments",)),
        (("zoo:crowds.py:parallel_env", "--siblings", "none"), ("--siblings 'none': agent or all",)),
        (("game:nim", "--lora-rank", "4"), ("--lora-rank: only for language models",)),
        (("game:nim", "--opponents", "best:1"), ("there is no best", "latest-K")),
        (("game:nim", "--opponents", "runs/x/checkpoints/3:1"), ("is no checkpoint of a run",)),
        (("gym:CartPole-v1", "--opponents", "random:1"), ("--opponents: only for games",)),
        (("arithmetic", "--opponents", "random:1"), ("--opponents: only for environments",)),
        (("zoo:no_such_module",), ("no_such_module",)),
        (("zoo:crowds.py:unlike",), ("have to be alike",)),
        (("game:nim", "--resample", "1"), ("--resample",)),
        (("game:nim", "--sizes", "knapsack"), ("--sizes knapsack",)),
    ],
)
def test_what_cannot_be_is_told(args: tuple[str, ...], words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "crowds.py").write_bytes((Path(__file__).parent / "crowds.py").read_bytes())
    done = groupwise("train", *args, "--out", "run", cwd=tmp_path)
    assert done.code == 1, done.said
    assert "Traceback" not in done.said
    for word in words:
        assert word in done.said
    assert not (tmp_path / "run").exists()
