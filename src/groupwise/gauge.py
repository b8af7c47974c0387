"""Which policies' answers still count, and whose seats are taken for counting too little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from groupwise.mixtures import effective_share, weights

WINDOW = 5
"""Steps over which a policy's answers are judged together."""
LEAST = 0.1
"""Effective share of its answers below which a policy loses its seats: ten of them count as one."""


class Gauge:
    """How much each policy's answers have counted lately, and who has lost its seats."""

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}
        """Name -> the step after which its seats went to the current policy."""
        self._sums: dict[str, list[list[float]]] = {}
        """Name -> of each of the last steps: its number, answers, sum of weights, sum of their squares."""

    @classmethod
    def of(cls, memory: Mapping[str, Any]) -> Gauge:
        gauge = cls()
        gauge.dropped = dict(memory.get("dropped", {}))
        gauge._sums = {name: [list(row) for row in rows] for name, rows in memory.get("sums", {}).items()}
        return gauge

    def memory(self) -> dict[str, Any]:
        sums = {name: [list(row) for row in rows] for name, rows in self._sums.items()}
        return {"dropped": dict(self.dropped), "sums": sums}

    def falls(self, name: str, log_weights: np.ndarray, answers: int, step: int) -> bool:
        """Note a step's answers (those without a weight count as 0); True if the policy is dropped for it."""
        w = weights(log_weights)
        new = [float(answers), float(w.sum()), float((w**2).sum())]
        rows = self._sums.setdefault(name, [])
        if rows and rows[-1][0] == step:  # a step may be collected in parts
            new = [x + y for x, y in zip(rows.pop()[1:], new, strict=True)]
        rows.append([float(step), *new])
        del rows[:-WINDOW]
        _, n, total, squares = np.sum(rows, axis=0)
        if len(rows) < WINDOW or effective_share(total, squares, int(n)) >= LEAST:
            return False
        self.dropped[name] = step
        del self._sums[name]
        return True
