"""Episodes: siblings share their start and nothing else, and each depends on its own numbers alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from groupwise.envs import classic  # noqa: E402
from groupwise.envs.classic import EnvironmentSampler, UnplayableError, make, network, returns, task  # noqa: E402
from groupwise.groups import Order  # noqa: E402
from groupwise.policies import CategoricalPolicy  # noqa: E402
from groupwise.rewards.scoring import TrainerState  # noqa: E402
from groupwise.trajectory import Prompt, StopReason, Trajectory, Turn  # noqa: E402

CART = "CartPole-v1"


def sampler(seed: int = 0, name: str = CART, network_seed: int = 0) -> EnvironmentSampler:
    policy = CategoricalPolicy(network(make(name), network_seed))
    return EnvironmentSampler(policy, partial(make, name), seed)


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


class Countdown(gymnasium.Env[Any, Any]):
    """Ends by itself after `n` steps, or is cut at the 5th."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, n: int) -> None:
        self.n = n

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.at = 0
        return np.zeros(2), {}

    def step(self, action: int) -> Any:
        self.at += 1
        return np.full(2, self.at / 10), 0.5, self.at == self.n, self.at == 5, {}


@pytest.mark.parametrize(
    ("n", "stopped", "length"),
    [(3, StopReason.FINISHED, 3), (9, StopReason.LENGTH, 5), (5, StopReason.FINISHED, 5)],
)
def test_an_end_is_told_from_a_cut(n: int, stopped: StopReason, length: int) -> None:
    """A world that ends in its last allowed step has ended, not been cut."""
    policy = CategoricalPolicy(network(Countdown(n), 0))
    [group] = EnvironmentSampler(policy, lambda: Countdown(n), 0).collect(orders(0, count=2))
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

    policy = Balancing(network(make(CART), 0))
    [group] = EnvironmentSampler(policy, partial(make, CART), 0).collect(orders(0, count=2))
    [scored] = returns([group], TrainerState()).cohort
    for trajectory in scored.trajectories:
        assert trajectory.stopped is StopReason.LENGTH
        assert (trajectory.n_decisions, trajectory.reward) == (500, 500.0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoSuchWorld-v0", r"'NoSuchWorld-v0'"),
        ("CartPole-v99", r"'CartPole-v99'"),
        ("no/such/World", r"no/such/World"),
        ("module_that_is_not_there:World-v0", r"module_that_is_not_there"),
        ("", r"''"),
        ("Pendulum-v1", r"Pendulum-v1 has actions Box.*Discrete"),
        ("MountainCarContinuous-v0", r"MountainCarContinuous-v0 has actions Box.*Discrete"),
        ("FrozenLake-v1", r"FrozenLake-v1 has observations Discrete.*Box"),
    ],
)
def test_what_cannot_be_played_is_refused_by_name(name: str, words: str) -> None:
    with pytest.raises(UnplayableError, match=words):
        make(name)


def test_a_world_whose_library_is_missing_is_refused_by_name() -> None:
    """Box2D and the like need further packages; gymnasium says which."""
    try:
        import Box2D  # noqa: F401
    except ImportError:
        with pytest.raises(UnplayableError, match=r"LunarLander-v3.*box2d"):
            make("LunarLander-v3")


def test_held_out_starts_are_never_trained_on() -> None:
    asked = task(CART)
    train = {p.content for step in range(50) for p in asked.stream(64 * step, 64, seed=0)}
    held_out = {p.content for p in asked.examples(1000)}
    assert (len(train), len(held_out)) == (50 * 64, 1000)
    assert not train & held_out
    assert (asked.name, asked.measure) == (f"gym:{CART}", "reward")
    with pytest.raises(IndexError):
        classic.Starts(0, 3)[3]


def test_the_first_policy_is_near_uniform_and_drawn_by_the_seed() -> None:
    """And drawing it leaves the global random numbers alone."""
    import torch

    env = make(CART)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    nets = [network(env, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(3), expected)
    weights = [torch.cat([p.flatten() for p in net.parameters()]) for net in nets]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    chances = nets[0](torch.randn(100, 4)).softmax(-1)
    assert (chances - 0.5).abs().max() < 0.05
