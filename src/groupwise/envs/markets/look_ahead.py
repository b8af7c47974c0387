"""Does an environment, or a policy, know prices before they are there?

Nothing that is shown, given or decided while bar t is the last one known may change when prices after t do.
So the same is played on prices that are equal up to a bar and others after it, and compared to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from groupwise.envs.snapshots import bits

Tell = Callable[[np.ndarray], Iterable[tuple[int, str, Any]]]
"""Prices [T] -> (last bar known, what it is called, what was told then), in the order of time."""
Decide = Callable[[Any, Mapping[str, Any]], Any]
"""(observation, info) -> action."""


@dataclass(frozen=True, slots=True)
class Peek:
    """Something that changed with prices that were not there yet."""

    bar: int
    """The last bar that was known."""
    what: str
    """observation, reward, end or action."""

    def __str__(self) -> str:
        return f"the {self.what} at bar {self.bar} changes with prices after that bar"


def look_ahead(tell: Tell, prices: np.ndarray, first: int, cuts: int = 12, seed: int = 0) -> Peek | None:
    """The earliest thing seen to depend on later prices; None if nothing was.

    What is told with bar `first` or a later one known is looked at, for `cuts` bars of those that are told
    of, each with three other futures. Scales that are fitted to training are no peek: begin after it.
    """
    draw = np.random.default_rng(seed)
    real = [(bar, what, bits(told)) for bar, what, told in tell(prices)]
    places = sorted({bar for bar, _, _ in real if first <= bar < len(prices) - 1})
    if not places:
        raise ValueError(f"nothing is told between bar {first} and the last but one, {len(prices) - 2}")
    found: list[Peek] = []
    for cut in draw.choice(places, min(cuts, len(places)), replace=False).tolist():
        for _ in range(3):
            found += _differences(real, tell, _another_future(prices, cut, draw), cut)
    return min(found, key=lambda peek: peek.bar, default=None)


def _another_future(prices: np.ndarray, cut: int, draw: np.random.Generator) -> np.ndarray:
    """Equal up to `cut`, then on a walk of its own with moves ten times as large."""
    size = 10 * np.diff(np.log(prices)).std() + 1e-3
    walk = draw.normal(0, size, len(prices) - cut - 1).cumsum().clip(-5, 5)
    return np.concatenate([prices[: cut + 1], prices[cut] * np.exp(walk)])


def _differences(
    real: list[tuple[int, str, Any]], tell: Tell, prices: np.ndarray, cut: int
) -> Iterator[Peek]:
    """The first difference up to the cut; what follows from it is no news."""
    other = tell(prices)
    for (bar, what, told), (its_bar, its_what, its_told) in zip(real, other, strict=False):
        if bar > cut:
            return
        if (bar, what, told) != (its_bar, its_what, bits(its_told)):
            yield Peek(bar, what)
            return


def telling(
    make: Callable[[np.ndarray], Any],
    decide: Callable[[np.ndarray], Decide] | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Tell:
    """What an environment made on prices shows and gives in one episode, and what is decided in it.

    `make` takes prices [T]; so does `decide`, which gives the policy (None: random actions). The environment
    says in `info["bar"]` which bar is the last that is known.
    """

    def tell(prices: np.ndarray) -> Iterator[tuple[int, str, Any]]:
        env = make(prices)
        env.action_space.seed(seed)
        policy = decide(prices) if decide is not None else lambda seen, info: env.action_space.sample()
        observation, info = env.reset(seed=seed, options=dict(options) if options else None)
        over = False
        while True:
            yield info["bar"], "observation", observation
            if over:
                return
            action = policy(observation, info)
            yield info["bar"], "action", action
            observation, reward, terminated, truncated, info = env.step(action)
            over = terminated or truncated
            yield info["bar"], "reward", reward
            yield info["bar"], "end", np.array([terminated, truncated])

    return tell
