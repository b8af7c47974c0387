"""The state of a world, taken and put back: only by a way that a twin run has proved to be exact.

A copy that looks right may not be: some environments, copied, are silently made anew. So of every way in
turn a twin is made in the middle of an episode, and has to go on as the first does, to the last bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

Env = Any
"""A gymnasium environment."""


@dataclass(frozen=True, slots=True)
class Past:
    """How an environment came to where it is."""

    seed: int
    actions: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to take a state and to put it back."""

    name: str
    take: Callable[[Env, Past], Any]
    """Raises whatever it likes where the environment is not of its kind."""
    restore: Callable[[Any, Env], Env]
    """(state, an environment of the same kind, whatever its state) -> one in that state, maybe another."""


# ---------------------------------------------------------------- ways


def _layers(env: Env) -> Iterator[Env]:
    """The environment and everything that it wraps, from the outside."""
    while True:
        yield env
        if env is env.unwrapped:
            return
        env = env.env


def _counters(env: Env) -> list[dict[str, Any]]:
    """What wrappers count: steps so far (TimeLimit), whether there was a reset (OrderEnforcing)."""
    names = ("_elapsed_steps", "_has_reset")
    return [{n: vars(layer)[n] for n in names if n in vars(layer)} for layer in _layers(env)]


def _recount(env: Env, counters: Sequence[dict[str, Any]]) -> None:
    for layer, values in zip(_layers(env), counters, strict=True):
        vars(layer).update(values)


def _around(env: Env) -> Any:
    return _counters(env), copy.deepcopy(env.unwrapped.np_random.bit_generator.state)


def _put_around(around: Any, env: Env) -> None:
    counters, generator = around
    _recount(env, counters)
    env.unwrapped.np_random.bit_generator.state = copy.deepcopy(generator)


def _take_own(env: Env, past: Past) -> Any:
    return copy.deepcopy(env.unwrapped.get_state()), _around(env)


def _restore_own(state: Any, env: Env) -> Env:
    own, around = state
    env.unwrapped.set_state(copy.deepcopy(own))
    _put_around(around, env)
    return env


def _take_mujoco(env: Env, past: Past) -> Any:
    # all of it: places of bodies lag behind the state by a step, and a reward may read them before the next
    return copy.copy(env.unwrapped.data), _around(env)


def _restore_mujoco(state: Any, env: Env) -> Env:
    import mujoco

    kept, around = state
    mujoco.mj_copyData(env.unwrapped.data, env.unwrapped.model, kept)
    _put_around(around, env)
    return env


def _replayed(past: Past, env: Env) -> Env:
    env.reset(seed=past.seed)
    for action in past.actions:
        env.step(action)
    return env


OWN = Way("its own get_state and set_state", _take_own, _restore_own)
MUJOCO = Way("a copy of MuJoCo's data", _take_mujoco, _restore_mujoco)
COPY = Way("a deep copy", lambda env, past: copy.deepcopy(env), lambda kept, env: copy.deepcopy(kept))
REPLAY = Way("its seed and its actions, played again", lambda env, past: past, _replayed)
WAYS = (OWN, MUJOCO, COPY, REPLAY)
"""The quickest to restore first."""


# ---------------------------------------------------------------- proof


def exact_way(
    make: Callable[[], Env], seed: int = 0, before: int = 5, after: int = 20, ways: Sequence[Way] = WAYS
) -> Way | None:
    """The first way that a twin run proves: `before` random steps, a snapshot, `after` more; None: none is.

    The state is put back twice, into an environment that has played something else, and both times the same
    actions have to bring the same observations, rewards and ends.
    """
    return next((way for way in ways if _proved(way, make, seed, before, after)), None)


def _proved(way: Way, make: Callable[[], Env], seed: int, before: int, after: int) -> bool:
    first, other = make(), make()
    try:
        first.action_space.seed(seed)
        actions = [first.action_space.sample() for _ in range(before + after)]
        past = _begin(first, seed, actions[:before])
        state = way.take(first, past)
        expected = _went_on(first, actions[len(past.actions) :])
        for _ in range(2):
            _begin(other, seed + 1, actions[:before:-1])
            if _went_on(way.restore(state, other), actions[len(past.actions) :]) != expected:
                return False
    except Exception:  # not of its kind: whatever an environment raises, it is no proof
        return False
    finally:
        for env in (first, other):
            with suppress(Exception):
                env.close()
    return True


def _begin(env: Env, seed: int, actions: Sequence[Any]) -> Past:
    """Reset and play, but not to the end: an episode that ends is begun with fewer steps."""
    env.reset(seed=seed)
    for i, action in enumerate(actions):
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return _begin(env, seed, actions[: i // 2])
    return Past(seed, tuple(actions))


def _went_on(env: Env, actions: Sequence[Any]) -> list[Any]:
    """Everything that the actions brought, in a form in which equal means equal in every bit."""
    brought = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        brought.append((bits(observation), bits(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            break
    return brought


def bits(value: Any) -> Any:
    """What is equal exactly when two observations are, NaNs too."""
    if isinstance(value, dict):
        return tuple((name, bits(part)) for name, part in sorted(value.items()))
    if isinstance(value, tuple | list):
        return tuple(map(bits, value))
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    return array.shape, array.dtype.str, array.tobytes()
