"""What a policy would have earned in a part of the series, against policies that know nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from groupwise.envs.markets.bars import Part
from groupwise.envs.markets.trading import Market

Decide = Callable[[np.ndarray], int]
"""Observation -> action."""
RANDOM = 20
"""Tries of the random policy."""
DRAWS = 2000
"""Resamples of an interval."""


@dataclass(frozen=True, slots=True)
class Traded:
    """A part of the series from one end to the other, in one episode."""

    rewards: np.ndarray
    """[n] log-growth of the wealth by bar, costs paid."""
    positions: np.ndarray
    """[n] held during the bar."""

    @property
    def grown(self) -> float:
        """Of the wealth: 0.1 is a tenth more."""
        return float(np.expm1(self.rewards.sum()))

    @property
    def trades(self) -> int:
        """Changes of position, the one that closes at the end among them."""
        return int((np.diff(self.positions, prepend=0, append=0) != 0).sum())

    @property
    def sharpe(self) -> float:
        """Mean over deviation of the bars' log-growth, by bar; 0 where nothing moves."""
        deviation = self.rewards.std()
        return float(self.rewards.mean() / deviation) if deviation > 0 else 0.0

    @property
    def deepest(self) -> float:
        """The largest loss from an earlier height, as a share of that."""
        wealth = np.concatenate([[0.0], self.rewards.cumsum()])
        return float(-np.expm1((wealth - np.maximum.accumulate(wealth)).min()))


def trade(market: Market, part: Part, decide: Decide) -> Traded:
    """Play a whole part. Who is ruined has nothing to trade with until it ends."""
    seen, _ = market.reset(options={"start": part.first, "length": len(part)})
    rewards, positions, over = [], [], False
    while not over:
        positions.append(market.position)
        seen, reward, terminated, truncated, _ = market.step(decide(seen))
        rewards.append(reward)
        over = terminated or truncated
    rest = (0, len(part) - len(rewards))
    return Traded(np.pad(rewards, rest), np.pad(positions, rest))


def always(action: int) -> Decide:
    """Hold one position: 2 is buy and hold, 1 is nothing."""
    return lambda seen: action


def at_random(seed: int) -> Decide:
    draw = np.random.default_rng(seed)
    return lambda seen: int(draw.integers(3))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way to trade through a part; of several tries, their means."""

    grown: float
    trades: float
    sharpe: float
    deepest: float
    growth: np.ndarray
    """[n] log-growth by bar."""

    def over(self, other: Outcome, block: int) -> tuple[float, float, float]:
        """(log-growth more than another, and its 95 % interval)."""
        more = self.growth - other.growth
        return (float(more.sum()), *interval(more, block))


def outcome(*tries: Traded) -> Outcome:
    """Of one try, or the means of several."""
    return Outcome(
        grown=_mean(t.grown for t in tries),
        trades=_mean(t.trades for t in tries),
        sharpe=_mean(t.sharpe for t in tries),
        deepest=_mean(t.deepest for t in tries),
        growth=np.mean([t.rewards for t in tries], axis=0),
    )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def compared(market: Market, part: Part, decide: Decide) -> dict[str, Outcome]:
    """A policy and three that know nothing."""
    return {
        "policy": outcome(trade(market, part, decide)),
        "buy and hold": outcome(trade(market, part, always(2))),
        "flat": outcome(trade(market, part, always(1))),
        "random": outcome(*(trade(market, part, at_random(seed)) for seed in range(RANDOM))),
    }


def interval(
    values: Sequence[float] | np.ndarray, block: int, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Of the sum of `values`, by resampling blocks of `block` neighbours, the last being next to the first.

    The circular block bootstrap of Politis and Romano 1992, percentile interval. Neighbours stay together, so
    that what depends on each other over less than a block is not taken for independent.

    Raises:
        ValueError: a block has from 1 to len(values) of them.
    """
    series = np.asarray(values, dtype=np.float64)
    n = len(series)
    if not 1 <= block <= n:
        raise ValueError(f"block={block}: from 1 to the {n} values there are")
    begins = np.random.default_rng(seed).integers(n, size=(DRAWS, -(-n // block)))
    wound = np.concatenate([series, series])
    sums = np.concatenate([[0.0], wound.cumsum()])
    last = n - (begins.shape[1] - 1) * block  # of the last block, so that n values are summed
    lengths = np.full(begins.shape[1], block)
    lengths[-1] = last
    totals = (sums[begins + lengths] - sums[begins]).sum(-1)
    low, high = np.quantile(totals, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
