"""Who sits opposite: what is written, which checkpoint is meant, and whose weights play."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from groupwise.checkpoints import DamagedError
from groupwise.opponents import Fixed, Snapshot, shares_of, snapshot, spared
from groupwise.policies import CategoricalPolicy
from groupwise.settings import ConfigError
from groupwise.sources import latest


def policy_that_prefers(move: int) -> CategoricalPolicy:
    network = torch.nn.Linear(2, 3)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.copy_(torch.nn.functional.one_hot(torch.tensor(move), 3) * 9.0)
    return CategoricalPolicy(network)


def checkpoint(folder: Path, step: int, move: int) -> None:
    (folder / "checkpoints" / str(step)).mkdir(parents=True)
    weights = dict(policy_that_prefers(move).module.named_parameters())
    save_file(
        {n: p.detach() for n, p in weights.items()},
        folder / "checkpoints" / str(step) / "weights.safetensors",
    )


def plays(player: Snapshot | Fixed) -> int:
    [move], _ = player.act(np.zeros((1, 2), np.float32), None)
    return int(move)


def test_shares_are_read() -> None:
    assert shares_of("current:3, latest-2:1,random:2", ["random"]) == {
        "current": 3,
        "latest-2": 1,
        "random": 2,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("current", "'current' is not NAME:SHARE, as in --opponents current:3,latest-2:1"),
        ("current:0", "a share is a whole number from 1"),
        ("current:1,current:2", "names current twice"),
        ("best:1", "there is no best. There are current, random, latest-K"),
        ("exact:1", "exact is for small games that hide nothing"),
    ],
)
def test_what_cannot_be_is_told(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        shares_of(text, ["random"])


def test_the_checkpoints_that_may_be_asked_for_are_kept() -> None:
    assert list(spared({"current": 1, "latest-2": 1, "random": 4}, 10)(57)) == [50, 40, 30]
    assert list(spared({"current": 1}, 10)(57)) == []


def test_latest_is_the_policy_itself_until_there_is_a_checkpoint(tmp_path: Path) -> None:
    """After step 25 of a run that saves every 10, latest-1 is step 10, whichever others there are."""
    for step, move in [(10, 0), (20, 1), (25, 1)]:
        checkpoint(tmp_path, step, move)
    player = Snapshot(policy_that_prefers(2), tmp_path / "checkpoints", latest(1, 10))
    moves = []
    for version in (0, 10, 19, 20, 25, 30):
        player.load(version)
        moves.append(plays(player))
    assert moves == [2, 2, 2, 0, 0, 1]


def test_a_snapshot_does_not_follow_the_policy_that_learns(tmp_path: Path) -> None:
    own = policy_that_prefers(2)
    checkpoint(tmp_path, 10, 0)
    player = Snapshot(own, tmp_path / "checkpoints", latest(0, 10))
    player.load(10)
    assert plays(player) == 0
    with torch.no_grad():
        own.module.bias.copy_(torch.tensor([0.0, 99.0, 0.0]))
    assert plays(player) == 0
    player.load(5)  # before the checkpoint: the policy itself
    assert plays(player) == 1


def test_a_checkpoint_of_another_run_plays(tmp_path: Path) -> None:
    checkpoint(tmp_path, 30, 1)
    (tmp_path / "run.json").write_text(json.dumps({"config": {"task": "game:nim"}}))
    name = str(tmp_path / "checkpoints" / "30")
    assert shares_of(f"{name}:2", []) == {name: 2}
    player = snapshot(policy_that_prefers(2), name, "game:nim", tmp_path / "own", 10)
    assert plays(player) == 1
    with pytest.raises(ConfigError, match=r"is of game:nim, and this run of game:hex"):
        snapshot(policy_that_prefers(2), name, "game:hex", tmp_path, 10)
    with pytest.raises(ConfigError, match=r"there is no .*31"):
        snapshot(policy_that_prefers(2), str(tmp_path / "checkpoints" / "31"), "game:nim", tmp_path, 10)
    with pytest.raises(ConfigError, match="is no checkpoint of a run"):
        snapshot(policy_that_prefers(2), "nowhere/checkpoints/3", "game:nim", tmp_path, 10)


def test_a_checkpoint_of_another_run_plays_though_that_run_clears_it_away(tmp_path: Path) -> None:
    """The policy in its place would be self-play that nobody asked for."""
    checkpoint(tmp_path, 30, 1)
    (tmp_path / "run.json").write_text(json.dumps({"config": {"task": "game:nim"}}))
    place = tmp_path / "checkpoints" / "30"
    player = snapshot(policy_that_prefers(2), str(place), "game:nim", tmp_path / "own", 10)
    shutil.rmtree(place)
    assert plays(player) == 1
    player.load(1)
    player.load(2)
    again = snapshot(policy_that_prefers(2), str(place), "game:nim", tmp_path / "own", 10)
    assert plays(again) == 1, "a run that is resumed finds it too"


def test_a_checkpoint_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    checkpoint(tmp_path, 30, 1)
    (tmp_path / "run.json").write_text(json.dumps({"config": {"task": "game:nim"}}))
    place = tmp_path / "checkpoints" / "30"
    (place / "weights.safetensors").write_bytes(b"")
    with pytest.raises(DamagedError, match="cannot be read"):
        snapshot(policy_that_prefers(2), str(place), "game:nim", tmp_path / "own", 10)
