"""One run of one side: its curve, measured in the same way on both.

A point is [steps of the environment so far, seconds of training, of those the processor's, mean return of the
held-out starts with the likeliest actions, the same with drawn ones]. Evaluation is not in the seconds. Both
sides are evaluated on the same starts.
"""

from __future__ import annotations

import importlib
import io
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import DtypeObservation
from rich.console import Console

from control_setups import Setup
from groupwise.config import build
from groupwise.envs.classic import task
from groupwise.envs.make import make
from groupwise.groups import Order
from groupwise.randomness import subseed
from groupwise.settings import Settings
from groupwise.trainer import train

Play = Callable[[bool], Sequence[float]]
"""Greedy? -> the returns of the held-out starts."""


class Course:
    """Measures a run as it goes."""

    def __init__(self, budget: int, points: int, play: Play) -> None:
        self.points: list[list[float]] = []
        self._budget, self._play, self._due = budget, play, 0.0
        self._gap = budget / points
        self._wall = self._processor = 0.0
        self._since: tuple[float, float] | None = None

    def passed(self, steps: int) -> None:
        """Called between updates, first with 0; measures where a point is due."""
        self._stop()
        if steps >= self._due:
            greedy, drawn = (float(np.mean(self._play(g))) for g in (True, False))
            times = [round(self._wall, 2), round(self._processor, 2)]
            self.points.append([steps, *times, round(greedy, 3), round(drawn, 3)])
            self._due = min(self._gap * (steps // self._gap + 1), self._budget)
            if steps >= self._budget:
                self._due = math.inf
        self._since = time.perf_counter(), time.process_time()

    def finished(self, steps: int) -> bool:
        return steps >= self._budget

    def _stop(self) -> None:
        if self._since is not None:
            self._wall += time.perf_counter() - self._since[0]
            self._processor += time.process_time() - self._since[1]
        self._since = None


def run(side: str, setup: Setup, seed: int) -> dict[str, Any]:
    """The whole curve of one side with one seed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    return {"ours": ours, "ppo": ppo}[side](setup, seed)


# ---------------------------------------------------------------- ours


class _Watcher:
    """A run's journal that tells a course how far it is, and writes nothing."""

    def __init__(self) -> None:
        self.course: Course | None = None
        self.steps = 0

    def start(self, state: Any) -> None: ...

    def phase(self, name: str) -> Callable[[int, int], None]:
        if name == "writing answers" and not self.steps and self.course and not self.course.points:
            self.course.passed(0)
        return lambda done, of: None

    def samples(self, step: int, cohort: Any) -> None: ...

    def evaluation(self, step: int, evaluation: Any) -> None: ...

    def verdict(self, step: int, verdict: Any, cohort: Any) -> None: ...

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        assert self.course is not None
        self.steps = int(numbers["num_tokens"])
        self.course.passed(self.steps)


def ours(setup: Setup, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            task=f"gym:{setup.world}",
            seed=seed,
            device="cpu",
            **{"steps": 1_000_000, "held_out": 1, "save_every": 1_000_000, **setup.ours},
        )
        watcher = _Watcher()
        built = build(settings, Path(folder), Console(file=io.StringIO()), lambda: False)
        built.journal.close()
        sampler = built.run.sampler
        prompts = task(setup.world).examples(setup.episodes)

        def play(greedy: bool) -> list[float]:
            known = sampler.memory()
            groups = sampler.collect([Order(prompt, 1) for prompt in prompts], greedy=greedy)
            sampler.recall(known)  # drawn episodes are not for learning here
            return [float(group.trajectories[0].parts["return"]) for group in groups]

        course = watcher.course = Course(setup.steps, setup.points, play)
        done = replace(built.run, journal=watcher, stopping=lambda: course.finished(watcher.steps))
        state = train(done)
        return {"points": course.points, "updates": state.step}


# ---------------------------------------------------------------- stable-baselines3


def ppo(setup: Setup, seed: int) -> dict[str, Any]:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    given = dict(setup.ppo)
    envs, normalise = given.pop("n_envs", 1), given.pop("normalize", False)
    one = partial(_wrapped, setup)
    world = make_vec_env(one, n_envs=envs, seed=seed)
    if normalise:
        world = VecNormalize(world, gamma=given.get("gamma", 0.99))
    model = PPO("MlpPolicy", world, seed=seed, device="cpu", **_read(given))
    starts = [subseed(seed, int(p.content)) for p in task(setup.world).examples(setup.episodes)]
    shown = [one() for _ in starts]
    course = Course(setup.steps, setup.points, lambda greedy: _played(model, shown, starts, greedy))

    class Between(BaseCallback):
        def _on_rollout_start(self) -> None:  # the update before it is done
            course.passed(self.num_timesteps)

        def _on_step(self) -> bool:
            return True

    model.learn(setup.steps, callback=Between())
    course.passed(model.num_timesteps)
    return {"points": course.points, "updates": model._n_updates}


def _wrapped(setup: Setup) -> gymnasium.Env[Any, Any]:
    env = make(setup.world)
    if not setup.wrapper:
        return env
    module, _, name = setup.wrapper.partition(":")
    env = getattr(importlib.import_module(module), name)(env)
    # its rollout buffer keeps rows in the space's own type: normalised numbers would be cut to whole bytes
    return DtypeObservation(env, np.float32)


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    """The zoo's words as stable-baselines3 has them."""
    ready = dict(given)
    for name, value in given.items():
        if isinstance(value, str) and value.startswith("lin_"):
            ready[name] = partial(lambda start, left: start * left, float(value.removeprefix("lin_")))
    if "policy_kwargs" in given:
        policy = dict(given["policy_kwargs"])
        if "activation_fn" in policy:
            policy["activation_fn"] = getattr(torch.nn, policy["activation_fn"])
        ready["policy_kwargs"] = policy
    return ready


def _played(model: Any, envs: Sequence[Any], starts: Sequence[int], greedy: bool) -> list[float]:
    """The return of one episode from each start, all side by side; nothing is learnt from them."""
    norm = model.get_vec_normalize_env()
    seen = [env.reset(seed=start)[0] for env, start in zip(envs, starts, strict=True)]
    returns, running = [0.0] * len(envs), list(range(len(envs)))
    if model.use_sde:
        model.policy.reset_noise(len(envs))
    while running:
        rows = np.stack([seen[i] for i in running])
        actions, _ = model.predict(rows if norm is None else norm.normalize_obs(rows), deterministic=greedy)
        for i, action in zip(list(running), actions, strict=True):
            seen[i], reward, terminated, truncated, _ = envs[i].step(action)
            returns[i] += float(reward)
            if terminated or truncated:
                running.remove(i)
    return returns
