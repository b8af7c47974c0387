"""Episodes: siblings share their start and nothing else, and each depends on its own numbers alone."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

import torch  # noqa: E402
from torch import nn  # noqa: E402

from groupwise.distributions import Categorical  # noqa: E402
from groupwise.envs.classic import player, returns, task  # noqa: E402
from groupwise.envs.make import make  # noqa: E402
from groupwise.envs.networks import Layout, network, step_cost  # noqa: E402
from groupwise.envs.sampler import AHEAD, EnvironmentSampler  # noqa: E402
from groupwise.envs.spaces import UnplayableError, controls, senses  # noqa: E402
from groupwise.groups import Order  # noqa: E402
from groupwise.policies import CategoricalPolicy, NetworkPolicy  # noqa: E402
from groupwise.randomness import uniforms  # noqa: E402
from groupwise.rewards.scoring import TrainerState  # noqa: E402
from groupwise.tasks.seeds import Seeds  # noqa: E402
from groupwise.trajectory import Prompt, StopReason, Trajectory, Turn  # noqa: E402
from worlds import Countdown, Toy  # noqa: E402

CART = "CartPole-v1"


def playing(
    make_env: Any, seed: int = 0, network_seed: int = 0, policy: Any = None, **more: Any
) -> EnvironmentSampler:
    env = make_env()
    seen, acted = senses(env.observation_space), controls(env.action_space)
    body = network(seen.layout, acted.outputs, acted.log_stds, network_seed)
    policy = NetworkPolicy(body, acted.distribution) if policy is None else policy
    return EnvironmentSampler(policy, make_env, seen, acted, seed, **more)


def sampler(seed: int = 0, name: str = CART, network_seed: int = 0) -> EnvironmentSampler:
    return playing(partial(make, name), seed, network_seed)


def orders(*starts: int, count: int = 4) -> list[Order]:
    return [Order(Prompt(i, start), count) for i, start in enumerate(starts)]


def turn(trajectory: Trajectory) -> Turn:
    [only] = trajectory.turns
    return only


def equal(a: Trajectory, b: Trajectory) -> bool:
    one, two = turn(a), turn(b)
    pairs = (
        (one.observation, two.observation),
        (one.decisions, two.decisions),
        (one.behaviour_logp, two.behaviour_logp),
        (one.rewards, two.rewards),
    )
    return all(np.array_equal(x, y) for x, y in pairs) and a.stopped == b.stopped


def test_siblings_start_alike_and_then_differ() -> None:
    """Bit for bit the same first observation; other groups start elsewhere; actions are each one's own."""
    groups = sampler().collect(orders(0, 1, count=6))
    firsts = [{turn(t).observation[0].tobytes() for t in g.trajectories} for g in groups]
    assert [len(f) for f in firsts] == [1, 1]
    assert firsts[0] != firsts[1]
    for group in groups:
        actions = {turn(t).decisions.tobytes() for t in group.trajectories}
        assert len(actions) == 6


def test_a_seed_names_every_trajectory() -> None:
    again = [sampler(3).collect(orders(0, 1)) for _ in range(2)]
    for a, b in zip(*again, strict=True):
        assert all(map(equal, a.trajectories, b.trajectories))
    other = sampler(4).collect(orders(0, 1))
    assert not equal(other[0].trajectories[0], again[0][0].trajectories[0])
    start = turn(other[0].trajectories[0]).observation[0]
    assert not np.array_equal(start, turn(again[0][0].trajectories[0]).observation[0])


def test_a_sampler_used_before_plays_as_a_new_one() -> None:
    """Environments are reused between steps; nothing of the last episode stays in them."""
    used = sampler()
    used.collect(orders(7, 8, count=3))
    for a, b in zip(used.collect(orders(0, 1)), sampler().collect(orders(0, 1)), strict=True):
        assert all(map(equal, a.trajectories, b.trajectories))


def test_an_episode_does_not_depend_on_those_beside_it() -> None:
    """The same actions, alone or among many: only the last digits of batched log-probs may differ."""
    many = sampler().collect(orders(0, 1, 2, count=8))
    [alone] = sampler().collect([Order(Prompt(1, 1), 2)])
    for a, b in zip(alone.trajectories, many[1].trajectories, strict=False):
        assert np.array_equal(turn(a).decisions, turn(b).decisions)
        assert np.array_equal(turn(a).observation, turn(b).observation)
        assert np.allclose(turn(a).behaviour_logp, turn(b).behaviour_logp, atol=1e-5)


def test_all_episodes_of_a_step_decide_in_one_forward() -> None:
    """And those that have ended decide no more: 12 in the first step, 6 in the second and third."""
    asked: list[int] = []

    class Counting(CategoricalPolicy):
        def act(self, observations: Any, uniform: Any) -> Any:
            asked.append(len(observations))
            return np.zeros(len(observations), np.int64), np.zeros(len(observations), np.float32)

    short = iter([3, *[1, 3] * 6])  # the first is only looked at
    played = playing(lambda: Countdown(next(short)), policy=Counting(nn.Identity()))
    played.collect(orders(0, 1, count=6))
    assert asked == [12, 6, 6]


def test_every_decision_has_a_number_of_its_own() -> None:
    """By (start, sibling, step), also beyond the steps whose numbers are made at once."""
    world = sampler(seed=3, name="Pendulum-v1")
    [group] = world.collect([Order(Prompt(5, 0), 2)])
    assert turn(group.trajectories[1]).decisions.shape == (200, 1)
    assert 2 * AHEAD < 200
    for i, trajectory in enumerate(group.trajectories):
        seen, chosen = turn(trajectory).observation, turn(trajectory).decisions
        numbers = uniforms(3, np.array(5), np.array(i), np.arange(200))
        again, _ = world.policy.act(seen, numbers[:, None])
        np.testing.assert_allclose(again, chosen, atol=1e-5)


def test_log_probs_are_those_of_the_policy() -> None:
    """What was noted when acting is what the learner computes from the trajectory."""
    played = sampler()
    [group] = played.collect(orders(0))
    inputs = played.policy.inputs([(0, t) for t in group.trajectories])
    noted = np.concatenate([turn(t).behaviour_logp for t in group.trajectories])
    assert np.allclose(played.policy.score(inputs).logp.detach().numpy(), noted, atol=1e-6)


def test_greedy_takes_the_likeliest_action() -> None:
    played = sampler(network_seed=1)
    [group] = played.collect(orders(0, count=2), greedy=True)
    assert equal(*group.trajectories)
    assert np.all(turn(group.trajectories[0]).behaviour_logp >= np.log(0.5) - 1e-6)


def test_shapes_tags_and_progress() -> None:
    """Observations are what was seen before each action, so the last state is not among them."""
    played, seen = sampler(), []
    played.load(7)
    groups = played.collect(orders(0, 1), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (8, 8)
    assert seen == sorted(seen)
    for trajectory in (t for g in groups for t in g.trajectories):
        n = trajectory.n_decisions
        one = turn(trajectory)
        assert one.observation.shape == (n, 4)
        assert one.observation.dtype == np.float32
        assert (len(one.decisions), len(one.behaviour_logp), len(one.rewards)) == (n, n, n)
        assert (trajectory.policy.name, trajectory.policy.version) == ("current", 7)


def test_the_reward_is_the_sum_of_what_the_world_gave() -> None:
    groups = returns(sampler(name="Acrobot-v1").collect(orders(0, count=2)), TrainerState()).cohort
    for trajectory in groups[0].trajectories:
        assert trajectory.reward == turn(trajectory).rewards.sum() < 0
        assert trajectory.parts == {"return": trajectory.reward}


@pytest.mark.parametrize(
    ("n", "stopped", "length"),
    [(3, StopReason.FINISHED, 3), (9, StopReason.LENGTH, 5), (5, StopReason.FINISHED, 5)],
)
def test_an_end_is_told_from_a_cut(n: int, stopped: StopReason, length: int) -> None:
    """A world that ends in its last allowed step has ended, not been cut."""
    [group] = playing(lambda: Countdown(n)).collect(orders(0, count=2))
    for trajectory in group.trajectories:
        assert (trajectory.stopped, trajectory.n_decisions) == (stopped, length)
        assert turn(trajectory).rewards.sum() == length / 2
        assert np.allclose(turn(trajectory).observation[:, 0], np.arange(length) / 10)


def test_cart_pole_is_cut_after_500_steps() -> None:
    """A controller that balances for ever is stopped by the limit: LENGTH, return 500."""

    class Balancing(CategoricalPolicy):
        def act(self, observations: Any, uniform: Any) -> Any:
            x, v, angle, spin = observations.T
            push = 3 * angle + spin + 0.1 * x + 0.3 * v > 0
            return push.astype(np.int64), np.zeros(len(push), dtype=np.float32)

    policy = Balancing(torch.nn.Identity())
    [group] = playing(partial(make, CART), policy=policy).collect(orders(0, count=2))
    [scored] = returns([group], TrainerState()).cohort
    for trajectory in scored.trajectories:
        assert trajectory.stopped is StopReason.LENGTH
        assert (trajectory.n_decisions, trajectory.reward) == (500, 500.0)


@pytest.mark.parametrize(("steps", "length"), [(3, 3), (7, 5), (None, 5)])
def test_a_cut_of_ones_own_comes_before_that_of_the_world(steps: int | None, length: int) -> None:
    [group] = playing(lambda: Countdown(9), episode_steps=steps).collect(orders(0, count=2))
    assert [(t.stopped, t.n_decisions) for t in group.trajectories] == [(StopReason.LENGTH, length)] * 2


def test_an_endless_world_is_cut() -> None:
    [group] = playing(lambda: Countdown(0, cut=0)).collect(orders(0, count=1))
    assert [(t.stopped, t.n_decisions) for t in group.trajectories] == [(StopReason.LENGTH, 1000)]


BOX, PIXELS = gymnasium.spaces.Box, gymnasium.spaces.Box(0, 255, (16, 18, 3), np.uint8)
CHOICES = gymnasium.spaces.MultiDiscrete([3, 2, 4], start=[1, 0, -2])
WORLDS = {
    "choices": (BOX(-1, 1, (3,)), gymnasium.spaces.Discrete(3, start=1), ()),
    "several choices": (gymnasium.spaces.Discrete(5), CHOICES, (3,)),
    "real": (BOX(-1, 1, (3,)), BOX(-2, 3, (2,)), (2,)),
    "boundless": (BOX(-1, 1, (3,)), BOX(-np.inf, np.inf, (1,)), (1,)),
    "pictures": (PIXELS, gymnasium.spaces.MultiBinary(2), (2,)),
    "both": (gymnasium.spaces.Dict({"eye": PIXELS, "speed": BOX(-1, 1, (2,))}), BOX(-1, 1, (1, 2)), (2,)),
}


@pytest.mark.parametrize("world", WORLDS)
def test_every_kind_of_world_is_played_learned_from_and_repeated(world: str) -> None:
    """The world refuses actions outside its space; what was noted is what the learner computes; a gradient
    reaches every weight; and the same seed plays the same to the last bit, as a resumed run does."""
    observations, actions, shape = WORLDS[world]
    played = playing(lambda: Toy(observations, actions))
    groups = played.collect(orders(0, 1, count=3))
    members = [(i, t) for i, g in enumerate(groups) for t in g.trajectories]
    assert all(turn(t).decisions.shape == (6, *shape) for _, t in members)
    scores = played.policy.score(played.policy.inputs(members), entropy_gradient=True)
    noted = np.concatenate([turn(t).behaviour_logp for _, t in members])
    assert np.allclose(scores.logp.detach().numpy(), noted, atol=1e-5)
    (scores.logp.sum() + scores.entropy.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in played.policy.module.parameters())
    again = playing(lambda: Toy(observations, actions)).collect(orders(0, 1, count=3))
    for a, b in zip(groups, again, strict=True):
        assert all(map(equal, a.trajectories, b.trajectories))
    assert len({turn(t).decisions.tobytes() for _, t in members}) == 6
    greedy = played.collect(orders(0, count=2), greedy=True)[0].trajectories
    assert equal(*greedy)


def test_a_step_with_a_picture_takes_more_of_a_micro_batch() -> None:
    """64 episodes of them at once would take tens of gigabytes."""
    [group] = sampler().collect(orders(0, count=1))
    [episode] = group.trajectories
    layouts = (Layout(4), Layout(4, ((96, 96, 3),)), Layout(0, ((64, 32, 1), (16, 16, 3))))
    costs = [NetworkPolicy(nn.Identity(), Categorical(), step_cost(layout)) for layout in layouts]
    assert [p.cost(episode, False) / episode.n_decisions for p in costs] == [1, 1 + 288, 1 + 72]


@pytest.mark.parametrize("name", ["Pendulum-v1", "MountainCarContinuous-v0", "FrozenLake-v1", "Blackjack-v1"])
def test_gymnasiums_own_worlds_are_played(name: str) -> None:
    [group] = player(name, 0, "squash", episode_steps=20).collect(orders(0, count=3))
    assert {t.stopped for t in group.trajectories} <= {StopReason.LENGTH, StopReason.FINISHED}


FURTHER = ("LunarLander-v3", "Hopper-v5", "BipedalWalker-v3")
MODULES = ("minigrid:MiniGrid-Empty-5x5-v0", "highway_env:parking-v0")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Box2D's import crashes where they are errors
@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("name", FURTHER + MODULES)
def test_worlds_of_further_packages_are_played(name: str) -> None:
    try:
        made = player(name, 0, "clip", episode_steps=5 if "highway" in name else 20)
    except UnplayableError as error:
        pytest.skip(str(error))
    [group] = made.collect(orders(0, count=2))
    assert StopReason.ERROR not in {t.stopped for t in group.trajectories}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CartPoul-v1", r"'CartPoul-v1'.*Near it: CartPole-v"),
        ("CartPole-v99", r"'CartPole-v99'"),
        ("no/such/World", r"no/such/World"),
        ("module_that_is_not_there:World-v0", r"module_that_is_not_there"),
        ("no_such_file.py:World-v0", r"no_such_file.py"),
        ("", r"''"),
    ],
)
def test_what_cannot_be_played_is_refused_by_name(name: str, words: str) -> None:
    with pytest.raises(UnplayableError, match=words):
        player(name, 0, "squash")


def test_a_world_that_cannot_be_made_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise KeyError("no such track")

    gymnasium.register("Broken-v0", broken)
    gymnasium.register("Talking-v0", lambda: Toy(gymnasium.spaces.Text(5), gymnasium.spaces.Discrete(2)))
    try:
        with pytest.raises(UnplayableError, match=r"Broken-v0 raised when it was made: KeyError.*track"):
            player("Broken-v0", 0, "squash")
        with pytest.raises(UnplayableError, match=r"Talking-v0 cannot be played.*observations Text"):
            player("Talking-v0", 0, "squash")
    finally:
        del gymnasium.registry["Broken-v0"], gymnasium.registry["Talking-v0"]


def test_what_is_not_read_is_told() -> None:
    parts = {"mission": gymnasium.spaces.Text(5), "place": gymnasium.spaces.Discrete(4)}
    gymnasium.register("Mission-v0", lambda: Toy(gymnasium.spaces.Dict(parts), gymnasium.spaces.Discrete(2)))
    try:
        with pytest.warns(UserWarning, match="Mission-v0: of its observations, mission"):
            player("Mission-v0", 0, "squash")
    finally:
        del gymnasium.registry["Mission-v0"]


def needy() -> Any:
    """As gymnasium's own environments are that need a further package."""
    raise gymnasium.error.DependencyNotInstalled("Box2D is not installed, you can install it by ...")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("a_module_that_is_not_there:World", r"cannot make 'Needy-v0': No module named 'a_module_that_is"),
        (needy, r"cannot make 'Needy-v0': Box2D is not installed, you can install it by"),
    ],
)
def test_a_world_whose_library_is_missing_is_refused_by_name(entry: Any, words: str) -> None:
    """Box2D and the like need further packages; gymnasium says which."""
    gymnasium.register("Needy-v0", entry)
    try:
        with pytest.raises(UnplayableError, match=words):
            make("Needy-v0")
    finally:
        del gymnasium.registry["Needy-v0"]


def test_a_module_of_an_extra_is_told_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(UnplayableError, match=r"no module 'minigrid'.* pip install -e '\.\[worlds\]'"):
        make("minigrid:MiniGrid-Empty-5x5-v0")


def test_an_id_that_a_file_does_not_register_is_told_with_those_it_does(tmp_path: Any) -> None:
    """gymnasium's own hint names whatever of its worlds is spelt alike."""
    source = "import gymnasium, worlds\ngymnasium.register('Track-v0', lambda: worlds.Countdown(3))\n"
    try:
        for i, asked in enumerate((":Trck-v0", "")):
            path = tmp_path / f"track{i}.py"
            path.write_text(source)
            with pytest.raises(UnplayableError, match=rf"write .*{path.name}:ID. .* registers Track-v0"):
                make(f"{path}{asked}")
            del gymnasium.registry["Track-v0"]
    finally:
        gymnasium.registry.pop("Track-v0", None)


def test_a_file_of_ones_own_is_a_world(tmp_path: Any) -> None:
    source = "import gymnasium, worlds\ngymnasium.register('Mine-v0', lambda: worlds.Countdown(3))\n"
    (tmp_path / "mine.py").write_text(source)
    try:
        [group] = player(f"{tmp_path}/mine.py:Mine-v0", 0, "squash").collect(orders(0, count=2))
        assert [t.n_decisions for t in group.trajectories] == [3, 3]
    finally:
        del gymnasium.registry["Mine-v0"]


def test_held_out_starts_are_never_trained_on() -> None:
    asked = task(CART)
    train = {p.content for step in range(50) for p in asked.stream(64 * step, 64, seed=0)}
    held_out = {p.content for p in asked.examples(1000)}
    assert (len(train), len(held_out)) == (50 * 64, 1000)
    assert not train & held_out
    assert (asked.name, asked.measure) == (f"gym:{CART}", "reward")
    with pytest.raises(IndexError):
        Seeds(0, 3)[3]


def test_the_first_policy_is_near_uniform() -> None:
    chances = player(CART, 0, "squash").policy.module(torch.randn(100, 4)).softmax(-1)
    assert (chances - 0.5).abs().max() < 0.05


def test_real_actions_deviate_as_they_are_told_to_at_the_start() -> None:
    """Clipped ones: u itself; 2000 decisions of a fresh policy, whose means are all near 0."""
    made = player("Pendulum-v1", 0, "clip", episode_steps=100, noise=2.0)
    groups = made.collect(orders(0, 1, count=10))
    drawn = np.concatenate([turn(t).decisions for g in groups for t in g.trajectories])
    assert drawn.std() == pytest.approx(2.0, rel=0.05)
