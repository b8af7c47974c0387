"""Several agents in one world, PettingZoo's parallel kind: all of them by one policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from groupwise.envs.make import UNLIMITED_STEPS
from groupwise.envs.make import make as make_gym
from groupwise.envs.networks import Layout, network
from groupwise.envs.normalise import Moments, Normaliser
from groupwise.envs.parted import Parted
from groupwise.envs.scene_sampler import Grouped, SceneSampler, each_seat
from groupwise.envs.spaces import Controls, Senses, UnplayableError, controls, senses, tell_unread
from groupwise.policies import NetworkPolicy
from groupwise.tasks import seeds
from groupwise.tasks.task import Task
from groupwise.user_code import UserCodeError, module_of

Body = Callable[[Layout, int, int, int], nn.Module]
"""(layout, outputs, log-deviations, seed) -> a network, as `networks.network` makes them."""


def make(name: str, **options: Any) -> Any:
    """A parallel environment by `MODULE` (its `parallel_env`), `MODULE:FUNCTION` or `FILE.py:FUNCTION`, or a
    gymnasium environment of several agents by `[MODULE:]Id-v0`.

    Raises:
        UnplayableError: naming what is missing.
    """
    if re.search(r"-v\d+$", name):
        return Parted(make_gym(name, **options))
    place, _, function = name.rpartition(":") if ":" in name else (name, ":", "parallel_env")
    try:
        module = module_of(place)
    except UserCodeError as error:
        raise UnplayableError(f"the environment {name!r}: {error}") from error
    made = getattr(module, function, None)
    if made is None:
        raise UnplayableError(
            f"{place} has no {function}: zoo:MODULE needs a function parallel_env that makes an environment "
            "of PettingZoo's parallel kind; another function is zoo:MODULE:FUNCTION"
        )
    try:
        return made(**options)
    except Exception as error:
        raise UnplayableError(f"{name} raised when it was made: {type(error).__name__}: {error}") from error


class Crowd:
    """A parallel environment as a scene: all agents that live are asked at once."""

    def __init__(self, env: Any, senses: Senses, limit: int) -> None:
        self.env, self._senses, self._limit = env, senses, limit
        self._names = list(env.possible_agents)
        self.seats = len(self._names)
        self.width = senses.layout.vector + self.seats
        self._who = np.eye(self.seats, dtype=np.float32)
        self._asked: dict[int, np.ndarray] = {}
        self._given = [0.0] * self.seats
        self._steps = 0
        self.cut: set[int] = set()

    def begin(self, seed: int, start: Mapping[str, Any]) -> None:
        seen, _ = self.env.reset(seed=seed)
        self._given, self._steps, self.cut = [0.0] * self.seats, 0, set()
        self._see(seen)

    def asked(self) -> Mapping[int, np.ndarray]:
        return self._asked

    def act(self, actions: Mapping[int, Any]) -> None:
        named = {self._names[seat]: action for seat, action in actions.items()}
        seen, rewards, terminated, truncated, _ = self.env.step(named)
        for seat, name in enumerate(self._names):
            self._given[seat] += float(rewards.get(name, 0.0))
            if truncated.get(name) and not terminated.get(name):
                self.cut.add(seat)
        self._steps += 1
        self._see(seen)
        if self._steps >= self._limit:
            self.cut |= self._asked.keys()
            self._asked = {}

    def given(self) -> Sequence[float]:
        return list(self._given)

    def told(self) -> str:
        return ""

    def close(self) -> None:
        self.env.close()

    def _see(self, seen: Mapping[str, Any]) -> None:
        """A row is what an agent sees, and which one it is."""
        live = set(self.env.agents)
        self._asked = {
            seat: np.concatenate([self._senses.read(seen[name]), self._who[seat]])
            for seat, name in enumerate(self._names)
            if name in live
        }


def task(name: str) -> Task:
    """Training and held-out start states of an environment."""
    return Task(f"zoo:{name}", seeds.trained_on(), seeds.held_out(), rewards=())


def scene(name: str, episode_steps: int | None = None, **options: Any) -> Crowd:
    """The environment as a scene, cut after `episode_steps` if it goes on for longer."""
    env = make(name, **options)
    return Crowd(env, seen_in(name, env), episode_steps or UNLIMITED_STEPS)


def seen_in(name: str, env: Any) -> Senses:
    """How all of its agents see.

    Raises:
        UnplayableError: they differ in what they see or do, or see pictures.
    """
    spaces = {agent: (env.observation_space(agent), env.action_space(agent)) for agent in env.possible_agents}
    [first, *others] = spaces.items()
    for agent, both in others:
        if both != first[1]:
            raise UnplayableError(
                f"{name}: one policy plays all agents, so they have to be alike, and {first[0]} has "
                f"{_said(first[1])} where {agent} has {_said(both)}"
            )
    try:
        seen = senses(first[1][0])
    except UnplayableError as error:
        raise UnplayableError(f"{name} cannot be played: {error}") from error
    if seen.layout.pictures:
        raise UnplayableError(f"{name} shows pictures, and several agents in one world are shown numbers")
    return seen


def _said(both: tuple[Any, Any]) -> str:
    return f"observations {both[0]} and actions {both[1]}"


def acted_in(env: Any, bounds: str) -> Controls:
    return controls(env.action_space(env.possible_agents[0]), bounds)


def player(
    name: str,
    seed: int,
    bounds: str,
    episode_steps: int | None = None,
    normalise_observations: bool = False,
    normalise_rewards: bool = False,
    grouped: Grouped = each_seat,
    body: Body = network,
) -> SceneSampler:
    """Plays all agents of an environment with one fresh policy, which is told which agent it is.

    Args:
        grouped: whose returns are compared.
        body: makes the network.

    Raises:
        UnplayableError: naming the environment and the reason.
    """
    first = scene(name, episode_steps)
    numbers = first.width - first.seats
    try:
        acted = acted_in(first.env, bounds)
        tell_unread(name, seen_in(name, first.env))
    except UnplayableError as error:
        raise UnplayableError(f"{name} cannot be played: {error}") from error
    finally:
        first.close()
    made = body(Layout(first.width), acted.outputs, acted.log_stds, seed)
    normaliser = Normaliser(
        Moments.unknown(numbers) if normalise_observations else None,
        Moments.unknown(1) if normalise_rewards else None,
    )
    return SceneSampler(
        NetworkPolicy(made, acted.distribution),
        partial(scene, name, episode_steps),
        seed,
        grouped,
        actions=acted.actions,
        normaliser=normaliser,
    )
