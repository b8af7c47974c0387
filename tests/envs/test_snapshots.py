"""A state is put back exactly, or by another way; a way that only looks right is found out."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from groupwise.envs.make import make  # noqa: E402
from groupwise.envs.snapshots import COPY, MUJOCO, OWN, REPLAY, Past, bits, exact_way  # noqa: E402
from worlds import Unseeded  # noqa: E402


class Walk(gymnasium.Env[Any, Any]):
    """A random walk, pushed by the action; cut by a TimeLimit after 12 steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place = self.np_random.normal()
        return np.array([self.place]), {}

    def step(self, action: Any) -> Any:
        self.place += self.np_random.normal() + action
        return np.array([self.place]), float(self.place), False, False, {}


class Keeping(Walk):
    """Can give its state and take it."""

    def get_state(self) -> Any:
        return self.place

    def set_state(self, place: Any) -> None:
        self.place = place


class Forgetful(Walk):
    """Its state is not all of it."""

    def get_state(self) -> Any:
        return 0.0

    def set_state(self, place: Any) -> None:
        self.place = place


class Born(Walk):
    """A copy of it is a new one, as with environments pickled by their arguments. No error is raised."""

    def __deepcopy__(self, memo: Any) -> Any:
        new = type(self)()
        new.reset(seed=0)
        return new


class Worldly(Walk):
    """Draws from the random numbers of everybody."""

    def step(self, action: Any) -> Any:
        self.place += random.random()
        return super().step(action)


def limited(kind: Any) -> Any:
    return gymnasium.wrappers.TimeLimit(kind(), 12)


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (Walk, COPY),
        (Keeping, OWN),
        (Forgetful, COPY),
        (Born, REPLAY),
        (Worldly, None),
        (lambda: Unseeded(99, cut=99), COPY),  # what follows does not depend on where it began
    ],
)
def test_the_first_way_that_is_exact_is_found(kind: Any, way: Any) -> None:
    """With more steps than the limit of 12, a step counter that is not put back would show."""
    assert exact_way(partial(limited, kind)) is way


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Blackjack-v1"])
def test_gymnasiums_own_can_be_copied(name: str) -> None:
    assert exact_way(partial(make, name)) is COPY


@pytest.mark.parametrize("way", [OWN, COPY, REPLAY])
def test_a_state_is_put_back_into_an_environment_that_was_elsewhere(way: Any) -> None:
    first, other = limited(Keeping), limited(Keeping)
    first.reset(seed=3)
    for action in (1, 2, 0):
        first.step(action)
    state = way.take(first, Past(3, (1, 2, 0)))
    went = [first.step(1)[:4] for _ in range(9)]
    assert went[-1][3]  # the 12th step is the last
    other.reset(seed=9)
    for _ in range(2):
        back = way.restore(state, other)
        assert [bits(x) for x in [back.step(1)[:4] for _ in range(9)]] == [bits(x) for x in went]


def test_mujoco_is_put_back_by_its_own_state() -> None:
    """Deep copies of it are silently wrong; so is the integration state alone where a reward reads the place
    of a body before the step, as Ant's does: it is that of the last step but one."""
    pytest.importorskip("mujoco")
    for name in ("Hopper-v5", "Ant-v5"):
        assert exact_way(partial(make, name)) is MUJOCO


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its import crashes where they are errors
def test_box2d_is_played_again() -> None:
    pytest.importorskip("Box2D")
    assert exact_way(partial(make, "LunarLander-v3")) is REPLAY


def test_equal_bits_are_equal_observations() -> None:
    a = {"x": np.array([1.0, np.nan]), "y": (1, "go")}
    assert bits(a) == bits({"y": (1, "go"), "x": np.array([1.0, np.nan])})
    assert bits(np.float32(1)) != bits(np.float64(1))
    assert bits(np.zeros(2)) != bits(np.zeros((1, 2)))
    assert bits(0.0) != bits(-0.0)
