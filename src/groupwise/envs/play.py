"""Shows a policy at play: in a window, or as pictures for a film."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from groupwise.envs.make import make
from groupwise.envs.sampler import EnvironmentSampler
from groupwise.envs.spaces import UnplayableError
from groupwise.groups import Order
from groupwise.trajectory import Prompt, Trajectory

MOST_FRAMES = 500
"""Of a film; later ones are left out."""
WIDTH = 320
"""Pixels across a film; wider pictures are made smaller."""
STRIDE = 2
"""Every second picture is kept."""


class Filmed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps a picture of every second state."""

    def __init__(self, env: gymnasium.Env[Any, Any], film: list[np.ndarray]) -> None:
        super().__init__(env)
        self._film, self._at = film, 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        begun = self.env.reset(**options)
        self._at = 0
        self._look()
        return begun

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        done = self.env.step(action)
        self._look()
        return done

    def _look(self) -> None:
        if self._at % STRIDE == 0 and len(self._film) < MOST_FRAMES:
            self._film.append(picture(self.env))
        self._at += 1


def picture(env: Any) -> np.ndarray:
    """[height, width, 3] uint8, at most WIDTH wide: means of squares, so that no thin line is lost."""
    frame = np.asarray(env.render())
    every = max(1, -(-frame.shape[1] // WIDTH))
    high, wide = (n // every for n in frame.shape[:2])
    blocks = frame[: high * every, : wide * every].reshape(high, every, wide, every, -1)
    return blocks.mean((1, 3)).astype(np.uint8)


def show(
    sampler: EnvironmentSampler, name: str, prompts: Sequence[Prompt], mode: str, greedy: bool
) -> Iterator[tuple[Trajectory, list[np.ndarray]]]:
    """Play one episode from each start; (episode, pictures [height, width, 3] uint8 with mode rgb_array).

    Raises:
        UnplayableError: it cannot be shown in this mode: human (a window) or rgb_array.
    """
    film: list[np.ndarray] = []
    shown = sampler.elsewhere(_rendering(name, mode, film))
    try:
        for prompt in prompts:
            film.clear()
            [group] = shown.collect([Order(prompt, 1)], greedy=greedy)
            yield group.trajectories[0], list(film)
    finally:
        shown.close()


def _rendering(name: str, mode: str, film: list[np.ndarray]) -> Callable[[], Any]:
    modes = _metadata(name).get("render_modes") or []
    if mode not in modes:
        what = "a film (rgb_array)" if mode == "rgb_array" else f"a window ({mode})"
        raise UnplayableError(f"{name} cannot be shown as {what}; it has {', '.join(modes) or 'no pictures'}")
    if mode != "rgb_array":
        return partial(make, name, render_mode=mode)
    return lambda: Filmed(make(name, render_mode=mode), film)


def frames_per_second(name: str) -> float:
    """Of a film, as the world goes."""
    return float(_metadata(name).get("render_fps") or 30) / STRIDE


def _metadata(name: str) -> Mapping[str, Any]:
    env = make(name)
    env.close()
    return env.metadata


def shared(films: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """At most MOST_FRAMES pictures: the first of every film, as many of each as leave room for the others."""
    kept, left = [0] * len(films), MOST_FRAMES
    shortest_first = sorted(range(len(films)), key=lambda i: len(films[i]))
    for others, i in zip(reversed(range(len(films))), shortest_first, strict=True):
        kept[i] = min(len(films[i]), left // (others + 1))
        left -= kept[i]
    return [picture for film, n in zip(films, kept, strict=True) for picture in film[:n]]


def save_gif(path: Path, film: Sequence[np.ndarray], frames_per_second: float) -> None:
    """Write pictures [height, width, 3] uint8 as a film that begins again at its end.

    Raises:
        UnplayableError: Pillow is not installed, or there are no pictures.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise UnplayableError("a GIF needs Pillow: pip install -e '.[gym]'") from error
    if not film:
        raise UnplayableError(f"there is no picture to write to {path}")
    first, *others = [Image.fromarray(frame).quantize(64) for frame in film[:MOST_FRAMES]]
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, save_all=True, append_images=others, duration=1000 / frames_per_second, loop=0)
