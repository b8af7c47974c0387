"""Siblings that came near the same state are compared there."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from answers import rewards_of, siblings, told, turn
from groupwise.advantages import near_states, returns_to_go
from groupwise.trajectory import Group, StopReason, Trajectory


def walk(states: list[float], rewards: list[float], stopped: StopReason = StopReason.FINISHED) -> Trajectory:
    steps = turn([0] * len(states), observation=[[s, 0.5] for s in states], rewards=rewards)
    return replace(told(sum(rewards), steps), stopped=stopped)


def lists(scheme: near_states | returns_to_go, group: Group) -> list[list[float]]:
    return [row.tolist() for row in scheme(rewards_of(group), group)]


ONE = walk([0, 10], [1, 2])
"""Returns 3, 2."""
TWO = walk([1, 9, 20], [4, 8, 16])
"""Returns 28, 24, 16."""


def test_every_decision_is_compared_with_the_siblings_nearest_state() -> None:
    """Never with a state of its own, though 20 is nearer to 10 than to anything of the other's."""
    got = lists(near_states(discount=1.0, neighbours=1), siblings(ONE, TWO))
    assert got == [[3.0 - 28, 2.0 - 24], [28.0 - 3, 24.0 - 2, 16.0 - 2]]


def test_several_neighbours_count_with_their_mean_and_no_more_than_there_are() -> None:
    got = lists(near_states(discount=1.0, neighbours=2), siblings(ONE, TWO))
    assert got[0] == [3.0 - (28 + 24) / 2, 2.0 - (28 + 24) / 2]  # 10 is nearer to 1 than to 20
    assert lists(near_states(discount=1.0, neighbours=9), siblings(ONE, TWO))[1][2] == 16.0 - 2.5


def test_without_a_trace_only_the_next_step_is_looked_at() -> None:
    """Returns with discount 1/2: 2, 2 and 12, 16, 16."""
    got = lists(near_states(discount=0.5, neighbours=1, trace=0.0), siblings(ONE, TWO))
    assert got[0] == [1 + 0.5 * 16 - 12, 2 - 16]
    assert got[1] == [4 + 0.5 * 2 - 2, 8 + 0.5 * 2 - 2, 16 - 2]


def test_a_trace_of_one_is_the_return_less_the_value_and_between_them_the_surprises_fade() -> None:
    group = siblings(ONE, TWO)
    whole = lists(near_states(discount=0.5, neighbours=1), group)
    assert whole == [[2 - 12, 2 - 16], [12 - 2, 16 - 2, 16 - 2]]
    single = lists(near_states(discount=0.5, neighbours=1, trace=0.0), group)[1]
    faded = lists(near_states(discount=0.5, neighbours=1, trace=0.4), group)[1]
    assert faded == pytest.approx([single[0] + 0.2 * (single[1] + 0.2 * single[2]), single[1] + 0.2 * 14, 14])


def test_what_a_cut_leaves_open_is_what_siblings_got_from_there() -> None:
    """Where returns are looked at whole, nothing is estimated: it would be in no return of theirs."""
    cut = siblings(replace(ONE, stopped=StopReason.LENGTH), TWO)
    assert lists(near_states(discount=0.5, neighbours=1, trace=0.0), cut)[0][1] == 2 + 0.5 * 16 - 16
    assert lists(near_states(discount=0.5, neighbours=1), cut)[0][1] == 2 - 16
    closed = near_states(discount=0.5, neighbours=1, trace=0.0, bootstrap=False)
    assert lists(closed, cut)[0][1] == 2 - 16


def test_where_all_are_in_one_state_at_each_time_it_is_the_return_to_go() -> None:
    trio = siblings(walk([0, 1], [3, 0]), walk([0, 1], [1, 1]), walk([0, 1], [0, 4]))
    for row, same in zip(
        lists(near_states(discount=0.9, neighbours=2), trio),
        lists(returns_to_go(discount=0.9), trio),
        strict=True,
    ):
        assert row == pytest.approx(same)


def test_its_expected_gradient_is_the_returns_own() -> None:
    """All pairs of episodes of two coins, p = 0.3 heads, in a world whose reward depends on both; the state
    is the number of heads. d/dlogit of the expected return against the mean of (heads - p) A."""
    p = 0.3
    plays = list(itertools.product((0, 1), repeat=2))

    def chance(play: tuple[int, ...]) -> float:
        return math.prod(p if a else 1 - p for a in play)

    def episode(play: tuple[int, ...]) -> Trajectory:
        first, second = play
        return walk([0.0, float(first)], [2.0 * first, 5.0 * first * second - second])

    slope = sum(chance(a) * sum(h - p for h in a) * (episode(a).reward or 0.0) for a in plays)
    got = 0.0
    for one, two in itertools.product(plays, repeat=2):
        rows = lists(near_states(discount=1.0, neighbours=1), siblings(episode(one), episode(two)))
        terms = [
            (h - p) * a
            for play, row in zip((one, two), rows, strict=True)
            for h, a in zip(play, row, strict=True)
        ]
        got += chance(one) * chance(two) * sum(terms) / 2
    assert abs(slope) > 0.1
    assert got == pytest.approx(slope)


def test_states_far_from_zero_are_told_apart() -> None:
    """Two walks over the same 40 places around 3000, a tenth apart, the second one backwards."""
    there = [3000 + 0.1 * i for i in range(40)]
    group = siblings(walk(there, [1.0] * 40), walk(there[::-1], [2.0] * 40))
    got = lists(near_states(discount=1.0, neighbours=1), group)
    assert got[0] == [(40.0 - i) - 2.0 * (i + 1) for i in range(40)]


def test_texts_are_near_in_time() -> None:
    """Three decisions, and two in two turns: the third is compared with the last of the other."""
    text = siblings(told(1.0, turn([1, 2, 3])), told(0.0, turn([4]), turn([5], observation=(9, 9))))
    assert lists(near_states(discount=0.5, neighbours=1), text) == [[0.25, 0.5, 1.0], [-0.25, -0.5]]


def test_who_came_to_no_decision_has_no_state_to_compare() -> None:
    """The others are compared as without it; where one alone decided there is nothing to compare."""
    bystander = walk([], [])
    assert lists(near_states(), siblings(ONE, bystander, TWO))[::2] == lists(
        near_states(), siblings(ONE, TWO)
    )
    assert lists(near_states(), siblings(ONE, bystander)) == [[0, 0], []]


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"discount": 1.5}, {"trace": -0.1}, {"neighbours": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            near_states(**wrong)  # type: ignore[arg-type]
