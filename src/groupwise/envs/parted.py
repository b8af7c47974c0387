"""A gymnasium environment of several agents in PettingZoo's parallel shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from groupwise.envs.spaces import UnplayableError


class Parted:
    """A gymnasium environment whose observations, actions, rewards and ends are tuples, one for each agent.

    As highway-env has it for several vehicles in one scene; in PettingZoo's parallel shape.
    """

    def __init__(self, env: Any) -> None:
        """
        Raises:
            UnplayableError: its spaces are not of several agents.
        """
        spaces = (env.observation_space, env.action_space)
        parts: list[Any] = [getattr(space, "spaces", None) for space in spaces]
        if not all(isinstance(part, tuple) for part in parts) or len(parts[0]) != len(parts[1]):
            raise UnplayableError(
                f"{env.spec.id if env.spec else env} is no world of several agents: its observations and "
                "actions are not tuples of one length. Train in it as gym:ID."
            )
        self._env, (self._sights, self._acts) = env, parts
        self.possible_agents = [str(i) for i in range(len(parts[0]))]
        self.agents = list(self.possible_agents)
        self.metadata = env.metadata

    def observation_space(self, agent: str) -> Any:
        return self._sights[int(agent)]

    def action_space(self, agent: str) -> Any:
        return self._acts[int(agent)]

    def reset(self, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        seen, _ = self._env.reset(seed=seed)
        self.agents = list(self.possible_agents)
        return dict(zip(self.agents, seen, strict=True)), {}

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """An agent that is done is still given an action, and is no longer asked."""
        chosen = tuple(actions.get(n, _still(self._acts[int(n)])) for n in self.possible_agents)
        seen, rewards, terminated, truncated, _ = self._env.step(chosen)
        names = self.possible_agents
        rewards, terminated, truncated = map(self._each, (rewards, terminated, truncated))
        ended, cut = (dict(zip(names, map(bool, ends), strict=True)) for ends in (terminated, truncated))
        live = [name for name in self.agents if not (ended[name] or cut[name])]
        of = {name: i for i, name in enumerate(names)}
        asked = self.agents
        self.agents = live
        return (
            {name: seen[of[name]] for name in asked},
            {name: float(rewards[of[name]]) for name in asked},
            {name: ended[name] for name in asked},
            {name: cut[name] for name in asked},
            {},
        )

    def _each(self, given: Any) -> Sequence[Any]:
        """One for each agent, of one for all or one for each."""
        return [given] * len(self.possible_agents) if np.ndim(given) == 0 else given

    def render(self) -> Any:
        return self._env.render()

    def close(self) -> None:
        self._env.close()


def _still(space: Any) -> Any:
    """The first action of a space, or as near to nothing as it goes."""
    if isinstance(space, Discrete):
        return int(space.start)
    nothing = np.zeros(space.shape, space.dtype)
    return (
        nothing.clip(space.low, space.high)
        if isinstance(space, Box)
        else nothing + getattr(space, "start", 0)
    )
