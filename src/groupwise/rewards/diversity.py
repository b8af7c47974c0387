"""How much an answer differs from its siblings, the other answers to the same prompt.

Siblings share a number in `group_ids`, one for each completion; without it, equal prompts make siblings
(then two groups of one prompt become one). A diversity of the whole group would be the same number for
every member and so teach nothing: what is rewarded is each answer's own share in it. The whole group's
distinct-n (arXiv 1510.03055) is logged as `diversity/distinct_N`, mean over groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.rewards.words import Completion, ngrams, text_of, words

Grams = frozenset[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class novelty:  # noqa: N801 - reads as the function that it is
    """The share of an answer's distinct n-grams that no sibling has, in [0, 1].

    0 for an empty answer; None for an answer without siblings. An answer with fewer than n words is one
    n-gram.
    """

    n: int = 2

    def __post_init__(self) -> None:
        _at_least_one(self.n)

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        group_ids: Sequence[int] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        def value(own: Grams, holders: Counter[tuple[str, ...]], siblings: int) -> float:
            return sum(holders[g] == 1 for g in own) / len(own)

        return _each(value, self.n, prompts, completions, group_ids, columns)


@dataclass(frozen=True, slots=True)
class unlikeness:  # noqa: N801
    """1 − the mean over siblings of the share of an answer's distinct n-grams that it has, in [0, 1].

    Softer than `novelty`: what half of the siblings say counts half. 0 for an empty answer; None for an
    answer without siblings.
    """

    n: int = 2

    def __post_init__(self) -> None:
        _at_least_one(self.n)

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        group_ids: Sequence[int] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        def value(own: Grams, holders: Counter[tuple[str, ...]], siblings: int) -> float:
            return 1 - sum(holders[g] - 1 for g in own) / (len(own) * siblings)

        return _each(value, self.n, prompts, completions, group_ids, columns)


def _at_least_one(n: int) -> None:
    if n < 1:
        raise ValueError(f"n={n} words in a row: at least 1")


def _each(
    value: Callable[[Grams, Counter[tuple[str, ...]], int], float],
    n: int,
    prompts: Sequence[Any],
    completions: Sequence[Completion],
    group_ids: Sequence[int] | None,
    columns: dict[str, Any],
) -> list[float | None]:
    """One value for each answer, from its n-grams and the number of answers of the group that hold each."""
    tokens = [words(text_of(c)) for c in completions]
    grams = [frozenset(_grams(t, n)) for t in tokens]
    values: list[float | None] = [None] * len(tokens)
    log_metric = columns.get("log_metric")
    for rows in siblings(prompts, group_ids):
        holders = Counter(g for i in rows for g in grams[i])
        if len(rows) > 1:
            for i in rows:
                values[i] = value(grams[i], holders, len(rows) - 1) if grams[i] else 0.0
        total = sum(len(_grams(tokens[i], n)) for i in rows)
        if log_metric is not None and total:
            log_metric(f"diversity/distinct_{n}", len(holders) / total)
    return values


def _grams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return ngrams(tokens, n) or ([tuple(tokens)] if tokens else [])


def siblings(prompts: Sequence[Any], group_ids: Sequence[int] | None = None) -> list[list[int]]:
    """The rows of each group, groups in the order of their first row.

    Raises:
        ValueError: not one group id for each prompt.
    """
    if group_ids is not None and len(group_ids) != len(prompts):
        raise ValueError(f"{len(group_ids)} group ids for {len(prompts)} completions: one for each")
    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(map(repr, prompts) if group_ids is None else group_ids):
        groups.setdefault(key, []).append(i)
    return list(groups.values())


novel = novelty()
unlike_siblings = unlikeness()
