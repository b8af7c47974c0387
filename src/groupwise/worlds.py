"""From settings to a world: task, policy, sampler and score of what is no language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from groupwise.distributions import Gaussian, Squashed
from groupwise.models import Loaded
from groupwise.opponents import Fixed, Snapshot, shares_of, snapshot, spared
from groupwise.policies import NetworkPolicy, Policy
from groupwise.rewards.scoring import Scored, TrainerState
from groupwise.rollouts import Sampler
from groupwise.settings import ConfigError, Settings
from groupwise.tasks.task import Task
from groupwise.trajectory import CURRENT, Group

NUMERIC = ("bounds", "noise", "episode_steps", "normalise_observations", "normalise_rewards")
"""Settings of environments whose observations and actions are numbers."""
OF_LANGUAGE = (
    "model", "reward", "gold", "held_out_file", "stop", "temperature", "lora_rank", "seats", "kind",
    "max_turns", "max_context",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class World:
    """What differs between a language model and an environment."""

    task: Task
    policy: Policy
    sampler: Sampler
    score: Callable[[Sequence[Group], TrainerState], Scored]
    dtype: torch.dtype = torch.float32
    """In which the trained weights compute."""
    loaded: Loaded | None = None
    """The language model, where there is one."""
    spared: Callable[[int], Sequence[int]] = lambda newest: ()
    """The checkpoints that its sampler may ask for, given the newest."""


def world_of(s: Settings, folder: Path) -> World:
    """The world of completed settings whose task is gym:ID, game:NAME or zoo:MODULE.

    Raises:
        ConfigError, UnplayableError: settings that are not for it, a package that is missing, a world that
            cannot be played.
    """
    kind, _, name = s.task.partition(":")
    refuse(s, OF_LANGUAGE, f"only for language models, and {s.task} is an environment")
    if kind == "game":
        refuse(s, (*NUMERIC, "siblings", "resample"), f"not for games, and {s.task} is one")
        return _game(s, name, folder)
    refuse(s, ("opponents",), f"only for games (game:NAME), and {s.task} is none")
    if s.noise <= 0:
        raise ConfigError(f"--noise {s.noise}: above 0; without noise nothing is tried")
    if s.episode_steps is not None and s.episode_steps < 1:
        raise ConfigError(f"--episode-steps {s.episode_steps}: at least 1")
    if kind == "zoo":
        return _zoo(s, name)
    refuse(s, ("siblings",), f"only for several agents in one world (zoo:MODULE), and {s.task} is none")
    return _gym(s)


def refuse_worldly(s: Settings) -> None:
    """Raises ConfigError for settings of worlds where there is a language model."""
    refuse(s, (*NUMERIC, "siblings", "opponents"), f"only for environments (gym:ID), and {s.task} is none")


def refuse(s: Settings, names: Sequence[str], why: str) -> None:
    """Raises ConfigError for those of the named settings that are not at their defaults."""
    given = [name for name in names if getattr(s, name) != getattr(Settings, name)]
    if given:
        flags = [f"--{name.replace('_', '-')}" for name in given]
        raise ConfigError(f"{', '.join(flags)}: {why}")


def _gym(s: Settings) -> World:
    try:
        from groupwise.envs import classic
        from groupwise.envs.markets.specs import is_market
    except ImportError as error:
        raise ConfigError("gymnasium is not installed: pip install -e '.[gym]'") from error
    name = s.task.removeprefix("gym:")
    if is_market(name):
        refuse(s, ("episode_steps",), "prices have episodes of their own; market:PRICES,length=N sets theirs")
    sampler = classic.player(
        name, s.seed, s.bounds, s.episode_steps, s.normalise_observations, s.normalise_rewards, s.noise
    )
    _refuse_unreal(s, sampler.policy)
    return World(classic.task(name), sampler.policy, sampler, classic.returns)


def _zoo(s: Settings, name: str) -> World:
    try:
        from groupwise.envs import scenes, zoo
        from groupwise.envs.networks import network
        from groupwise.envs.scene_sampler import each_seat, together
    except ImportError as error:
        raise ConfigError("gymnasium is not installed: pip install -e '.[zoo]'") from error
    grouped = {"agent": each_seat, "all": together}
    if s.siblings not in grouped:
        raise ConfigError(f"--siblings {s.siblings!r}: agent or all")
    refuse(s, ("resample",), f"of a start come several groups in {s.task}")
    sampler = zoo.player(
        name,
        s.seed,
        s.bounds,
        s.episode_steps,
        s.normalise_observations,
        s.normalise_rewards,
        grouped[s.siblings],
        partial(network, noise=s.noise),
    )
    _refuse_unreal(s, sampler.policy)
    return World(zoo.task(name), sampler.policy, sampler, scenes.returns)


def _refuse_unreal(s: Settings, policy: NetworkPolicy) -> None:
    if not isinstance(policy.distribution, Gaussian | Squashed):
        refuse(s, ("bounds", "noise"), f"only for actions that are real numbers; {s.task} has others")


def _game(s: Settings, name: str, folder: Path) -> World:
    try:
        from groupwise.envs import scenes, selfplay
    except ImportError as error:
        raise ConfigError("open-spiel is not installed: pip install -e '.[games]'") from error
    game = selfplay.Table.of(name)
    shares = {CURRENT: 1} if s.opponents is None else shares_of(s.opponents, list(game.players))

    def other(policy: NetworkPolicy, name: str) -> Snapshot | Fixed:
        return snapshot(policy, name, s.task, folder, s.save_every)

    sampler = selfplay.player(game, s.seed, shares, other)
    return World(
        selfplay.task(game, shares),
        sampler.policy,
        sampler,
        scenes.returns,
        spared=spared(shares, s.save_every),
    )
