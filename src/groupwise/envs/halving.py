"""A player of GuessTheNumber: always the middle of what is left."""

from __future__ import annotations

import re


class Halving:
    """Guesses a number that it is told to be higher or lower than the last guess."""

    def __init__(self, rules: str) -> None:
        """`rules` say that it is between one number and another."""
        found = re.search(r"between (\d+) and (\d+)", rules)
        assert found is not None
        self._low, self._high = int(found[1]), int(found[2])
        self._guess = 0

    def __call__(self, told: str) -> int:
        """What it guesses next; `told` is empty at first."""
        if "higher" in told:
            self._low = self._guess + 1
        elif "lower" in told:
            self._high = self._guess - 1
        self._guess = (self._low + self._high) // 2
        return self._guess
