"""Rewards that compare the answers to one prompt with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from groupwise.rewards.ahead import Kept
from groupwise.rewards.cache import key_of
from groupwise.rewards.scoring import Failed, Value, accepted

Cut = dict[str, Any]
"""The arguments of a reward, those of one group."""
Judged = tuple[list[Value], list[tuple[str, float]]]
"""The values of one group, and what was logged with them."""


@dataclass(frozen=True, slots=True)
class by_group:  # noqa: N801 - reads as the function that it makes
    """A reward from a function that is called once for each group, with the siblings alone.

    >>> longest = by_group(lambda completions: [float(c == max(completions, key=len)) for c in completions])
    >>> longest(completions=["a", "bbb", "cc"], group_ids=[0, 1, 0])
    [0.0, 1.0, 1.0]
    """

    function: Callable[..., Sequence[Value]]
    ahead: bool = False
    """Call it for a group while other groups are being written (ahead.py). For a function that waits, as for
    a judge elsewhere; one that counts or compares by itself takes from writing what it gains."""
    _kept: Kept[bytes, Cut, Judged] = field(default_factory=Kept, init=False, repr=False, compare=False)

    def begin(self, group_ids: Sequence[int], **given: Any) -> None:
        cuts = [_cut(rows, len(group_ids), given) for rows in _siblings(group_ids)]
        keyed = {key: cut for cut in cuts if (key := self._key(cut)) is not None}
        self._kept.begin(keyed, self._judged, lambda found: not any(isinstance(v, Failed) for v in found[0]))

    def __call__(self, group_ids: Sequence[int], **given: Any) -> list[Value]:
        groups = list(_siblings(group_ids))
        cuts = [_cut(rows, len(group_ids), given) for rows in groups]
        keys = [self._key(cut) if self.ahead else None for cut in cuts]
        values: list[Value] = [None] * len(group_ids)
        log = given.get("log_metric")
        for rows, (found, logged) in zip(groups, self._kept.taken(keys, cuts, self._judged), strict=True):
            if len(found) != len(rows):
                raise ValueError(f"returned {len(found)} values for a group of {len(rows)}")
            for i, value in zip(rows, found, strict=True):
                values[i] = value
            if log is not None:
                for name, number in logged:
                    log(name, number)
        return values

    def _key(self, cut: Cut) -> bytes | None:
        return key_of({k: v for k, v in accepted(self.function, cut).items() if isinstance(v, list)})

    def _judged(self, cuts: Sequence[Cut]) -> list[Judged]:
        return [self._one(cut) for cut in cuts]

    def _one(self, cut: Cut) -> Judged:
        logged: list[tuple[str, float]] = []
        log = {"log_metric": lambda name, value: logged.append((name, float(value)))}
        return list(self.function(**accepted(self.function, cut | log))), logged


@dataclass(frozen=True, slots=True)
class ranked:  # noqa: N801 - reads as the function that it makes
    """The share of its siblings that an answer beats by the value of `inner`; a tie counts half.

    From 0 for the lowest to 1 for the highest, 1/2 on average whatever the values are. Siblings without
    a value are left out and stay without; None for one that has nobody to be compared with.

    >>> ranked(lambda completions: [3.0, 9.0, 3.0, None])(completions=list("abcd"), group_ids=[0] * 4)
    [0.25, 1.0, 0.25, None]
    """

    inner: Callable[..., Sequence[Value]]

    @property
    def ahead(self) -> bool:
        return getattr(self.inner, "ahead", False)

    def begin(self, **given: Any) -> None:
        begin = self.inner.begin  # type: ignore[attr-defined]
        begin(**accepted(begin, given))

    def __call__(self, group_ids: Sequence[int], **arguments: Any) -> list[Value]:
        values = list(self.inner(**accepted(self.inner, {**arguments, "group_ids": group_ids})))
        if len(values) != len(group_ids):
            raise ValueError(f"returned {len(values)} values for {len(group_ids)} completions")
        for rows in _siblings(group_ids):
            scored = {i: v for i in rows if (v := values[i]) is not None and not isinstance(v, Failed)}
            for i, mine in scored.items():
                below = sum(v < mine for v in scored.values())
                ties = sum(v == mine for v in scored.values()) - 1
                values[i] = (below + ties / 2) / (len(scored) - 1) if len(scored) > 1 else None
        return values


def pairwise(prefer: Callable[[Any, Any, Any], float], ahead: bool = False) -> by_group:
    """The share of comparisons that an answer wins: prefer(prompt, a, b) is 1 for a, 0 for b, or between.

    Every pair is compared in both orders, since judges tend to favour a place. None for a lone answer.
    `ahead`: as of by_group.
    """

    def wins(prompts: Sequence[Any], completions: Sequence[Any]) -> list[Value]:
        n = len(completions)
        won = [0.0] * n
        for i in range(n):
            for j in range(i):
                share = prefer(prompts[i], completions[i], completions[j])
                share = (share + 1 - prefer(prompts[i], completions[j], completions[i])) / 2
                won[i] += share
                won[j] += 1 - share
        return [w / (n - 1) if n > 1 else None for w in won]

    return by_group(wins, ahead)


def distinct(of: Callable[[Any], Hashable]) -> by_group:
    """Diversity: the share of its siblings whose `of(completion)` differs; None for a lone answer."""

    def differing(completions: Sequence[Any]) -> list[Value]:
        keys = [of(c) for c in completions]
        counts, n = Counter(keys), len(keys)
        return [(n - counts[key]) / (n - 1) if n > 1 else None for key in keys]

    return by_group(differing)


def _cut(rows: Sequence[int], n: int, given: Mapping[str, Any]) -> Cut:
    """Of n answers the arguments of these; log_extra takes a whole cohort."""
    return {
        k: [v[i] for i in rows] if isinstance(v, list) and len(v) == n else v
        for k, v in given.items()
        if k != "log_extra"
    }


def _siblings(group_ids: Sequence[int]) -> Iterator[list[int]]:
    rows: dict[int, list[int]] = {}
    for i, group in enumerate(group_ids):
        rows.setdefault(group, []).append(i)
    yield from rows.values()
