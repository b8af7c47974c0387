"""Shows a policy at play as all agents of a world: in a window, or as pictures for a film."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from groupwise.envs.play import MOST_FRAMES, picture
from groupwise.envs.scene_sampler import SceneSampler
from groupwise.envs.scenes import Scene
from groupwise.envs.spaces import UnplayableError
from groupwise.groups import Order
from groupwise.trajectory import Group, Prompt

FRAMES_PER_SECOND = 10.0


class Filmed:
    """A parallel environment that keeps a picture of every state."""

    def __init__(self, env: Any, film: list[np.ndarray]) -> None:
        self._env, self._film = env, film

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, seed: int | None = None) -> Any:
        begun = self._env.reset(seed=seed)
        self._look()
        return begun

    def step(self, actions: Mapping[str, Any]) -> Any:
        done = self._env.step(actions)
        self._look()
        return done

    def _look(self) -> None:
        if len(self._film) < MOST_FRAMES:
            self._film.append(picture(self._env))


def filmed(
    sampler: SceneSampler, name: str, prompts: Sequence[Prompt], mode: str, greedy: bool
) -> Iterator[tuple[list[Group], list[np.ndarray]]]:
    """Play from each start; (groups of one trajectory, one for each agent; pictures with mode rgb_array).

    Raises:
        UnplayableError: it cannot be shown in this mode: human (a window) or rgb_array.
    """
    film: list[np.ndarray] = []

    def make() -> Scene:
        scene: Any = sampler.make(render_mode=mode)
        modes = scene.env.metadata.get("render_modes") or []
        if mode not in modes:
            raise UnplayableError(
                f"{name} cannot be shown as {mode}; it has {', '.join(modes) or 'no pictures'}"
            )
        if mode == "rgb_array":
            scene.env = Filmed(scene.env, film)
        return scene

    shown = sampler.elsewhere(make)
    try:
        for prompt in prompts:
            film.clear()
            yield shown.collect([Order(prompt, 1)], greedy=greedy), list(film)
    finally:
        shown.close()
