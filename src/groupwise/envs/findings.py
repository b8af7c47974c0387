"""What episodes of random actions tell of an environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from groupwise.envs.episodes import number, told
from groupwise.envs.make import UNLIMITED_STEPS
from groupwise.envs.spaces import Senses

GOOD, LOOK, BAD = "good", "look", "bad"
FAR = 10.0
"""Observations and rewards beyond this want normalising."""
GROUP, RARE = 8, 0.5
"""Siblings of a group, and the share of groups without a signal from which it is told."""
ROUNDED = 1e-4
"""By how much, relatively, a number may leave its bounds: it was rounded."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    mark: str
    """good; look: a person should know; bad: it stands in the way of training."""
    about: str
    said: str


@dataclass(frozen=True, slots=True)
class Played:
    """One episode of random actions."""

    returned: float
    rewards: np.ndarray
    rows: np.ndarray
    """[T + 1, ...] of the layout."""
    finished: bool
    truncated: bool
    error: str = ""


def random_episode(env: Any, seen: Senses, seed: int, limit: int) -> Played:
    """At most `limit` steps; what the environment raises ends it."""
    rows: list[np.ndarray] = []
    rewards: list[float] = []
    terminated, truncated, error = False, False, ""
    try:
        observation, _ = env.reset(seed=seed)
        rows.append(seen.row(observation))
        while not (terminated or truncated) and len(rewards) < limit:
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            rows.append(seen.row(observation))
            rewards.append(number(reward))
    except Exception as raised:
        error = told(raised)
    given = np.array(rewards)
    shown = np.stack(rows) if rows else np.empty((0, *seen.shape))
    return Played(float(given.sum()), given, shown, bool(terminated), bool(truncated), error)


def of_errors(episodes: Sequence[Played]) -> Iterator[Finding]:
    """Of the episodes that failed; the other findings are of those that did not."""
    if errors := [e.error for e in episodes if e.error]:
        yield Finding(
            BAD,
            "errors",
            f"{len(errors)} of {len(episodes)} random episodes failed, the first with {errors[0]}. Such "
            "episodes are left out of training, and counted.",
        )


def of_lengths(episodes: Sequence[Played], limit: int | None) -> Iterator[Finding]:
    """`limit`: the environment's own; None: it does not say."""
    lengths = [len(e.rewards) for e in episodes]
    cut = sum(not e.finished for e in episodes)
    said = f"{np.mean(lengths):.0f} steps on average ({min(lengths)} to {max(lengths)}), "
    if limit is None:
        yield _without_limit(said, cut, episodes)
        return
    said += f"limit {limit}; {cut} of {len(episodes)} were cut by it."
    if limit > 2000:
        said += " Credit over so many steps is hard without a critic: --recipe return_to_go_99 discounts."
    yield Finding(LOOK if limit > 2000 else GOOD, "episodes", said)


def _without_limit(said: str, cut: int, episodes: Sequence[Played]) -> Finding:
    own = f"after {UNLIMITED_STEPS} steps, or after --episode-steps"
    if any(e.truncated for e in episodes):
        said += f"no limit is registered, but it cuts by itself: {cut} of {len(episodes)} were cut."
    elif cut:
        said += f"no limit of its own: {cut} of {len(episodes)} went on until they were cut, {own}."
        return Finding(LOOK, "episodes", said)
    else:
        said += f"no limit is registered, and none was needed; one that goes on is cut {own}."
    return Finding(GOOD, "episodes", said)


def of_rewards(episodes: Sequence[Played], enough: int) -> Iterator[Finding]:
    """`enough` equal returns are no chance."""
    returns, steps = np.array([e.returned for e in episodes]), np.concatenate([e.rewards for e in episodes])
    if not np.isfinite(steps).all():
        wrong, of = int((~np.isfinite(steps)).sum()), _among([np.isfinite(e.rewards) for e in episodes])
        yield Finding(BAD, "rewards", f"{wrong} of {len(steps):,} rewards are no finite number, {of}.")
        return
    paid = 100 * np.mean(steps != 0)
    said = (
        f"random play returns {returns.mean():.3g} on average of {len(returns)}, deviation "
        f"{returns.std():.3g}, from {returns.min():.3g} to {returns.max():.3g}; {paid:.3g}% of steps have a "
        "reward."
    )
    if len(returns) == 1:
        yield Finding(LOOK, "rewards", f"{said} One episode says little: for more, --seconds.")
    elif returns.min() == returns.max():
        said += (
            f" All {len(returns)} returns are equal: such a group teaches nothing. Make the reward denser, "
            "or the task easier at first; larger groups see rare successes."
        )
        yield Finding(BAD if len(returns) >= enough else LOOK, "rewards", said)
    elif (dead := _dead(returns)) > RARE:
        said += (
            f" At this rate {dead:.0%} of groups of {GROUP} have equal returns, and teach nothing: larger "
            "groups (--group-size) or a denser reward."
        )
        yield Finding(LOOK, "rewards", said)
    elif returns.std() > FAR or returns.std() < 1 / FAR:
        against = "drowns" if returns.std() > FAR else "is drowned by"
        said += (
            f" So {'large' if returns.std() > FAR else 'small'} a deviation {against} an entropy bonus or a "
            "KL term, if the recipe has one and does not divide by the deviation: --normalise-rewards."
        )
        yield Finding(LOOK, "rewards", said)
    else:
        yield Finding(GOOD, "rewards", said)


def _dead(returns: np.ndarray) -> float:
    """The chance that a whole group of independent episodes has one return."""
    _, counts = np.unique(returns, return_counts=True)
    return float(((counts / len(returns)) ** GROUP).sum())


def _among(fine: Sequence[np.ndarray]) -> str:
    """In how many episodes something was wrong, [T] or [T, n] each, and where it began in the first."""
    wrong = [of for of in fine if not of.all()]
    step, *which = np.argwhere(~wrong[0])[0].tolist()
    place = f" in number {which[0]}" if which else ""
    many = f"all {len(fine)} episodes" if len(wrong) == len(fine) else f"{len(wrong)} of {len(fine)} episodes"
    lost = ": none could be trained on" if len(wrong) == len(fine) else "; these are left out of training"
    return f"in {many}, first{place} at step {step}{lost}"


def of_numbers(episodes: Sequence[Played], seen: Senses) -> Iterator[Finding]:
    """Of the observations."""
    rows = np.concatenate([e.rows.reshape(len(e.rows), -1) for e in episodes])[:, : seen.layout.vector]
    if not rows.size:
        return
    if not np.isfinite(rows).all():
        wrong = int((~np.isfinite(rows)).any(-1).sum())
        fine = [np.isfinite(e.rows.reshape(len(e.rows), -1)[:, : seen.layout.vector]) for e in episodes]
        yield Finding(
            BAD,
            "numbers",
            f"{wrong} of {len(rows):,} observations hold NaN or infinity, {_among(fine)}.",
        )
        return
    largest, deviations = np.abs(rows).max(), rows.std(0)
    said = (
        f"observations reach {largest:.3g}, deviations from {deviations.min():.3g} to {deviations.max():.3g}."
    )
    if largest > FAR:
        yield Finding(LOOK, "numbers", f"{said} --normalise-observations brings them near 1.")
    else:
        yield Finding(GOOD, "numbers", said)


def of_bounds(episodes: Sequence[Played], space: Any) -> Iterator[Finding]:
    """Of observations that leave the space they were declared in."""
    if not isinstance(space, Box) or space.dtype == np.uint8:
        return
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    rows = np.concatenate([e.rows for e in episodes]).astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinity less infinity, of numbers without a bound
        beyond = np.maximum(rows - high, low - rows) > ROUNDED * np.maximum(1.0, np.abs(rows))
    if beyond.any():
        i = int(beyond.any(0).argmax())
        reached = rows[beyond[:, i], i]
        yield Finding(
            LOOK,
            "bounds",
            f"{beyond.any(-1).mean():.1%} of the observations leave their space: number {i} reached "
            f"{reached[np.abs(reached).argmax()]:,.4g}, in [{low[i]:g}, {high[i]:g}]. Nothing is cut off; "
            "correct the space or the numbers.",
        )
