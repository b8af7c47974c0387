"""Running means are those of all rows at once, they are kept, and they move between steps alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

import torch  # noqa: E402

from groupwise.envs.classic import player, returns  # noqa: E402
from groupwise.envs.normalise import FARTHEST, Moments, Normaliser  # noqa: E402
from groupwise.envs.sampler import EnvironmentSampler  # noqa: E402
from groupwise.envs.spaces import UnplayableError  # noqa: E402
from groupwise.groups import Order  # noqa: E402
from groupwise.rewards.scoring import TrainerState  # noqa: E402
from groupwise.trajectory import Prompt  # noqa: E402
from worlds import Toy  # noqa: E402

PENDULUM = "Pendulum-v1"


def orders(*starts: int, count: int = 3) -> list[Order]:
    return [Order(Prompt(i, start), count) for i, start in enumerate(starts)]


def playing(**more: Any) -> EnvironmentSampler:
    return player(PENDULUM, 0, "squash", 10, **more)


def test_moments_in_parts_are_those_of_the_whole() -> None:
    """Rows that come in uneven parts, one of them empty and one of a single row."""
    rows = np.random.default_rng(0).normal(3, 2, (1000, 4)) ** 3
    known = Moments.unknown(4)
    for part in np.split(rows, [1, 1, 40, 700]):
        known = known.after(part)
    assert known.count == 1000
    assert np.allclose(known.mean, rows.mean(0), rtol=1e-12)
    assert np.allclose(known.variance, rows.var(0), rtol=1e-12)


def test_moments_keep_their_digits_far_from_zero() -> None:
    """A difference of sums of squares would have none left: 1e8 squared has 16."""
    rows = np.random.default_rng(0).normal(0, 1, (500, 1)).astype(np.float32)
    known = Moments.unknown(1).after(rows[:250] + np.float64(1e8)).after(rows[250:] + np.float64(1e8))
    assert known.variance[0] == pytest.approx(rows.astype(np.float64).var(), rel=1e-6)


def test_moments_survive_json_to_the_last_digit() -> None:
    known = Moments.unknown(3).after(np.random.default_rng(0).normal(size=(7, 3)))
    again = Moments.recalled(json.loads(json.dumps(known.remembered())))
    assert (again.count, again.mean.tobytes(), again.variance.tobytes()) == (
        known.count, known.mean.tobytes(), known.variance.tobytes(),
    )  # fmt: skip


def test_rows_come_near_one_and_are_cut_off() -> None:
    """Numbers by hand: mean 2, variance 4; what never changed is 0, and not divided by 0."""
    norm = Normaliser(Moments(5, np.array([2.0, 7.0]), np.array([4.0, 0.0])))
    rows = np.array([[4.0, 7.0, 250.0], [-2.0, 7.0, 3.0], [1000.0, 8.0, 0.0]], dtype=np.float32)
    out = norm.rows(rows)
    assert out.dtype == np.float32
    assert np.allclose(out, [[1, 0, 250], [-2, 0, 3], [FARTHEST, FARTHEST, 0]], atol=1e-6)
    assert np.array_equal(norm.rows(rows[0]), out[0])
    assert Normaliser(Moments.unknown(2)).rows(rows) is rows
    assert Normaliser().rows(rows) is rows


def test_rewards_are_scaled_and_not_shifted() -> None:
    norm = Normaliser(returns=Moments(5, np.array([100.0]), np.array([25.0])))
    assert np.array_equal(norm.rewards(np.array([0.0, 10.0, -5.0])), [0, 2, -1])
    for silent in (Moments.unknown(1).after(np.zeros((9, 1))), None):
        assert np.array_equal(Normaliser(returns=silent).rewards(np.array([3.0])), [3.0])


def test_what_is_known_moves_between_steps_alone() -> None:
    """In a step all see by one measure; evaluation teaches it nothing; a new version brings the new one."""
    played = playing(normalise_observations=True, normalise_rewards=True)
    raw = playing().collect(orders(0, 1))
    first = played.collect(orders(0, 1))
    for a, b in zip(raw, first, strict=True):  # nothing is known yet
        for one, two in zip(a.trajectories, b.trajectories, strict=True):
            assert np.array_equal(one.turns[0].observation, two.turns[0].observation)
            assert np.array_equal(one.turns[0].rewards, two.turns[0].rewards)
    before = played.memory()
    assert before["observations"]["count"] == 60
    assert before["returns"]["count"] == 6
    seen = np.concatenate([t.turns[0].observation for g in raw for t in g.trajectories])
    assert np.allclose(before["observations"]["mean"], seen.mean(0), atol=1e-6)
    again = played.collect(orders(0, 1))
    one, two = (groups[0].trajectories[0].turns[0].observation for groups in (again, raw))
    assert np.array_equal(one, two)
    played.recall(before)
    played.load(1)
    [group] = played.collect(orders(0), greedy=True)
    assert played.memory() == before
    start = raw[0].trajectories[0].turns[0].observation[0]
    expected = Normaliser(Moments.recalled(before["observations"])).rows(start)
    assert np.array_equal(group.trajectories[0].turns[0].observation[0], expected)
    played.recall({})
    assert played.memory()["observations"]["count"] == 0


def test_the_learner_sees_what_the_policy_saw() -> None:
    """Ratios before the first update are 1: log-probs noted in play are those of the stored observations."""
    played = playing(normalise_observations=True)
    played.collect(orders(0, 1))
    played.load(1)
    with torch.no_grad():  # a policy that minds what it sees
        for weight in played.policy.module.parameters():
            weight.mul_(3)
    [group] = played.collect(orders(2))
    scores = played.policy.score(played.policy.inputs([(0, t) for t in group.trajectories]))
    noted = np.concatenate([t.own_logp for t in group.trajectories])
    assert np.allclose(scores.logp.detach().numpy(), noted, atol=1e-5)


def test_what_is_learned_from_is_scaled_and_what_is_reported_is_not() -> None:
    played = playing(normalise_rewards=True)
    played.collect(orders(0, 1))
    played.load(1)
    scale = np.sqrt(played.memory()["returns"]["variance"][0])
    [scored] = returns(played.collect(orders(2)), TrainerState()).cohort
    for t in scored.trajectories:
        assert t.reward == pytest.approx(t.parts["return"] / scale)
        assert t.turns[0].rewards.sum() == pytest.approx(t.reward)
    [held_out] = returns(played.collect(orders(2, count=1), greedy=True), TrainerState()).cohort
    [t] = held_out.trajectories
    assert t.reward == t.parts["return"] == t.turns[0].rewards.sum()


def test_a_resumed_sampler_plays_as_the_undisturbed_one() -> None:
    undisturbed = playing(normalise_observations=True, normalise_rewards=True)
    for version in (1, 2):
        undisturbed.collect(orders(version, version + 1))
        undisturbed.load(version)
    resumed = playing(normalise_observations=True, normalise_rewards=True)
    resumed.load(2)
    resumed.recall(json.loads(json.dumps(undisturbed.memory())))
    for a, b in zip(undisturbed.collect(orders(5, 6)), resumed.collect(orders(5, 6)), strict=True):
        for one, two in zip(a.trajectories, b.trajectories, strict=True):
            assert one.turns[0].observation.tobytes() == two.turns[0].observation.tobytes()
            assert one.turns[0].decisions.tobytes() == two.turns[0].decisions.tobytes()
            assert one.turns[0].rewards.tobytes() == two.turns[0].rewards.tobytes()


def test_pictures_alone_have_nothing_to_normalise() -> None:
    pixels = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    gymnasium.register("Pixels-v0", lambda: Toy(pixels, gymnasium.spaces.Discrete(2)))
    try:
        with pytest.raises(UnplayableError, match=r"Pixels-v0 shows pictures.*no --normalise-observations"):
            player("Pixels-v0", 0, "squash", normalise_observations=True)
    finally:
        del gymnasium.registry["Pixels-v0"]
