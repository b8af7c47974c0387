"""What earlier steps taught about prompts: mean and spread of their rewards, and how much stands behind it.

Kept on three levels: of every row that was asked, of its kind (a column that says so, such as a level or a
subject), and of all rows together. A row's belief leans on its kind's, its kind's on that of all, and the
less so the more answers it has of its own. So a row that was never asked is believed to be like its kind.

Rewards are any numbers, so what is kept is not a count of successes but sums: of answers, of rewards, and
of squared deviations from the group's mean. Every sum halves in `HALF_LIFE` steps, because the policy that
earned it changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from groupwise.advantages import is_flat
from groupwise.trajectory import Group, Prompt

HALF_LIFE = 20.0
"""Steps in which an answer loses half its weight."""
STRENGTH = 4.0
"""Answers of its own from which on a row, or a kind, counts more than what it leans on."""


class Belief(NamedTuple):
    """About the next answer to a prompt."""

    mean: float = 0.5
    """Of the reward."""
    spread: float = 0.5
    """Standard deviation of the reward, between answers to this one prompt."""
    chance: float = 0.5
    """`mean` as a share of the range of all rewards seen: of success, where rewards are 0 and 1."""
    evidence: float = 0.0
    """Answers to this very row behind it, old ones discounted; 0: all of it is its kind's."""
    flat_visits: int = 0
    """Times in a row that its whole group got one and the same reward."""


class Tally(NamedTuple):
    """Discounted sums over answers, as of `step`."""

    step: int = 0
    answers: float = 0.0
    total: float = 0.0
    """Of rewards."""
    scatter: float = 0.0
    """Of squared deviations from the mean of their own group."""
    freedom: float = 0.0
    """Of group size - 1: scatter / freedom is the variance within a prompt, without bias."""
    flat_visits: int = 0

    def faded(self, step: int) -> Tally:
        keep = 0.5 ** ((step - self.step) / HALF_LIFE)
        answers, total, scatter, freedom = (keep * x for x in self[1:5])
        return Tally(step, answers, total, scatter, freedom, self.flat_visits)

    def with_group(self, step: int, rewards: np.ndarray) -> Tally:
        """`rewards` [G] of one group, all of them numbers."""
        old, flat = self.faded(step), is_flat(torch.from_numpy(rewards))
        return Tally(
            step,
            old.answers + len(rewards),
            old.total + float(rewards.sum()),
            old.scatter + (0.0 if flat else float(((rewards - rewards.mean()) ** 2).sum())),
            old.freedom + len(rewards) - 1,
            old.flat_visits + 1 if flat else 0,
        )

    def leaning(self, mean: float, variance: float) -> tuple[float, float]:
        """(mean, variance) of the tally together with `STRENGTH` answers like those it leans on."""
        return (
            (self.total + STRENGTH * mean) / (self.answers + STRENGTH),
            (self.scatter + STRENGTH * variance) / (self.freedom + STRENGTH),
        )


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Of all rows. `saved` is its whole state as JSON, and short: six numbers for every row asked."""

    kind: str = "kind"
    """The column that says of which kind a row is; rows without it are of one kind."""
    every: Tally = field(default_factory=Tally)
    kinds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    rows: Mapping[str, Sequence[float]] = field(default_factory=dict)
    span: tuple[float, float] | None = None
    """The lowest and the highest reward seen."""

    @classmethod
    def of(cls, saved: Mapping[str, Any], kind: str = "kind") -> Beliefs:
        """From what `saved` gave; the mapping may be empty."""
        if not saved:
            return cls(kind)
        span = None if saved["span"] is None else (saved["span"][0], saved["span"][1])
        return cls(kind, Tally(*saved["every"]), saved["kinds"], saved["rows"], span)

    def saved(self) -> dict[str, Any]:
        return {"every": self.every, "kinds": self.kinds, "rows": self.rows, "span": self.span}

    def about(self, prompt: Prompt, step: int) -> Belief:
        """As of a step that has not begun: what is kept is of earlier ones."""
        if self.span is None:
            return Belief()
        every = self.every.faded(step)
        mean, variance = every.total / every.answers, every.scatter / max(every.freedom, 1e-300)
        kind = _of(self.kinds, self._kind(prompt)).faded(step)
        own = _of(self.rows, str(prompt.row)).faded(step)
        for tally in (kind, own):
            mean, variance = tally.leaning(mean, variance)
        low, high = self.span
        chance = (mean - low) / (high - low) if high > low else 0.5
        return Belief(mean, float(variance**0.5), min(max(chance, 0.0), 1.0), own.answers, own.flat_visits)

    def after(self, cohort: Sequence[Group], step: int) -> Beliefs:
        """With the scored groups of a step; unscored answers teach nothing."""
        every, kinds, rows, span = self.every, dict(self.kinds), dict(self.rows), self.span
        for group in cohort:
            rewards = group.rewards[~np.isnan(group.rewards)]
            if not len(rewards):
                continue
            every = every.with_group(step, rewards)
            kind, row = self._kind(group.prompt), str(group.prompt.row)
            kinds[kind] = _of(kinds, kind).with_group(step, rewards)
            if group.prompt.row is not None:
                rows[row] = _of(rows, row).with_group(step, rewards)
            low, high = float(rewards.min()), float(rewards.max())
            span = (low, high) if span is None else (min(low, span[0]), max(high, span[1]))
        return replace(self, every=every, kinds=kinds, rows=rows, span=span)

    def _kind(self, prompt: Prompt) -> str:
        return str(prompt.columns.get(self.kind))


def _of(tallies: Mapping[str, Sequence[float]], key: str) -> Tally:
    """Read from JSON a tally is a list of six numbers."""
    return Tally(*tallies[key]) if key in tallies else Tally()  # type: ignore[arg-type]
