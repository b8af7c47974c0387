"""A checkpoint is whole or it is not used: a writer that dies, a disk that is full, a file that rots."""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from groupwise import checkpoints
from groupwise.checkpoints import (
    Checkpoints,
    DamagedError,
    SaveError,
    State,
    load,
    replacing,
)
from groupwise.learner import Learner, Optimization
from groupwise.policies import CategoricalPolicy
from groupwise.recipes import DR_GRPO
from groupwise.trajectory import Batch, Piece

FILES = ("manifest.json", "optimizer.safetensors", "state.json", "weights.safetensors")


def learner(seed: int = 0, width: int = 8, dtype: torch.dtype = torch.float32) -> Learner:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3), _Float())
    return Learner(CategoricalPolicy(network), Optimization(1e-2, epochs=2, weight_decay=0.1), dtype)


def move(one: Learner, step: int) -> None:
    """One optimizer step on a batch that depends on `step` alone."""
    noise = torch.Generator().manual_seed(step)
    dtype = next(one.policy.module.parameters()).dtype
    observations = torch.randn(12, 4, generator=noise).to(dtype)
    actions = torch.randint(3, (12,), generator=noise)
    inputs = _Steps(observations, actions)
    batch = Batch(
        pieces=(Piece(inputs, 0, 12),),
        behaviour_logp=torch.full((12,), -1.1),
        advantage=torch.randn(12, generator=noise),
        weight=torch.full((12,), 1 / 12),
        trajectory_id=torch.arange(12) // 3,
    )
    assert one.step(batch, DR_GRPO, step).metrics["grad_norm"] > 0


class _Float(nn.Module):
    """Logits in float32 whatever the layers compute in, as language models give them."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class _Steps:
    def __init__(self, observations: Tensor, actions: Tensor) -> None:
        self.observations, self.actions = observations, actions


def whole(one: Learner) -> dict[str, Tensor]:
    """Every number that training goes on from."""
    found = {f"weight/{n}": w.detach().clone() for n, w in one.masters.weights.items()}
    for name, master in one.masters.weights.items():
        for moment, value in one.optimizer.state.get(master, {}).items():
            found[f"{moment}/{name}"] = value.clone()
    for name, computing in one.policy.module.named_parameters():
        found[f"compute/{name}"] = computing.detach().clone()
    return found


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if a[name].dtype != b[name].dtype or not torch.equal(a[name], b[name])] == []


def trained(steps: int = 2) -> Learner:
    one = learner()
    for step in range(1, steps + 1):
        move(one, step)
    return one


def test_state_and_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    """Both moments and the step count of every weight, all of the state, floats with their last digit."""
    one, state = trained(), State(7, 1 / 3, 12345678901, {"a": 0.1 + 0.2}, {"a": 1e-17, "step": 5})
    Checkpoints(tmp_path).save(one, state)
    other = learner(seed=1)
    assert Checkpoints(tmp_path).resume(other) == state
    assert_equal(whole(one), whole(other))
    assert len(whole(one)) == 4 * (1 + 3 + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_goes_on_as_if_nothing_had_happened(tmp_path: Path, dtype: torch.dtype) -> None:
    """In bfloat16 too: the float32 masters are saved, not the copy that computes."""
    one = learner(dtype=dtype)
    move(one, 1)
    Checkpoints(tmp_path).save(one, State(1))
    other = learner(seed=1, dtype=dtype)
    Checkpoints(tmp_path).resume(other)
    for step in (2, 3):
        move(one, step), move(other, step)
    assert_equal(whole(one), whole(other))


def test_an_untrained_learner_is_saved_too(tmp_path: Path) -> None:
    """Before the first step there are no moments; what comes back has none either, and can be trained."""
    Checkpoints(tmp_path).save(learner(), State(0))
    other = trained(1)
    Checkpoints(tmp_path).resume(other)
    fresh = learner()
    assert_equal(whole(fresh), whole(other))
    move(fresh, 1), move(other, 1)
    assert_equal(whole(fresh), whole(other))


def test_saving_changes_nothing(tmp_path: Path) -> None:
    one, undisturbed = trained(), trained()
    Checkpoints(tmp_path).save(one, State(2))
    move(one, 3), move(undisturbed, 3)
    assert_equal(whole(one), whole(undisturbed))


def test_a_checkpoint_holds_no_pickle(tmp_path: Path) -> None:
    """Loading somebody else's run executes nothing: JSON and safetensors are all there is."""
    folder = Checkpoints(tmp_path).save(trained(), State(2))
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    for path in folder.iterdir():
        data = path.read_bytes()
        assert not data.startswith((b"\x80", b"PK"))  # a pickle, or the zip that torch.save makes
        header = data if path.suffix == ".json" else data[8 : 8 + int.from_bytes(data[:8], "little")]
        assert isinstance(json.loads(header), dict)


# ---------------------------------------------------------------------------- which are kept


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    one = learner()
    for step in range(1, 6):
        kept.save(one, State(step, best={"a": 1.0, "step": min(step, 2)}))
    assert kept.steps() == [2, 4, 5]
    kept.save(one, State(6, best={"a": 2.0, "step": 6}))
    assert kept.steps() == [5, 6]


def test_steps_are_numbers_not_words(tmp_path: Path) -> None:
    """10 comes after 9."""
    kept = Checkpoints(tmp_path)
    for step in (9, 10):
        kept.save(learner(), State(step))
    assert Checkpoints(tmp_path).resume(learner()) == State(10)


def test_keeping_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep 0"):
        Checkpoints(tmp_path, keep=0)


def test_a_checkpoint_just_saved_outlives_damaged_later_ones(tmp_path: Path) -> None:
    """After falling back to an earlier step, what is saved next is the newest, whatever the numbers say."""
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(trained(), State(2, best={"step": 2}))
    kept.save(trained(), State(6, best={"step": 2}))
    cut(tmp_path / "checkpoints" / "6" / "weights.safetensors")
    with pytest.warns(UserWarning, match="Falling back"):
        assert kept.resume(learner()) == State(2, best={"step": 2})
    kept.save(trained(), State(4, best={"step": 2}))
    assert 4 in kept.steps()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert kept.resume(learner()) == State(4, best={"step": 2})


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(trained(1), State(3))
    kept.save(trained(2), State(3, num_tokens=5))
    other = learner()
    assert kept.resume(other) == State(3, num_tokens=5)
    assert_equal(whole(other), whole(trained(2)))


def test_best_counts_only_where_the_measure_rises() -> None:
    """A tie keeps the earlier; other scores do not matter; a step without scores changes nothing."""
    state = State().after(1, 1.0, 10).scored({"a": 0.5, "b": 9.0}, "a")
    assert state.best == {"a": 0.5, "b": 9.0, "step": 1}
    assert state.after(2, 1.0, 10).scored({"a": 0.5, "b": 10.0}, "a").best["step"] == 1
    assert state.after(2, 1.0, 10).scored({}, "a").best["step"] == 1
    later = state.after(2, 0.5, 7).scored({"a": 0.6, "b": 0.0}, "a")
    assert later == State(2, 1.5, 17, {}, {"a": 0.6, "b": 0.0, "step": 2})


def test_scores_without_the_measure_are_no_best() -> None:
    """A reward may say None to every held-out answer; then there is nothing to be best by."""
    assert State().after(1, 1.0, 10).scored({"b": 1.0}, "a").best == {}


# ---------------------------------------------------------------------------- damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def garble(text: str) -> Callable[[Path], None]:
    def overwrite(path: Path) -> None:
        path.write_text(text)

    overwrite.__name__ = f"garble-{text}"
    return overwrite


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    """The right size and no content: what a power cut leaves on some file systems."""
    path.write_bytes(bytes(path.stat().st_size))


DAMAGE = [
    *((file, harm) for file in FILES for harm in (cut, flip, empty, zero, Path.unlink)),
    *(("manifest.json", garble(text)) for text in ("{}", "[]", "null", "3", '{"state.json": 3}', '"x"')),
    *(("state.json", garble(text)) for text in ("{}", "[]", "{")),
]


@pytest.mark.parametrize(("file", "harm"), DAMAGE, ids=[f"{f}-{h.__name__}" for f, h in DAMAGE])
def test_any_damage_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, file: str, harm: Callable[[Path], None]
) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(trained(1), State(1))
    newest = kept.save(trained(2), State(2))
    harm(newest / file)
    other = learner(seed=1)
    with pytest.warns(UserWarning, match="Falling back to the checkpoint before it") as said:
        assert kept.resume(other) == State(1)
    assert str(newest) in str(said[0].message)
    assert len(said) == 1
    assert_equal(whole(other), whole(trained(1)))


def test_when_nothing_is_whole_the_run_does_not_silently_begin_again(tmp_path: Path) -> None:
    """An error with the way out, a warning for each checkpoint, and the learner as it was."""
    kept = Checkpoints(tmp_path)
    for step in (1, 2):
        cut(kept.save(trained(), State(step)) / "optimizer.safetensors")
    other = learner(seed=1)
    with (
        pytest.warns(UserWarning, match="damaged") as said,
        pytest.raises(DamagedError, match="delete that folder and resume"),
    ):
        kept.resume(other)
    assert len(said) == 2
    assert_equal(whole(other), whole(learner(seed=1)))


def test_no_checkpoints_are_no_complaint(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).resume(learner()) is None
    (tmp_path / "checkpoints").mkdir()
    assert Checkpoints(tmp_path).resume(learner()) is None


@pytest.mark.parametrize("harm", ["shape", "missing", "extra", "name"])
def test_another_models_checkpoint_is_refused_whole(tmp_path: Path, harm: str) -> None:
    """Other names or shapes: nothing is copied, not even the weights that would fit."""
    folder = Checkpoints(tmp_path).save(trained(), State(2))
    torch.manual_seed(5)
    layers: list[nn.Module] = [nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)]
    if harm == "shape":
        layers = [nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 5)]
    elif harm == "missing":
        layers = layers[:2]
    elif harm == "extra":
        layers.append(nn.Linear(3, 3))
    else:
        layers.insert(2, nn.Tanh())
    other = Learner(CategoricalPolicy(nn.Sequential(*layers)), Optimization())
    before = copy.deepcopy(whole(other))
    with pytest.raises(DamagedError, match="of another model"):
        load(folder, other)
    assert_equal(whole(other), before)
    with (
        pytest.warns(UserWarning, match="of another model"),
        pytest.raises(DamagedError, match="is whole"),
    ):
        Checkpoints(tmp_path).resume(other)


def test_leftovers_of_a_killed_writer_are_ignored_and_cleared(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(trained(1), State(1))
    left = tmp_path / "checkpoints" / ".writing-2"
    shutil.copytree(tmp_path / "checkpoints" / "1", left)
    (left / "manifest.json").unlink()
    (left / "stray").write_text("x")
    (tmp_path / "checkpoints" / "notes").mkdir()
    assert kept.steps() == [1]
    assert kept.resume(learner()) == State(1)
    folder = kept.save(trained(2), State(2))
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert not left.exists()


# ---------------------------------------------------------------------------- a full disk


def broken(after: int) -> Callable[..., None]:
    """save_file that writes `after` times and then finds no room."""
    left, real = [after], checkpoints.save_file

    def write(tensors: Any, path: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            path.write_bytes(b"half a file")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(tensors, path)

    return write


@pytest.mark.parametrize("after", [0, 1])
def test_no_space_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """And says which one is intact and what to do."""
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(trained(1), State(1))
    monkeypatch.setattr(checkpoints, "save_file", broken(after))
    with pytest.raises(SaveError, match=r"step 2 .*No space left.*step 1 is intact.*then resume the run"):
        kept.save(trained(2), State(2))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["1"]
    other = learner(seed=1)
    assert kept.resume(other) == State(1)
    assert_equal(whole(other), whole(trained(1)))


def test_no_space_for_the_first_says_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "save_file", broken(0))
    with pytest.raises(SaveError, match="there is none yet"):
        Checkpoints(tmp_path).save(trained(), State(2))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_save_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(SaveError, match="checkpoints"):
        Checkpoints(tmp_path).save(learner(), State(1))


REAL_LIMIT = """
import resource, sys
sys.path.insert(0, {path!r})
from pathlib import Path
from test_checkpoints import Checkpoints, SaveError, State, trained
for limit in {limits}:
    kept = Checkpoints(Path({folder!r}) / str(limit))
    kept.save(trained(1), State(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        kept.save(trained(2), State(2))
    except SaveError as error:
        sys.stderr.write(f"SAVE ERROR {{error}}\\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.slow
def test_a_write_that_really_fails_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    """The operating system refuses to let a file grow (EFBIG): at once, within the weights, the moments."""
    measured = Checkpoints(tmp_path / "measured").save(trained(), State(2))
    sizes = [(measured / f"{name}.safetensors").stat().st_size for name in ("weights", "optimizer")]
    assert sizes[0] < sizes[1]
    limits = [0, sizes[0] - 50, sizes[0] + 50]
    code = REAL_LIMIT.format(path=str(Path(__file__).parent), folder=str(tmp_path), limits=limits)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    for limit, said in zip(limits, done.stderr.splitlines(), strict=True):
        assert said.startswith("SAVE ERROR could not save the checkpoint of step 2")
        assert "File too large" in said
        assert "step 1 is intact" in said
        folder = tmp_path / str(limit)
        assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["1"]
        other = learner(seed=1)
        assert Checkpoints(folder).resume(other) == State(1)
        assert_equal(whole(other), whole(trained(1)))


def test_replacing_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")

    def half() -> None:
        with replacing(path) as work:
            work.write_text("ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    with replacing(path) as work:
        work.write_text("new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
