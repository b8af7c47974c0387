"""Warnings that a run gives once of each kind."""

from __future__ import annotations

import warnings


class Once:
    """Remembers what has been told."""

    def __init__(self) -> None:
        self._told: set[type[Warning]] = set()

    def __call__(self, kind: type[Warning], message: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            warnings.warn(message, kind, stacklevel=5)
