"""A reward model by name, as a reward."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import preferred
from groupwise.preferences.comparisons import Comparison, comparison, split
from groupwise.preferences.fit import Fitting
from groupwise.preferences.training import Plan, train
from groupwise.reward_models.ensemble import opened
from groupwise.rewards.catalogue import load_reward
from groupwise.rewards.learned import learned
from groupwise.rewards.scoring import Reward, TrainerState, score
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn
from groupwise.user_code import UserCodeError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/rm: two members that like a word."""
    words = preferred.save(tmp_path_factory.mktemp("models") / "words")
    folder = tmp_path_factory.mktemp("runs") / "rm"
    folder.mkdir()
    found = [c for row in preferred.pairs(240) if isinstance(c := comparison(row), Comparison)]
    fitting = Fitting(learning_rate=5e-3, epochs=2)
    train(folder, Plan(str(words), CPU, 64, members=2, fitting=fitting), *split(found, 40, 0))
    return folder


def group(content: str | list[dict[str, str]], *answers: str) -> Group:
    empty = np.zeros(0)
    turn = Turn(empty, empty, empty)
    return Group(
        Prompt(0, content),
        tuple(Trajectory((turn,), PolicyTag(), StopReason.FINISHED, text) for text in answers),
    )


@pytest.mark.parametrize("end", ["", "=0.5", "/"])
def test_a_folder_is_a_reward_by_its_name(folder: Path, end: str) -> None:
    reward = load_reward(f"{folder}{end}")
    assert (reward.name, reward.weight) == ("rm", 0.5 if end == "=0.5" else 1.0)


def test_answers_are_scored_with_their_prompts_and_the_members_disagreement_is_kept(folder: Path) -> None:
    reward = load_reward(f"{folder}=0.5")
    cohort = [group("w10 w11", "w20 w7", "w20 w30"), group([{"role": "user", "content": "w10"}], "w7")]
    found = score(cohort, [reward], TrainerState())
    trajectories = [t for g in found.cohort for t in g.trajectories]
    want = opened(folder, CPU).judge([("w10 w11", "w20 w7"), ("w10 w11", "w20 w30"), ("w10", "w7")])
    parts = [t.parts["rm"] for t in trajectories]
    np.testing.assert_allclose(np.array(parts, dtype=float), want.value, atol=1e-5)
    np.testing.assert_allclose([t.reward for t in trajectories], want.value / 2, atol=1e-5)
    extra = [t.extra["rm/disagreement"] for t in trajectories]
    np.testing.assert_allclose(extra, want.disagreement, atol=1e-5)
    assert found.metrics["rm/disagreement"] == pytest.approx(float(np.mean(extra)))
    assert found.metrics["rm/cut"] == 0
    assert want.value[0] > want.value[1]


def test_one_model_alone_reports_no_disagreement(folder: Path) -> None:
    reward = load_reward(str(folder / "member-0"))
    found = score([group("w10", "w7")], [reward], TrainerState())
    assert reward.name == "member-0"
    assert "member-0/disagreement" not in found.metrics
    assert found.cohort[0].trajectories[0].extra == {}


def test_a_model_of_somebody_else_is_named_by_its_id(folder: Path) -> None:
    reward = load_reward(f"reward-model:{folder / 'member-1'}=2")
    assert (reward.name, reward.weight) == ("member-1", 2.0)
    found = score([group("w10", "w7")], [reward], TrainerState()).cohort[0].trajectories[0]
    assert found.reward is not None


def test_it_is_not_loaded_before_it_judges() -> None:
    """`groupwise plan`, and checks of settings, do without the weights."""
    asked = []

    def fails(device: torch.device) -> None:
        asked.append(device)
        raise RuntimeError

    reward = learned("rm", fails)  # type: ignore[arg-type]
    assert isinstance(reward, Reward)
    assert asked == []


def test_it_goes_where_the_run_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groupwise.rewards.learned.best_device", None)
    for place in (str(folder), f"{folder}=0.5", f"reward-model:{folder / 'member-0'}"):
        reward = load_reward(place, CPU)
        found = score([group("w10", "w7")], [reward], TrainerState())
        assert found.cohort[0].trajectories[0].reward is not None


def test_a_score_that_is_no_number_is_a_failure_and_not_the_end(folder: Path) -> None:
    ensemble = opened(folder / "member-0", CPU)
    ensemble.members[0].model.module.score.weight.data[:] = float("nan")
    found = score([group("w10", "w7")], [learned("rm", lambda _: ensemble)], TrainerState())
    assert found.cohort[0].trajectories[0].reward is None
    assert found.metrics["rewards/rm/failed/score_is_not_finite"] == 1


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [("=heavy", UserCodeError, "weight 'heavy'"), ("-not", UserCodeError, "reward-model:ID")],
)
def test_what_is_no_reward_model_is_told(folder: Path, end: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_reward(f"{folder}{end}")


def test_an_empty_id_is_told() -> None:
    with pytest.raises(ValueError, match="names no model"):
        load_reward("reward-model:")
