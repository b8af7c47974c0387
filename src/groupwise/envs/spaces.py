"""Gymnasium's spaces: how observations become rows of numbers, and decisions become actions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from groupwise.distributions import Categorical, Categoricals, Distribution, Gaussian, Squashed
from groupwise.envs.networks import Layout

PICTURE = 16
"""Pixels on a side from which whole numbers in a grid are a picture; smaller ones are read as numbers."""
BOUNDS = ("squash", "clip")
NUMBERS = (Box, Discrete, MultiDiscrete, MultiBinary)


class UnplayableError(ValueError):
    """An environment that cannot be made or is not of a kind we play."""


# ---------------------------------------------------------------- observations


@dataclass(frozen=True, slots=True)
class Senses:
    """How an environment is seen."""

    layout: Layout
    read: Callable[[Any], np.ndarray]
    """One observation -> one row of the layout."""
    shape: tuple[int, ...]
    """Of a row."""
    unread: tuple[str, ...] = ()
    """The parts of an observation that are left out: texts and other things without a number."""

    def row(self, observation: Any) -> np.ndarray:
        """`read`, once it is sure that the observation is of its space's shape; else ValueError."""
        row = self.read(observation)
        if row.shape != self.shape:
            raise ValueError(f"an observation of {row.shape}, where its space has {self.shape}")
        return row


Path = tuple[Any, ...]
"""The keys that lead to a part of an observation."""


def senses(space: spaces.Space[Any]) -> Senses:
    """How to read the observations of a space: pictures as they are, all else flat, as gymnasium flattens it.

    Raises:
        UnplayableError: there is nothing in it that numbers describe.
    """
    leaves = list(_leaves(space, ()))
    pictures = [(path, shape) for path, leaf in leaves if (shape := _picture(leaf)) is not None]
    flat = [(path, leaf) for path, leaf in leaves if isinstance(leaf, NUMBERS) and _picture(leaf) is None]
    if not pictures and not flat:
        raise UnplayableError(
            f"it has observations {space}; numbers, choices, pictures and Dict or Tuple of these are read"
        )
    unread = tuple(".".join(map(str, path)) for path, leaf in leaves if not isinstance(leaf, NUMBERS))
    layout = Layout(sum(spaces.flatdim(leaf) for _, leaf in flat), tuple(shape for _, shape in pictures))
    if len(leaves) == 1 and flat and isinstance(space, Box):
        return Senses(layout, _numbers, (layout.vector,))
    if len(leaves) == 1 and pictures:
        return Senses(layout, _looking(pictures[0][1]), pictures[0][1])
    width = layout.vector + sum(math.prod(shape) for shape in layout.pictures)

    def read(observation: Any) -> np.ndarray:
        rows = [spaces.flatten(leaf, _at(observation, path)) for path, leaf in flat]
        rows += [_upright(np.asarray(_at(observation, path)), shape).ravel() for path, shape in pictures]
        return np.concatenate(rows, dtype=np.float32, casting="unsafe")

    return Senses(layout, read, (width,), unread)


def _leaves(space: spaces.Space[Any], path: Path) -> Iterator[tuple[Path, spaces.Space[Any]]]:
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from _leaves(part, (*path, name))
    elif isinstance(space, spaces.Tuple):
        for i, part in enumerate(space.spaces):
            yield from _leaves(part, (*path, i))
    else:
        yield path, space


def _at(observation: Any, path: Path) -> Any:
    for key in path:
        observation = observation[key]
    return observation


def _picture(space: spaces.Space[Any]) -> tuple[int, int, int] | None:
    """Height, width and channels; None for what is no picture. A short first axis holds the channels."""
    if not isinstance(space, Box) or space.dtype != np.uint8:
        return None
    match space.shape:
        case (height, width) if min(height, width) >= PICTURE:
            return height, width, 1
        case (height, width, channels) if min(height, width) >= max(PICTURE, channels):
            return height, width, channels
        case (channels, height, width) if min(height, width) >= PICTURE:
            return height, width, channels
    return None


def _upright(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """-> [height, width, channels]."""
    if pixels.ndim == 2:
        return pixels[..., None]
    return pixels if pixels.shape == shape else np.moveaxis(pixels, 0, -1)


# both copy: some environments write the next observation into the memory of the last


def _numbers(observation: Any) -> np.ndarray:
    return np.array(observation, dtype=np.float32).reshape(-1)


def _looking(shape: tuple[int, int, int]) -> Callable[[Any], np.ndarray]:
    return lambda observation: np.array(_upright(np.asarray(observation, dtype=np.uint8), shape))


# ---------------------------------------------------------------- actions

VAST = 1e30
"""A bound beyond it is none: some environments write float32's largest number for infinity."""


@dataclass(frozen=True, slots=True)
class Controls:
    """How an environment is acted on."""

    distribution: Distribution
    outputs: int
    """Numbers that a network gives for one decision, log-deviations apart."""
    log_stds: int
    actions: Callable[[np.ndarray], Sequence[Any]]
    """Decisions [B] or [B, k] -> what `step` takes, B of them, each in the space."""


def tell_unread(name: str, seen: Senses) -> None:
    """Warn of the parts of a world's observations that no policy will see."""
    if seen.unread:
        warnings.warn(
            f"{name}: of its observations, {', '.join(seen.unread)} is left out: a network reads numbers",
            stacklevel=3,
        )


def controls(space: spaces.Space[Any], bounds: str = "squash") -> Controls:
    """How to act in a space; `bounds` says how real actions keep to theirs.

    squash: through tanh, density exact. clip: cut off at the bound, the density is of what was before; also
    where any of the numbers lacks a bound. Between two bounds a decision counts from their middle, in halves
    of their distance; else in the world's own units.

    Raises:
        UnplayableError: actions that are neither choices nor real numbers.
    """
    if isinstance(space, Discrete):
        start = int(space.start)
        return Controls(
            Categorical(), int(space.n), 0, lambda d: (d + start).tolist() if start else d.tolist()
        )
    if isinstance(space, MultiDiscrete | MultiBinary):
        sizes = space.nvec if isinstance(space, MultiDiscrete) else np.full(space.shape, 2)
        first = np.asarray(getattr(space, "start", np.zeros(space.shape)), dtype=space.dtype)
        chosen = Categoricals(tuple(int(n) for n in sizes.ravel()))

        def several(decisions: np.ndarray) -> Sequence[Any]:
            return list(decisions.reshape(-1, *space.shape).astype(space.dtype) + first)

        return Controls(chosen, sum(chosen.sizes), 0, several)
    if isinstance(space, Box) and np.issubdtype(space.dtype, np.floating):
        return _real(space, bounds)
    raise UnplayableError(
        f"it has actions {space}; Discrete, MultiDiscrete, MultiBinary and Box of real numbers are played"
    )


def _real(space: Box, bounds: str) -> Controls:
    if bounds not in BOUNDS:
        raise UnplayableError(f"bounds {bounds!r}: there are {' and '.join(BOUNDS)}")
    low, high = space.low.astype(np.float64).ravel(), space.high.astype(np.float64).ravel()
    bounded = (np.abs(low) < VAST) & (np.abs(high) < VAST)
    with np.errstate(invalid="ignore"):  # of the others
        half = np.where(bounded, (high - low) / 2, 1.0)
        middle = np.where(bounded, (high + low) / 2, 0.0)
    if not (half > 0).all():
        raise UnplayableError(f"it has actions {space}: a lower bound is not below the upper one")
    squashed = bounds == "squash" and bool(bounded.all())
    size = len(low)

    def within(decisions: np.ndarray) -> Sequence[Any]:
        wide = np.tanh(decisions.astype(np.float64)) if squashed else decisions
        cut = np.clip(middle + half * wide, low, high).astype(space.dtype)
        # a float64 bound may round to a float32 outside of it
        return list(np.clip(cut.reshape(-1, *space.shape), space.low, space.high))

    distribution = Squashed(tuple(half.tolist())) if squashed else Gaussian(size)
    return Controls(distribution, size, size, within)
