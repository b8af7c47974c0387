"""The player whose games are shown: right for every number, within the turns that halving takes."""

from __future__ import annotations

import pytest

from groupwise.envs.halving import Halving


@pytest.mark.parametrize("high", [20, 50])
def test_halving_finds_every_number(high: int) -> None:
    for number in range(1, high + 1):
        player, told = Halving(f"a number between 1 and {high} within 10 turns"), ""
        for _ in range(high.bit_length()):
            guess = player(told)
            told = "It is higher." if guess < number else "It is lower."
            if guess == number:
                break
        assert guess == number
