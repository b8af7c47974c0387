"""Gymnasium environments with discrete actions: one episode is one trajectory, one start one group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import nn

from groupwise.groups import Order
from groupwise.policies import CategoricalPolicy
from groupwise.randomness import subseed, uniforms
from groupwise.rewards.scoring import Scored, TrainerState
from groupwise.rollouts import Finished, Progress
from groupwise.tasks.task import Row, Task
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

HIDDEN = 64
"""Width of the two hidden layers."""


class UnplayableError(ValueError):
    """An environment that cannot be made or is not of a kind we play."""


def make(name: str) -> gymnasium.Env[Any, Any]:
    """A gymnasium environment by id, checked: flat observations, discrete actions.

    Raises:
        UnplayableError: naming the id and the reason.
    """
    try:
        env = gymnasium.make(name)
    except (gymnasium.error.Error, ImportError) as error:
        raise UnplayableError(f"gymnasium has no environment {name!r}: {error}") from error
    if not isinstance(env.action_space, Discrete) or env.action_space.start != 0:
        raise UnplayableError(f"{name} has actions {env.action_space}; Discrete actions from 0 are played")
    if not isinstance(env.observation_space, Box) or len(env.observation_space.shape) != 1:
        raise UnplayableError(f"{name} has observations {env.observation_space}; flat Box ones are read")
    return env


def network(env: gymnasium.Env[Any, Any], seed: int) -> nn.Module:
    """A small tanh network from observations to action logits; near-uniform at the start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width, actions = env.observation_space.shape[0], int(env.action_space.n)
        layers = [nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, actions)]
        for layer, gain in zip(layers, (2**0.5, 2**0.5, 0.01), strict=True):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


@dataclass(frozen=True, slots=True)
class Starts:
    """Start states by seed, `first` onwards."""

    first: int
    number: int

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < self.number:
            raise IndexError(index)
        return {"prompt": self.first + index}


def task(name: str) -> Task:
    """Training and held-out start states of an environment."""
    return Task(f"gym:{name}", Starts(0, 1_000_000), Starts(1_000_000, 1_000), rewards=())


def returns(cohort: Sequence[Group], state: TrainerState) -> Scored:
    """The reward of an episode is the sum of what the environment gave."""
    return Scored(
        [replace(g, trajectories=tuple(map(_with_return, g.trajectories))) for g in cohort],
    )


def _with_return(trajectory: Trajectory) -> Trajectory:
    total = float(sum(turn.rewards.sum() for turn in trajectory.turns if turn.rewards is not None))
    return replace(trajectory, reward=total, parts={"return": total})


class EnvironmentSampler:
    """Plays all episodes of a step side by side; every sibling starts from the same seed."""

    def __init__(self, policy: CategoricalPolicy, make_env: Callable[[], Any], seed: int) -> None:
        self.policy, self._make, self._seed = policy, make_env, seed
        self._envs: list[Any] = []
        self._tag = PolicyTag()

    def load(self, version: int) -> None:
        self._tag = replace(self._tag, version=version)

    def memory(self) -> Mapping[str, Any]:
        return {}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """It learns nothing from one step for the next."""

    def collect(
        self,
        orders: Sequence[Order],
        greedy: bool = False,
        progress: Progress | None = None,
        finished: Finished | None = None,
    ) -> list[Group]:
        episodes = [_Episode(o.prompt, sample) for o in orders for sample in range(o.count)]
        while len(self._envs) < len(episodes):
            self._envs.append(self._make())
        for env, episode in zip(self._envs, episodes, strict=False):
            # the world's seed is not the run's: two runs with other seeds see other starts
            observation, _ = env.reset(seed=subseed(self._seed, int(episode.prompt.content)))  # type: ignore[arg-type]
            episode.env, episode.observation = env, np.asarray(observation, dtype=np.float32)
        running = episodes
        while running:
            self._act(running, greedy)
            running = [e for e in running if e.stopped is None]
            if progress is not None:
                progress(len(episodes) - len(running), len(episodes))
        played = iter(episodes)
        return [
            Group(o.prompt, tuple(next(played).trajectory(self._tag) for _ in range(o.count))) for o in orders
        ]  # `finished` is not called: a return is summed up at once

    def _act(self, episodes: Sequence[_Episode], greedy: bool) -> None:
        uniform = None
        if not greedy:
            ordinals = np.array([e.prompt.ordinal for e in episodes])
            samples = np.array([e.sample for e in episodes])
            uniform = uniforms(self._seed, ordinals, samples, np.array([len(e.actions) for e in episodes]))
        actions, logp = self.policy.act(np.stack([e.observation for e in episodes]), uniform)
        for episode, action, value in zip(episodes, actions.tolist(), logp.tolist(), strict=True):
            episode.step(action, value)


class _Episode:
    """One episode under way."""

    env: Any
    observation: np.ndarray

    def __init__(self, prompt: Prompt, sample: int) -> None:
        self.prompt, self.sample = prompt, sample
        self.observations: list[np.ndarray] = []
        self.actions: list[int] = []
        self.logp: list[float] = []
        self.rewards: list[float] = []
        self.stopped: StopReason | None = None

    def step(self, action: int, logp: float) -> None:
        self.observations.append(self.observation)
        self.actions.append(action)
        self.logp.append(logp)
        observation, reward, terminated, truncated, _ = self.env.step(action)
        self.observation = np.asarray(observation, dtype=np.float32)
        self.rewards.append(float(reward))
        if terminated or truncated:
            self.stopped = StopReason.FINISHED if terminated else StopReason.LENGTH

    def trajectory(self, tag: PolicyTag) -> Trajectory:
        assert self.stopped is not None
        turn = Turn(
            np.stack(self.observations),
            np.array(self.actions),
            np.array(self.logp, dtype=np.float32),
            np.array(self.rewards),
        )
        return Trajectory((turn,), tag, self.stopped)
