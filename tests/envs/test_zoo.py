"""Several agents in one world: who is asked, what it gets, how it ends, what cannot be played."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Tuple  # noqa: E402

from groupwise.envs import zoo  # noqa: E402
from groupwise.envs.film_crowd import filmed  # noqa: E402
from groupwise.envs.parted import Parted  # noqa: E402
from groupwise.envs.scenes import returns  # noqa: E402
from groupwise.envs.spaces import UnplayableError  # noqa: E402
from groupwise.groups import Order  # noqa: E402
from groupwise.rewards.scoring import TrainerState  # noqa: E402
from groupwise.trajectory import Prompt, StopReason  # noqa: E402


def collected(name: str, count: int = 4, **more: Any) -> Any:
    return zoo.player(name, 0, "squash", **more).collect([Order(Prompt(2, 9), count)])


def test_every_agent_that_lives_is_asked_and_gets_its_own() -> None:
    """Agents leave after 1, 2 and 3 steps; what they got is what they themselves did."""
    groups = collected("crowds")
    assert [g.prompt.columns for g in groups] == [{"seat": 0}, {"seat": 1}, {"seat": 2}]
    for agent, group in enumerate(groups):
        for t in group.trajectories:
            [turn] = t.turns
            assert turn.rewards.tolist() == turn.decisions.tolist()
            assert len(turn.decisions) == agent + 1
            assert t.stopped is StopReason.FINISHED
            assert turn.observation[:, 0].tolist() == list(range(agent + 1))
            assert turn.observation[:, 2:].tolist() == [np.eye(3)[agent].tolist()] * (agent + 1)
        assert len({float(t.turns[0].observation[0, 1]) for t in group.trajectories}) == 1  # the start's luck


def test_a_world_that_does_not_end_is_cut() -> None:
    for group in collected("crowds:stays", episode_steps=2):
        assert [(t.n_decisions, t.stopped) for t in group.trajectories] == [(2, StopReason.LENGTH)] * 4
    made = zoo.Crowd(zoo.make("crowds:stays"), zoo.seen_in("x", zoo.make("crowds:stays")), limit=5)
    made.begin(0, {})
    for _ in range(5):
        assert not made.cut
        made.act(dict.fromkeys(made.asked(), 1))
    assert made.cut == {0, 1, 2}
    assert made.asked() == {}
    assert made.given() == [5.0, 5.0, 5.0]


def test_returns_are_normalised_in_training_and_told_as_they_are() -> None:
    sampler = zoo.player("crowds", 0, "squash", normalise_observations=True, normalise_rewards=True)
    first = sampler.collect([Order(Prompt(0, 1), 8)])
    sampler.load(1)
    known = sampler.memory()
    assert known["observations"]["count"] == 8 * 6  # one row for each decision
    assert len(known["observations"]["mean"]) == 2  # which agent it is stays as it is
    again = sampler.collect([Order(Prompt(1, 2), 8)])
    scale = np.sqrt(known["returns"]["variance"][0])
    for group in returns(again, TrainerState()).cohort:
        for t in group.trajectories:
            assert t.reward == pytest.approx(t.parts["return"] / scale)
            seat = group.prompt.columns["seat"]
            assert t.turns[0].observation[0, 2:].tolist() == np.eye(3)[seat].tolist()
    raw = [t.turns[0].decisions.sum() for g in first for t in g.trajectories]
    assert scale == pytest.approx(np.std(raw))


def test_memory_and_what_is_recalled_play_alike() -> None:
    def sampler() -> Any:
        return zoo.player("crowds", 0, "squash", normalise_observations=True)

    def played(s: Any) -> list[list[float]]:
        groups = s.collect([Order(Prompt(1, 2), 8)])
        return [t.turns[0].behaviour_logp.tolist() for g in groups for t in g.trajectories]

    one, other = sampler(), sampler()
    one.collect([Order(Prompt(0, 1), 8)])
    one.load(1)
    other.recall(one.memory())
    other.load(1)
    assert played(one) == played(other) != played(sampler())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("crowds:unlike", r"have to be alike, and agent_0 has observations Box.* where agent_1 has"),
        ("crowds:pictures", "shows pictures"),
        ("crowds:nothing", r"crowds has no nothing: zoo:MODULE needs a function parallel_env"),
        ("crowds:broken", "crowds:broken raised when it was made: RuntimeError: no licence"),
        ("no_such_module", "no_such_module"),
        ("CartPole-v1", r"CartPole-v1 is no world of several agents.*Train in it as gym:ID"),
    ],
)
def test_what_cannot_be_played_is_told(name: str, words: str) -> None:
    with pytest.raises(UnplayableError, match=words):
        zoo.player(name, 0, "squash")


class Pair(gymnasium.Env[Any, Any]):
    """Two vehicles; rewards, ends and observations are tuples. The second arrives after a step."""

    observation_space = Tuple((Box(-1, 1, (1,)), Box(-1, 1, (1,))))
    action_space = Tuple((Discrete(3), Discrete(3)))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at = 0
        return (np.zeros(1), np.ones(1)), {}

    def __init__(self, kind: Any = tuple) -> None:
        self.kind = kind

    def step(self, action: Any) -> Any:
        self.at += 1
        rewards = self.kind([float(a) for a in action])
        return (np.zeros(1), np.ones(1)), rewards, self.kind([False, True]), self.at == 3, {}


@pytest.mark.parametrize("kind", [tuple, np.array])
def test_vehicles_of_one_gymnasium_scene_are_agents(kind: Any) -> None:
    """Rewards and ends may come as an array as well."""
    gymnasium.register("Pair-v0", lambda: Pair(kind))
    try:
        first, second = collected("Pair-v0")
    finally:
        del gymnasium.registry["Pair-v0"]
    for t in first.trajectories:
        assert t.turns[0].rewards.tolist() == t.turns[0].decisions.tolist()
        assert (t.n_decisions, t.stopped) == (3, StopReason.LENGTH)
    for t in second.trajectories:
        assert t.turns[0].rewards.tolist() == t.turns[0].decisions.tolist()
        assert (t.n_decisions, t.stopped) == (1, StopReason.FINISHED)  # it had arrived when the other was cut


def test_one_reward_of_a_scene_is_that_of_every_vehicle() -> None:
    """highway-env's highway scene: a number, and one end for all."""
    scene = Parted(Pair(lambda values: values[1]))
    scene.reset(seed=0)
    _, rewards, ended, _, _ = scene.step({"0": 2, "1": 1})
    assert rewards == {"0": 1.0, "1": 1.0}
    assert ended == {"0": True, "1": True}
    assert scene.agents == []


def test_a_scene_may_cut_its_vehicles_one_by_one() -> None:
    """A cut for each is no cut for all: two times False in a tuple is true."""
    world = Pair()
    scene = Parted(world)
    cuts = [(False, False), (True, False), (False, True)]
    world.step = lambda action: (  # type: ignore[method-assign]
        (np.zeros(1), np.ones(1)),
        (0.0, 0.0),
        (False, False),
        cuts.pop(0),
        {},
    )
    scene.reset(seed=0)
    left = []
    for _ in range(3):
        _, _, _, cut, _ = scene.step(dict.fromkeys(scene.agents, 1))
        left.append((cut, scene.agents))
    assert left == [
        ({"0": False, "1": False}, ["0", "1"]),
        ({"0": True, "1": False}, ["1"]),
        ({"1": True}, []),
    ]


@pytest.mark.parametrize(
    "space", [Discrete(3, start=4), Box(1, 2, (2,)), MultiBinary(3), MultiDiscrete([2, 3])]
)
def test_a_vehicle_that_is_done_is_given_an_action_of_its_space(space: Any) -> None:
    world = Pair()
    world.action_space = Tuple((space, space))
    given: list[Any] = []
    step = world.step
    world.step = lambda action: (given.append(action), step([0, 0]))[1]  # type: ignore[method-assign, func-returns-value]
    scene = Parted(world)
    scene.reset(seed=0)
    scene.step({"0": space.sample()})
    assert given[0][1] in space


def test_who_left_before_the_cut_was_not_cut() -> None:
    """Agents leave after 1, 2 and 3 steps, and the world is cut after 2: only the third was under way."""
    groups = collected("crowds", episode_steps=2)
    ends = [{t.stopped for t in g.trajectories} for g in groups]
    assert ends == [{StopReason.FINISHED}, {StopReason.FINISHED}, {StopReason.LENGTH}]


def test_a_film_of_a_crowd_has_every_state() -> None:
    sampler = zoo.player("crowds", 0, "squash")
    [(groups, film)] = filmed(sampler, "crowds", [Prompt(0, 0)], "rgb_array", greedy=True)
    assert len(groups) == 3
    assert [int(picture[0, 0, 0]) for picture in film] == [0, 40, 80, 120]
    with pytest.raises(UnplayableError, match="crowds cannot be shown as human; it has rgb_array"):
        list(filmed(sampler, "crowds", [Prompt(0, 0)], "human", greedy=True))


def test_pettingzoos_own_worlds_are_played() -> None:
    pytest.importorskip("mpe2")
    groups = collected("mpe2.simple_spread_v3", count=2)
    assert [len(g.trajectories) for g in groups] == [2, 2, 2]
    for group in groups:
        for t in group.trajectories:
            assert (t.n_decisions, t.stopped) == (25, StopReason.LENGTH)
    starts = [g.trajectories[i].turns[0].observation[0].tolist() for g in groups for i in range(2)]
    assert starts[0] == starts[1] != starts[2]


def test_what_no_policy_will_see_is_told() -> None:
    with pytest.warns(UserWarning, match="crowds:speaks: of its observations, word is left out"):
        zoo.player("crowds:speaks", 0, "squash")
