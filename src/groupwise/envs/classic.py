"""A gymnasium environment to train in: one episode is one trajectory, one start one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from groupwise.envs.make import make
from groupwise.envs.markets.specs import held_out, is_market
from groupwise.envs.networks import NOISE, network, step_cost
from groupwise.envs.normalise import Moments, Normaliser
from groupwise.envs.sampler import EnvironmentSampler
from groupwise.envs.spaces import UnplayableError, controls, senses, tell_unread
from groupwise.policies import NetworkPolicy
from groupwise.rewards.scoring import Scored, TrainerState
from groupwise.tasks import seeds
from groupwise.tasks.task import Task
from groupwise.trajectory import Group, StopReason, Trajectory


def task(name: str) -> Task:
    """Training and held-out start states of an environment."""
    if is_market(name):
        return Task(name, seeds.trained_on(), held_out(name), rewards=())
    return Task(f"gym:{name}", seeds.trained_on(), seeds.held_out(), rewards=())


def player(
    name: str,
    seed: int,
    bounds: str,
    episode_steps: int | None = None,
    normalise_observations: bool = False,
    normalise_rewards: bool = False,
    noise: float = NOISE,
) -> EnvironmentSampler:
    """Plays an environment with a fresh policy, whatever its spaces are; the policy is the sampler's own.

    Raises:
        UnplayableError: naming the environment and the reason.
    """
    env = make(name)
    try:
        seen, acted = senses(env.observation_space), controls(env.action_space, bounds)
    except UnplayableError as error:
        raise UnplayableError(f"{name} cannot be played: {error}") from error
    finally:
        env.close()
    tell_unread(name, seen)
    body = network(seen.layout, acted.outputs, acted.log_stds, seed, noise)
    policy = NetworkPolicy(body, acted.distribution, step_cost(seen.layout))
    if normalise_observations and not seen.layout.vector:
        raise UnplayableError(f"{name} shows pictures alone, and these need no --normalise-observations")
    normaliser = Normaliser(
        Moments.unknown(seen.layout.vector) if normalise_observations else None,
        Moments.unknown(1) if normalise_rewards else None,
    )
    return EnvironmentSampler(
        policy, partial(make, name), seen, acted, seed, episode_steps, normaliser=normaliser
    )


def returns(cohort: Sequence[Group], state: TrainerState) -> Scored:
    """The reward of an episode is the sum of its turns' rewards; one that failed has none.

    The part `return` is the sum of what the environment gave, before any scale.
    """
    return Scored(
        [replace(g, trajectories=tuple(map(_with_return, g.trajectories))) for g in cohort],
    )


def _with_return(trajectory: Trajectory) -> Trajectory:
    if trajectory.stopped is StopReason.ERROR:
        return replace(trajectory, reward=None, parts={"return": None})
    total = float(sum(turn.rewards.sum() for turn in trajectory.turns if turn.rewards is not None))
    return replace(trajectory, reward=total, parts={"return": total, **trajectory.parts})
