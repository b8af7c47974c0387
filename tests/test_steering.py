"""What a recipe moves beside the weights: scales, the reference; and that all of it is resumed exactly."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from groupwise.advantages import assign
from groupwise.checkpoints import Checkpoints, DamagedError, State
from groupwise.learner import DeterministicWarning, Learner, Optimization
from groupwise.packing import pack
from groupwise.policies import CategoricalPolicy, LanguagePolicy
from groupwise.recipes import DAPO, GRPO, RECIPES, AdaptiveKL, EntropyTarget, Recipe, Refresh
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

MOVING = replace(
    GRPO,
    kl_control=AdaptiveKL(1e-7, 2),
    entropy_control=EntropyTarget(5.0, 0.01),
    refresh=Refresh(2, 0.6),
)


class Network(nn.Module):
    """Computes in its weights' precision, answers in float32, as language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.to(next(self.parameters()).dtype)).float()


def learner(recipe: Recipe = MOVING, seed: int = 0, dtype: torch.dtype = torch.float32) -> Learner:
    torch.manual_seed(seed)
    policy = CategoricalPolicy(Network())
    one = Learner(policy, Optimization(1e-2, warmup_steps=0, epochs=2), dtype)
    one.reference = policy.frozen() if recipe.needs_reference else None
    return one


def move(one: Learner, step: int, recipe: Recipe = MOVING) -> dict[str, float]:
    """One optimizer step on answers that depend on `step` alone."""
    draw = np.random.default_rng(step)
    members = []
    for reward in (1.0, 0.0, 0.3, 0.8):
        observations = draw.standard_normal((5, 3)).astype(np.float32)
        turn = Turn(observations, draw.integers(0, 4, 5), np.full(5, -1.4, np.float32))
        members.append(Trajectory((turn,), PolicyTag(), StopReason.FINISHED, reward=reward))
    cohort = assign([Group(Prompt(step, 0), tuple(members))], recipe.advantage, recipe.rescale)
    recipe = one.scaled(recipe)
    batch = pack(cohort, recipe, one.policy, 10, one.reference, version=step - 1)
    return dict(one.step(batch, recipe, step).metrics)


def whole(one: Learner) -> dict[str, Tensor]:
    found = {f"weight/{n}": w.detach().clone() for n, w in one.masters.weights.items()}
    for name, master in one.masters.weights.items():
        for moment, value in one.optimizer.state.get(master, {}).items():
            found[f"{moment}/{name}"] = value.clone()
    assert one.reference is not None
    return found | {f"reference/{n}": w.detach().clone() for n, w in one.reference.weights.items()}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


# ---------------------------------------------------------------- scales


def test_scales_follow_what_the_first_epoch_measured() -> None:
    """After a step the policy has left the reference: its KL is above 0 and the scale rises by a tenth."""
    one = learner()
    first, second, third = (move(one, step) for step in (1, 2, 3))
    assert first["kl_scale"] == 0.04
    assert first["entropy_scale"] == 0
    assert second["kl_scale"] == pytest.approx(0.04 * 0.9), "KL 0 before the first update"
    assert second["entropy_scale"] == pytest.approx(0.01)
    assert third["kl_scale"] == pytest.approx(second["kl_scale"] * 1.1)
    assert third["entropy_scale"] == pytest.approx(0.02)


def test_the_entropy_bonus_in_use_is_the_one_reported() -> None:
    """The scales act: two learners that differ in the control alone end apart."""
    one, other = learner(), learner()
    for step in (1, 2):
        move(one, step), move(other, step, replace(MOVING, entropy_control=None))
    assert any(not torch.equal(a, b) for a, b in zip(whole(one).values(), whole(other).values(), strict=True))


def test_recipes_without_controls_report_no_scales() -> None:
    numbers = move(learner(DAPO), 1, DAPO)
    assert not {"kl_scale", "entropy_scale", "entropy/below_floor"} & numbers.keys()


def test_entropy_below_the_floor_is_said_once_and_counted_always() -> None:
    recipe = replace(DAPO, entropy_floor=5.0)
    one = learner(recipe)
    with pytest.warns(DeterministicWarning, match=r"below the floor of 5.*--entropy-scale"):
        assert move(one, 1, recipe)["entropy/below_floor"] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert move(one, 2, recipe)["entropy/below_floor"] == 1
        assert move(learner(), 1, replace(DAPO, entropy_floor=0.01))["entropy/below_floor"] == 0


def test_what_packing_found_is_among_the_numbers_of_the_step() -> None:
    numbers = move(learner(RECIPES["decoupled"]), 1, RECIPES["decoupled"])
    assert numbers["left_out/stale"] == 0
    assert 0 < numbers["off_policy/ess"] <= 1
    stale = replace(DAPO, staleness=0)
    assert move(learner(stale), 5, stale) == {"left_out/stale": 1.0, "learning_rate": 1e-2}


# ---------------------------------------------------------------- the reference


def test_the_reference_moves_when_its_time_has_come() -> None:
    """alpha policy + (1 - alpha) reference, after the step's update; frozen in between."""
    one = learner()
    assert one.reference is not None
    before = {n: w.detach().clone() for n, w in one.reference.weights.items()}
    move(one, 1)
    assert all(torch.equal(w, before[n]) for n, w in one.reference.weights.items())
    assert not one.reference_moved
    move(one, 2)
    for name, weight in one.reference.weights.items():
        want = 0.6 * one.masters.weights[name].detach() + 0.4 * before[name]
        torch.testing.assert_close(weight, want, rtol=1e-6, atol=1e-7)
    assert one.reference_moved


def test_a_hard_reset_begins_at_no_divergence_and_without_moments() -> None:
    recipe = replace(GRPO, refresh=Refresh(1, new_optimizer=True))
    one = learner(recipe)
    assert move(one, 1, recipe)["kl"] > 0, "in the last epoch"
    assert one.optimizer.state == {}
    assert one.reference is not None
    for name, weight in one.reference.weights.items():
        assert torch.equal(weight, one.masters.weights[name])
    once = Learner(one.policy, Optimization(1e-2, warmup_steps=0, epochs=1))
    once.reference = one.reference
    assert move(once, 2, recipe)["kl"] == pytest.approx(0, abs=1e-9)


def test_a_reference_that_cannot_move_is_an_error() -> None:
    one = learner()
    one.reference = None
    with pytest.raises(ValueError, match="no reference with weights of its own"):
        one.step(None, MOVING, 2)


def test_a_step_without_a_lesson_moves_the_reference_on_time() -> None:
    one = learner()
    move(one, 1)
    one.step(None, MOVING, 2)
    assert one.reference_moved


# ---------------------------------------------------------------- resuming


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_resumed_learner_goes_on_bit_for_bit(tmp_path: Path, at: int, dtype: torch.dtype) -> None:
    """Scales with their last digit, and the reference as it was moved, not as it began."""
    one = learner(dtype=dtype)
    for step in range(1, at + 1):
        move(one, step)
    Checkpoints(tmp_path).save(one, State(at))
    other = learner(dtype=dtype)  # as a new process: the reference is the first policy again
    assert Checkpoints(tmp_path).resume(other) == State(at)
    assert dict(other.scales) == dict(one.scales)
    assert_equal(whole(one), whole(other))
    for step in range(at + 1, at + 4):
        assert move(one, step) == move(other, step)
    assert_equal(whole(one), whole(other))


def test_a_reference_once_moved_stays_in_later_checkpoints(tmp_path: Path) -> None:
    """Resumed at 2 and saved at 3, when nothing moves: the next resume would begin from the first one."""
    one, other, third = learner(), learner(), learner()
    move(one, 1), move(one, 2)
    Checkpoints(tmp_path).save(one, State(2))
    Checkpoints(tmp_path).resume(other)
    move(one, 3), move(other, 3)
    Checkpoints(tmp_path).save(other, State(3))
    Checkpoints(tmp_path).resume(third)
    assert_equal(whole(one), whole(third))


def test_only_a_reference_that_has_moved_is_in_the_checkpoint(tmp_path: Path) -> None:
    """The first one is the model that the run began with: to save it would double every checkpoint."""
    one = learner()
    files = {
        step: {p.name for p in (move(one, step), Checkpoints(tmp_path).save(one, State(step)))[1].iterdir()}
        for step in (1, 2)
    }
    assert files[2] - files[1] == {"reference.safetensors"}
    plainly = learner(DAPO)
    move(plainly, 1, DAPO)
    names = {p.name for p in Checkpoints(tmp_path / "plain").save(plainly, State(1)).iterdir()}
    assert names == {"weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"}


@pytest.mark.parametrize("name", ["reference.safetensors", "scales.json"])
def test_what_is_missing_or_altered_is_noticed(tmp_path: Path, name: str) -> None:
    """A resumed run without its moved reference would go on, and be another run."""
    one = learner()
    move(one, 1), move(one, 2)
    folder = Checkpoints(tmp_path).save(one, State(2))
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(DamagedError), pytest.warns(UserWarning, match=name):
        Checkpoints(tmp_path).resume(learner())
    (folder / name).unlink()
    with pytest.raises(DamagedError), pytest.warns(UserWarning, match=name):
        Checkpoints(tmp_path).resume(learner())


def test_a_learner_without_a_reference_reads_the_checkpoint_of_one_with(tmp_path: Path) -> None:
    """To answer questions the reference is not needed."""
    one = learner()
    move(one, 1), move(one, 2)
    Checkpoints(tmp_path).save(one, State(2))
    other = learner(DAPO)
    assert Checkpoints(tmp_path).resume(other) == State(2)


def test_the_base_of_an_adapter_has_no_weights_to_move() -> None:
    class Adapter(nn.Module):
        disable_adapter = None

    class Model:
        model = Adapter()

    assert LanguagePolicy(Model()).frozen().weights == {}  # type: ignore[arg-type]
