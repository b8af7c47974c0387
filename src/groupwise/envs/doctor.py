"""What an environment is like to train in, measured with random actions, in sentences to act on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from groupwise.envs.episodes import told
from groupwise.envs.findings import (
    BAD,
    GOOD,
    LOOK,
    Finding,
    Played,
    of_bounds,
    of_errors,
    of_lengths,
    of_numbers,
    of_rewards,
    random_episode,
)
from groupwise.envs.make import UNLIMITED_STEPS, limit_of
from groupwise.envs.markets import specs
from groupwise.envs.snapshots import bits, exact_way
from groupwise.envs.spaces import Controls, Senses, UnplayableError, controls, senses
from groupwise.envs.watch import HungError, Watch, Watched

TWIN_STEPS = 200
"""Of the runs from one seed that have to be the same."""


def examine(
    make: Callable[[], Any],
    seconds: float = 10.0,
    bounds: str = "squash",
    most: int = 500,
    watch: Watch | None = None,
) -> Iterator[Finding]:
    """Findings, as they come: spaces, seeds, snapshots, then up to `most` random episodes in `seconds`."""
    watch = watch or Watch()
    with watch.looking():
        yield from _findings(lambda: Watched(make(), watch), seconds, bounds, most)


def _findings(make: Callable[[], Any], seconds: float, bounds: str, most: int) -> Iterator[Finding]:
    env = make()
    try:
        seen, acted = senses(env.observation_space), controls(env.action_space, bounds)
    except UnplayableError as error:
        yield Finding(BAD, "spaces", f"It cannot be played: {error}.")
        return
    yield from _spaces(env, seen, acted)
    try:
        yield from _seeds(make)
    except Exception as error:
        what = "hung" if isinstance(error, HungError) else "raised"
        yield Finding(BAD, "errors", f"It {what} in its first steps: {told(error)}.")
        return
    began = time.perf_counter()
    limit = limit_of(env) or UNLIMITED_STEPS
    episodes: list[Played] = []
    while len(episodes) < most and (not episodes or time.perf_counter() - began < seconds):
        episodes.append(random_episode(env, seen, len(episodes), limit))
    spent = time.perf_counter() - began
    with suppress(Exception):
        env.close()
    yield from of_errors(episodes)
    whole = [e for e in episodes if not e.error]
    if not whole:
        return
    yield from of_lengths(whole, limit_of(env))
    yield from of_rewards(whole, most)
    yield from of_numbers(whole, seen)
    yield from of_bounds(whole, env.observation_space)
    steps = sum(len(e.rewards) for e in episodes)
    yield Finding(GOOD, "speed", f"{steps / spent:,.0f} steps a second, one environment, with its resets.")


def foresight(name: str) -> Iterator[Finding]:
    """Of a market: whether it knows prices before they are there. Other environments have none to know."""
    if not specs.is_market(name):
        return
    peek = specs.foresight(name)
    if peek is None:
        yield Finding(GOOD, "future", "Nothing that it shows or gives changes when later prices do.")
    else:
        yield Finding(BAD, "future", f"It peeks: {peek}.")


def _spaces(env: Any, seen: Senses, acted: Controls) -> Iterator[Finding]:
    parts = [f"{seen.layout.vector} numbers"] if seen.layout.vector else []
    parts += [f"a picture of {h} x {w} x {c}" for h, w, c in seen.layout.pictures]
    left = f" Left out, for want of numbers: {', '.join(seen.unread)}." if seen.unread else ""
    yield Finding(LOOK if left else GOOD, "observations", f"{' and '.join(parts)}.{left}")
    said = f"{env.action_space}, played as {type(acted.distribution).__name__}."
    if acted.log_stds and not env.action_space.is_bounded():
        low, high = env.action_space.low.min(), env.action_space.high.max()
        said += f" Its bounds reach from {low} to {high}: deviations begin near 1 in its own units."
        yield Finding(LOOK, "actions", said)
    else:
        yield Finding(GOOD, "actions", said)


# ---------------------------------------------------------------- seeds


def _seeds(make: Callable[[], Any]) -> Iterator[Finding]:
    [one], [same], (other, used) = (_runs(make, seeds) for seeds in ((0,), (0,), (1, 0)))
    if one[0] != same[0]:
        yield Finding(
            BAD,
            "seed",
            "reset(seed) does not decide the start: siblings begin in different states, and no run can be "
            "repeated. It trains with a warning; call super().reset(seed=seed) and draw from "
            "self.np_random.",
        )
    elif one != same:
        at = next((i for i, (a, b) in enumerate(zip(one, same, strict=False)) if a != b), len(one))
        yield Finding(
            BAD,
            "seed",
            f"Two runs with one seed and the same actions part after {at} steps: it draws from elsewhere "
            "than self.np_random, and no run can be repeated.",
        )
    elif one != used:
        yield Finding(
            BAD,
            "seed",
            "One that has played before goes another way than a new one with the same seed and actions: "
            "reset leaves something of the last episode behind, and a resumed run goes another way too.",
        )
    else:
        yield Finding(
            GOOD, "seed", f"One seed and the same actions ({len(one) - 1}) give one and the same episode."
        )
    if one[0] == other[0]:
        yield Finding(
            LOOK,
            "starts",
            "Two seeds begin alike. If all do, groups differ by chance alone: --prompts 1 with a larger "
            "--group-size is the same, with a better baseline.",
        )
    way = exact_way(make)
    if way is None:
        yield Finding(
            LOOK, "snapshot", "No way to put a state back was exact: groups can only begin with a reset."
        )
    else:
        yield Finding(GOOD, "snapshot", f"Its state can be put back to the last bit by {way.name}.")


def _runs(make: Callable[[], Any], seeds: Sequence[int]) -> list[list[Any]]:
    """Everything that was seen and given in one environment's episodes from seeds, with the same actions."""
    env = make()
    actions = env.action_space  # some environments make another one at a reset, with chance of its own
    told = []
    for seed in seeds:
        actions.seed(0)
        observation, _ = env.reset(seed=seed)
        told.append([bits(observation)])
        for _ in range(TWIN_STEPS):
            observation, reward, terminated, truncated, _ = env.step(actions.sample())
            told[-1].append((bits(observation), bits(reward), bool(terminated), bool(truncated)))
            if terminated or truncated:
                break
    env.close()
    return told
