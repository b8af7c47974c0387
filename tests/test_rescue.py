"""Memory that runs out in the middle of a run: what is said, what is saved, and how it goes on.

The refusals are real: the process may not grow beyond what it has (RLIMIT_AS) and the room that is left in
it is filled up, but for a few megabytes, at a chosen call.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import tiny_folder
from commands import Done, groupwise, lines
from groupwise.checkpoints import State
from groupwise.config import build
from groupwise.rescue import OutOfMemoryError
from groupwise.rewards.scoring import RewardError
from groupwise.settings import Settings
from groupwise.trainer import Run, train
from test_resume import REWARD, differences

LEFT = 12
"""Megabytes that the process finds when it has been filled up."""
FILLED = """
import importlib, resource, torch
HOG = []

def fill():
    status = open("/proc/self/status").read().split("VmSize:")[1]
    resource.setrlimit(resource.RLIMIT_AS, (int(status.split()[0]) * 1024,) * 2)
    with_room = [torch.empty(2**20, dtype=torch.uint8) for _ in range({left})]
    for size in (2**22, 2**20, 2**18, 2**16):
        try:
            while True:
                HOG.append(torch.empty(size, dtype=torch.uint8))
        except RuntimeError as error:
            assert "can't allocate memory" in str(error), error

def filled_in(place, call):
    *path, name = place.split(".")
    owner = importlib.import_module(".".join(path[:-1]))
    owner = getattr(owner, path[-1])
    real, calls = getattr(owner, name), []
    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            fill()
        return real(*args, **kwargs)
    setattr(owner, name, wrapped)

filled_in({place!r}, {call})
"""
COMMON: tuple[Any, ...] = (
    "arithmetic", "--model", "model", "--reward", "reward.py:digits_share", "--prompts", 4,
    "--group-size", 16, "--held-out", 4, "--max-new-tokens", 24, "--lr", 1e-3, "--steps", 4,
    "--save-every", 100, "--tokens-per-microbatch", 2048,
)  # fmt: skip
WORLDS: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def world() -> Path:
    """A folder with a model whose activations are larger than what is left."""
    WORLDS.append(tempfile.TemporaryDirectory(prefix="rescue-"))
    folder = Path(WORLDS[-1].name)
    words = tiny_folder.tokenizer()
    tiny_folder.model(len(words), hidden=256).save_pretrained(folder / "model")
    words.save_pretrained(folder / "model")
    (folder / "reward.py").write_text(REWARD)
    return folder


@functools.cache
def undisturbed() -> Path:
    done = run("undisturbed")
    assert done.code == 0, done.said
    return world() / "undisturbed"


def run(out: str, *more: Any, before: str = "") -> Done:
    return groupwise("train", *map(str, (*COMMON, "--out", out, *more)), cwd=world(), before=before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "place", "flag"),
    [
        ("learning", "groupwise.learner.Learner.step", "--tokens-per-microbatch 1024"),
        ("writing answers", "groupwise.rollouts.generate", "--max-rows 64"),
    ],
)
def test_a_run_that_runs_out_of_memory_saves_and_goes_on(phase: str, place: str, flag: str) -> None:
    """In the third step: two are saved, and the run that goes on ends as the one that was not disturbed."""
    out = phase.replace(" ", "-")
    # the sampler is asked once before training
    call = 3 if phase == "learning" else 4
    left = LEFT if phase == "learning" else 0
    done = run(out, before=FILLED.format(place=place, call=call, left=left))
    done.sentence(
        f"memory ran out while {phase}", "the 2 steps before are saved", f"train --resume {out} {flag}"
    )
    assert [row["step"] for row in lines(world() / out / "metrics.jsonl")] == [0, 1, 2]
    assert [p.name for p in (world() / out / "checkpoints").iterdir()] == ["2"]
    again = groupwise("train", "--resume", out, cwd=world())
    assert again.code == 0, again.said
    assert differences(world() / out, undisturbed()) == []


@pytest.mark.slow
def test_the_proposed_setting_may_be_followed() -> None:
    place = "groupwise.learner.Learner.step"
    done = run("followed", before=FILLED.format(place=place, call=3, left=LEFT))
    flags = done.said.split("--resume followed ")[1].split()[:2]
    again = groupwise("train", "--resume", "followed", *flags, "--max-rows", "32", cwd=world())
    assert again.code == 0, again.said
    config = json.loads((world() / "followed" / "run.json").read_text())["config"]
    assert (config["tokens_per_microbatch"], config["max_rows"]) == (1024, 32)
    assert [row["step"] for row in lines(world() / "followed" / "metrics.jsonl")] == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------------------- what is saved when


def cart(folder: Path, **more: Any) -> Run:
    pytest.importorskip("gymnasium")
    small = {"steps": 3, "prompts": 2, "group_size": 3, "held_out": 2, "epochs": 2, "evaluate_every": 2}
    chosen = Settings(task="gym:CartPole-v1", device="cpu", save_every=100, **{**small, **more})
    folder.mkdir(exist_ok=True)
    return build(chosen, folder, Console(file=io.StringIO()), lambda: False).run


def failing(function: Any, call: int, after: bool = False) -> Any:
    """The function, but for memory refused before (or after) it has done its work at a call."""
    calls: list[int] = []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        value = function(*args, **kwargs) if after or len(calls) != call else None
        if len(calls) == call:
            torch.empty(2**60)
        return value

    return wrapped


def ends(run: Run) -> OutOfMemoryError:
    with contextlib.closing(run.journal), pytest.raises(OutOfMemoryError) as caught:  # type: ignore[type-var]
        train(run)
    return caught.value


def test_a_failure_in_the_backward_pass_saves_the_steps_before(tmp_path: Path) -> None:
    run = cart(tmp_path, epochs=1)
    run.learner._backward = failing(run.learner._backward, 3)  # type: ignore[method-assign]
    error = ends(run)
    assert error.phase == "learning"
    assert "the 2 steps before are saved" in str(error)
    assert run.checkpoints.steps() == [2]
    assert all(w.grad is None for w in run.learner.masters.weights.values())


def test_a_failure_after_a_weight_may_have_moved_saves_nothing(tmp_path: Path) -> None:
    """In the optimizer, and in the second epoch of a step: the weights are of no step's end."""
    optimizing = cart(tmp_path / "a")
    optimizing.learner.optimizer.step = failing_inside(optimizing)  # type: ignore[method-assign]
    error = ends(optimizing)
    assert "there is no checkpoint yet" in str(error)
    assert optimizing.checkpoints.steps() == []
    second = cart(tmp_path / "b")
    second.learner._backward = failing(second.learner._backward, 2)  # type: ignore[method-assign]
    assert "there is no checkpoint yet" in str(ends(second))
    kept = cart(tmp_path / "c")
    kept = replace(kept, schedule=replace(kept.schedule, save_every=1))
    kept.learner._backward = failing(kept.learner._backward, 4)  # type: ignore[method-assign]
    assert "the last checkpoint, of step 1, stands" in str(ends(kept))
    assert kept.checkpoints.steps() == [1]


def failing_inside(run: Run) -> Any:
    """A step of the optimizer that has begun when memory is refused."""
    optimizer, real = run.learner.optimizer, run.learner.optimizer.step
    optimizer.register_step_post_hook(lambda *_: torch.empty(2**60) and None)
    return real


def told(folder: Path) -> list[Any]:
    """What a run wrote down, but for times."""
    timed = ("step_time", "tokens_per_second", "peak_memory_gib")
    rows = [
        {k: v for k, v in row.items() if k not in timed and not k.startswith("time/")}
        for row in lines(folder / "metrics.jsonl")
    ]
    return [rows, *((folder / name).read_bytes() for name in ("samples.jsonl", "evaluations.jsonl"))]


def test_a_failure_in_an_evaluation_saves_the_step_before_it(tmp_path: Path) -> None:
    """And what it owes: the run that goes on takes the scores first, and ends as the undisturbed one."""
    run = cart(tmp_path / "a")
    run.sampler.collect = failing(run.sampler.collect, 4)  # type: ignore[method-assign]
    error = ends(run)  # held-out, step 1, step 2, held-out
    assert error.phase == "answering held-out prompts"
    assert "the 2 steps before are saved" in str(error)
    assert run.checkpoints.steps() == [2]
    assert [row["step"] for row in lines(tmp_path / "a" / "metrics.jsonl")] == [0, 1]
    ending(cart(tmp_path / "a")), ending(cart(tmp_path / "b"))
    assert told(tmp_path / "a") == told(tmp_path / "b")


def ending(run: Run) -> State:
    with contextlib.closing(run.journal):  # type: ignore[type-var]
        return train(run)


@pytest.mark.parametrize("step", [2, 3])
def test_a_reward_that_breaks_on_held_out_answers_costs_no_step(tmp_path: Path, step: int) -> None:
    """Twice over, and also after the last step: resuming takes the scores that are owed, and them alone.

    Even where it ends between writing them down and saving that it has.
    """
    for _ in range(2):
        run = cart(tmp_path / "a")

        def broken(cohort: Sequence[Any], state: Any, run: Run = run) -> Any:
            if state.global_step == step and cohort[0].prompt.row is None:
                raise RewardError("by hand")
            return run.score(cohort, state)

        with contextlib.closing(run.journal), pytest.raises(RewardError, match="by hand"):  # type: ignore[type-var]
            train(replace(run, score=broken))
        assert run.checkpoints.steps()[-1] == step
    run = cart(tmp_path / "a")
    run.checkpoints.save = dying  # type: ignore[method-assign]
    with contextlib.closing(run.journal), pytest.raises(KeyboardInterrupt):  # type: ignore[type-var]
        train(run)
    state, other = ending(cart(tmp_path / "a")), ending(cart(tmp_path / "b"))
    assert told(tmp_path / "a") == told(tmp_path / "b")
    assert (state.step, state.best, state.owed) == (other.step, other.best, {})
    kept = json.loads((tmp_path / "a" / "checkpoints" / "3" / "state.json").read_text())
    assert (kept["owed"], kept["best"]) == ({}, state.best)


TRAP = """
import os
import gymnasium
import numpy as np

class Trap(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (1,)), gymnasium.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        Trap.steps += 1
        if Trap.steps > 30 and not os.path.exists("mended"):
            raise RuntimeError("the motor is broken")
        return np.zeros(1, np.float32), float(action), True, False, {}

gymnasium.register("Trap-v0", Trap)
"""


def test_a_world_that_fails_altogether_costs_no_finished_step(tmp_path: Path) -> None:
    """20 held-out episodes of one decision, then 4 a step: half fail in the third step, all in the fourth."""
    (tmp_path / "trap.py").write_text(TRAP)
    args = ("--prompts", 2, "--group-size", 2, "--held-out", 20, "--steps", 9, "--save-every", 100)
    done = groupwise("train", "gym:trap.py:Trap-v0", *map(str, args), "--out", "out", cwd=tmp_path)
    assert done.code == 1
    assert (
        "all 4 episodes failed; the first after 0 steps: RuntimeError: the motor is broken (trap.py"
        in done.said
    )
    assert "Then go on: groupwise train --resume out" in done.said
    assert "Traceback" not in done.said
    steps = [int(folder.name) for folder in (tmp_path / "out" / "checkpoints").iterdir()]
    assert steps == [3]
    (tmp_path / "mended").touch()
    done = groupwise("train", "--resume", "out", cwd=tmp_path)
    assert done.code == 0
    assert [row["step"] for row in lines(tmp_path / "out" / "metrics.jsonl")] == list(range(10))


def dying(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_a_failure_in_a_reward_is_memory_refused_too(tmp_path: Path) -> None:
    run = cart(tmp_path)

    def score(cohort: Sequence[Any], state: Any) -> Any:
        if state.global_step == 1:
            raise MemoryError
        return run.score(cohort, state)

    error = ends(replace(run, score=score))
    assert error.phase == "scoring"
    assert run.checkpoints.steps() == [1]


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    run = cart(tmp_path)

    def score(cohort: Sequence[Any], state: Any) -> Any:
        raise RuntimeError("something else")

    with contextlib.closing(run.journal), pytest.raises(RuntimeError, match="something else"):  # type: ignore[type-var]
        train(replace(run, score=score))
