"""Keeps what rewards said, by prompt, answer and the columns that they read."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from groupwise.rewards.scoring import Failed, Value, accepted

UNCACHED = ("group_ids", "trainer_state", "log_extra", "log_metric")
"""A reward that takes one of these by name depends on more than one answer, or does more than return."""


class Cache:
    """Values by key; the one that was not asked for the longest goes first. Failures are not kept."""

    def __init__(self, size: int = 10_000) -> None:
        self.size = size
        self.hits = 0
        self._kept: OrderedDict[bytes, Value] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._kept

    def filled(
        self, keys: Sequence[bytes | None], compute: Callable[[list[int]], Sequence[Value]]
    ) -> list[Value]:
        """The value of each key; `compute` gets the rows that are not known, each key once. None: no key."""
        first: dict[bytes, int] = {}
        missing = []
        for i, key in enumerate(keys):
            if key is None or (key not in self._kept and first.setdefault(key, i) == i):
                missing.append(i)
        values = list(compute(missing)) if missing else []
        if len(values) != len(missing):
            raise ValueError(f"returned {len(values)} values for {len(missing)} completions")
        found = dict(zip(missing, values, strict=True))
        self.hits += len(keys) - len(missing)
        rows = [self._row(i, key, found, first) for i, key in enumerate(keys)]
        for i, value in found.items():
            self._keep(keys[i], value)
        return rows

    def _row(
        self, i: int, key: bytes | None, found: Mapping[int, Value], first: Mapping[bytes, int]
    ) -> Value:
        if key is None:
            return found[i]
        if key in first:
            return found[first[key]]
        self._kept.move_to_end(key)
        return self._kept[key]

    def _keep(self, key: bytes | None, value: Value) -> None:
        if key is None or isinstance(value, Failed):
            return
        self._kept[key] = value
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)


class cached:  # noqa: N801 - reads as the function that it makes
    """A reward that asks `function` only about answers that it has not seen, with the arguments it reads.

    For one that judges answers one by one, always alike, and returns at once (not async).

    Raises:
        ValueError: the function is async, or names an argument of UNCACHED.
    """

    def __init__(self, function: Callable[..., Any], size: int = 10_000) -> None:
        names = inspect.signature(function).parameters
        if taken := [name for name in UNCACHED if name in names]:
            raise ValueError(
                f"a reward that takes {taken[0]} does not depend on one answer alone: not cached."
            )
        if inspect.iscoroutinefunction(function):
            raise ValueError("an async reward cannot be cached: keep its answers in the function itself.")
        self.function = function
        self.cache = Cache(size)
        self.ids = "completion_ids" in names

    def __call__(self, **arguments: Any) -> list[Value]:
        read = accepted(self.function, arguments)
        lists = {k: v for k, v in read.items() if isinstance(v, list) and k not in UNCACHED}
        if not self.ids:
            lists.pop("completion_ids", None)
        n = len(arguments["completions"])
        keys = [key_of({k: v[i] for k, v in lists.items()}) for i in range(n)]
        return self.cache.filled(
            keys, lambda rows: self.function(**{k: [v[i] for i in rows] for k, v in lists.items()})
        )


def key_of(call: Mapping[str, Any]) -> bytes | None:
    """Equal for equal arguments; None for what JSON cannot write, which is not kept."""
    try:
        text = json.dumps(call, sort_keys=True)
    except (TypeError, ValueError):
        return None
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
