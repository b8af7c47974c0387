"""Plays episodes: all of a step side by side, every sibling from the same start."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import compress, count, islice
from typing import Any

import numpy as np
import torch

from groupwise.envs.episodes import Episode
from groupwise.envs.faults import Faults
from groupwise.envs.make import UNLIMITED_STEPS, limit_of
from groupwise.envs.normalise import Normaliser
from groupwise.envs.spaces import Controls, Senses
from groupwise.envs.watch import Watch
from groupwise.groups import Order
from groupwise.policies import NetworkPolicy
from groupwise.randomness import subseed, uniforms
from groupwise.rollouts import Finished, Progress
from groupwise.trajectory import Group, PolicyTag, StopReason

AHEAD = 64
"""Steps whose random numbers are made at once."""


class EnvironmentSampler:
    """Plays all episodes of a step side by side; every sibling starts from the same seed.

    So siblings share the world's luck too, and differ by what was decided; a baseline from siblings stays
    independent of the decisions that it is for.
    """

    def __init__(
        self,
        policy: NetworkPolicy,
        make_env: Callable[[], Any],
        senses: Senses,
        controls: Controls,
        seed: int,
        episode_steps: int | None = None,
        watch: Watch | None = None,
        normaliser: Normaliser | None = None,
    ) -> None:
        """`episode_steps` cuts episodes that the environment itself ends later, or never."""
        self.policy, self._make, self._seed = policy, make_env, seed
        self._senses, self._controls, self._watch = senses, controls, watch or Watch()
        self._limit = episode_steps
        self._normaliser = self._learnt = normaliser or Normaliser()
        self._envs: list[Any] = []
        self._tag = PolicyTag()
        self._faults = Faults()

    def elsewhere(self, make_env: Callable[[], Any]) -> EnvironmentSampler:
        """The same player, with all that it knows, in environments made in another way."""
        other = copy.copy(self)
        other._make, other._envs = make_env, []
        return other

    @torch.inference_mode()
    def outputs(self, observations: Iterable[Any]) -> np.ndarray:
        """n observations as an environment gives them -> [n, width] of the policy's distribution."""
        rows = self._normaliser.rows(np.stack([self._senses.read(seen) for seen in observations]))
        return self.policy.module(torch.from_numpy(rows)).numpy()

    def close(self) -> None:
        """Close the environments; a later step makes new ones."""
        for env in self._envs:
            with suppress(Exception):
                env.close()
        self._envs = []

    def load(self, version: int) -> None:
        """What the last version's episodes taught about the world's numbers counts from now on."""
        self._tag = replace(self._tag, version=version)
        self._normaliser = self._learnt

    def memory(self) -> Mapping[str, Any]:
        return self._learnt.remembered()

    def recall(self, memory: Mapping[str, Any]) -> None:
        self._normaliser = self._learnt = self._learnt.recalled(memory)

    def collect(
        self,
        orders: Sequence[Order],
        greedy: bool = False,
        progress: Progress | None = None,
        finished: Finished | None = None,
    ) -> list[Group]:
        """`finished` is not called: a return is summed up at once."""
        asked = [(o.prompt, sample) for o in orders for sample in range(o.count)]
        while len(self._envs) < len(asked):
            self._envs.append(self._make())
        limit = self._episode_steps(self._envs[0])
        episodes = [
            Episode(prompt, sample, env, self._senses, self._watch, limit)
            for (prompt, sample), env in zip(asked, self._envs, strict=False)
        ]
        with self._watch.looking():
            self._play(episodes, greedy, progress)
            self._mend(episodes)
        if self._learnt.learns and not greedy:
            self._learn([e for e in episodes if e.stopped is not StopReason.ERROR])
        played = iter([e.trajectory(self._tag, self._normaliser, greedy) for e in episodes])
        return [Group(o.prompt, tuple(islice(played, o.count))) for o in orders]

    def _learn(self, episodes: Sequence[Episode]) -> None:
        rows = np.concatenate([e.rows() for e in episodes])
        self._learnt = self._learnt.after(rows, [sum(e.rewards) for e in episodes])

    def _episode_steps(self, env: Any) -> int:
        own = limit_of(env)
        return self._limit or (UNLIMITED_STEPS if own is None else own)

    def _play(self, episodes: Sequence[Episode], greedy: bool, progress: Progress | None) -> None:
        for episode in episodes:
            # the world's seed is not the run's: two runs with other seeds see other starts
            episode.begin(subseed(self._seed, int(episode.prompt.content)))  # type: ignore[arg-type]
        self._compare(episodes)
        running = [e for e in episodes if e.stopped is None]
        uniform: np.ndarray | None = None
        for step in count():
            if not running:
                return
            if not greedy and step % AHEAD == 0:
                uniform = self._uniform(running, step)
            self._act(running, None if uniform is None else uniform[:, step % AHEAD])
            going = [e.stopped is None for e in running]
            if not all(going):
                running = list(compress(running, going))
                uniform = None if uniform is None else uniform[going]
            if progress is not None:
                progress(len(episodes) - len(running), len(episodes))

    def _act(self, running: Sequence[Episode], uniform: np.ndarray | None) -> None:
        """One decision in every episode; uniform [B, k] or None: the likeliest."""
        seen = np.concatenate([e.observation for e in running]).reshape(len(running), *self._senses.shape)
        finite = np.isfinite(seen).reshape(len(seen), -1).all(-1)
        if not finite.all():
            for i in np.flatnonzero(~finite).tolist():
                running[i].fail("an observation that is not finite")
            seen, running = seen[finite], [e for e in running if e.stopped is None]
            uniform = None if uniform is None else uniform[finite]
            if not running:
                return
        decisions, logp = self.policy.act(self._normaliser.rows(seen), uniform)
        actions = self._controls.actions(decisions)
        noted = decisions.tolist() if decisions.ndim == 1 else decisions
        for episode, *decided in zip(running, noted, actions, logp.tolist(), strict=True):
            episode.step(*decided)

    def _uniform(self, running: Sequence[Episode], step: int) -> np.ndarray:
        """[B, AHEAD, k] from this step on, by (prompt, sample, k x step + which of its numbers): other
        episodes have no say."""
        k = self.policy.distribution.uniforms
        ordinals = np.array([e.prompt.ordinal for e in running]).reshape(-1, 1, 1)
        samples = np.array([e.sample for e in running]).reshape(-1, 1, 1)
        positions = np.arange(step * k, (step + AHEAD) * k).reshape(1, AHEAD, k)
        return uniforms(self._seed, ordinals, samples, positions)

    # ---------------------------------------------------------------- worlds that do not behave

    def _mend(self, episodes: Sequence[Episode]) -> None:
        """Tell of episodes that failed; their environments are made anew."""
        failed = [i for i, e in enumerate(episodes) if e.stopped is StopReason.ERROR]
        if not failed:
            return
        first = episodes[failed[0]]
        reason = f"after {len(first.rewards)} steps: {first.error}"
        self._faults.failed(len(failed), len(episodes), reason)
        for i in failed:
            with suppress(Exception), self._watch.call():  # one that hangs may hang here too
                self._envs[i].close()
            self._envs[i] = self._make()

    def _compare(self, episodes: Sequence[Episode]) -> None:
        """Tell of siblings that did not begin alike."""
        starts: dict[int, bytes] = {}
        for episode in episodes:
            if episode.stopped is None:
                start = episode.observation.tobytes()
                if starts.setdefault(episode.prompt.ordinal, start) != start:
                    return self._faults.unequal()
        return None
