"""Siblings that came to the same state are compared there."""

import math

import numpy as np
import pytest

from answers import f64, rewards_of, siblings, told, turn
from groupwise.advantages import center, gigpo, standardize, standardized
from groupwise.trajectory import Group, Trajectory

EXACT = standardized(epsilon=0.0)
HALF = math.sqrt(0.5)


def walk(reward: float, *states: int) -> Trajectory:
    """A text episode: a turn of two decisions in every state, the reward at the end."""
    return told(reward, *(turn([7, 8], observation=(s, s)) for s in states))


def numbers(states: list[float], rewards: list[float]) -> Trajectory:
    steps = turn([0] * len(states), observation=[[s, 0.5] for s in states], rewards=rewards)
    return told(sum(rewards), steps)


def lists(scheme: gigpo, group: Group) -> list[list[float]]:
    return [row.tolist() for row in scheme(rewards_of(group), group)]


def test_states_seen_once_leave_grpo() -> None:
    """A singleton must add 0, not its raw return."""
    group = siblings(walk(1.0, 1, 2), walk(0.0, 3, 4), walk(0.4, 5))
    want = standardize(f64(1, 0, 0.4)).tolist()
    assert lists(gigpo(), group) == [[want[0]] * 4, [want[1]] * 4, [want[2]] * 2]


def test_two_visits_with_returns_1_and_0_stand_at_half_root_two() -> None:
    """They meet in state 9 at different times; discount 1, so the returns are 1 and 0."""
    group = siblings(walk(1.0, 1, 9), walk(0.0, 9, 2, 3))
    got = lists(gigpo(weight=2.0, discount=1.0, scheme=EXACT), group)
    assert got[0] == pytest.approx([HALF, HALF, 3 * HALF, 3 * HALF])
    assert got[1] == pytest.approx([-3 * HALF, -3 * HALF, -HALF, -HALF, -HALF, -HALF])


def test_the_sooner_of_two_winners_stands_higher_by_the_discount() -> None:
    """Both win, so GRPO is silent; from state 1 the returns are .25 and .5."""
    group = siblings(walk(1.0, 1, 2, 3), walk(1.0, 1, 4))
    got = lists(gigpo(discount=0.5, scheme=center), group)
    assert got[0] == [-0.125, -0.125, 0.0, 0.0, 0.0, 0.0]
    assert got[1] == [0.125, 0.125, 0.0, 0.0]


def test_a_state_visited_twice_by_one_sibling_is_two_visits() -> None:
    """Returns from state 1: .25 and 1 by the first, .5 by the second; mean 7/12."""
    group = siblings(walk(1.0, 1, 2, 1), walk(1.0, 1, 3))
    got = lists(gigpo(discount=0.5, scheme=center), group)
    assert got[0][::2] == pytest.approx([0.25 - 7 / 12, 0.0, 1 - 7 / 12])
    assert got[1][::2] == pytest.approx([0.5 - 7 / 12, 0.0])


def test_numeric_observations_are_states_row_by_row() -> None:
    """Rewards (1, 0) and (0, 0) from the same start; the second states differ."""
    group = siblings(numbers([0.0, 1.0], [1.0, 0.0]), numbers([0.0, 2.0], [0.0, 0.0]))
    got = lists(gigpo(discount=0.9, scheme=center), group)
    assert got == [[1.0, 0.5], [-1.0, -0.5]]


def test_rewards_within_a_turn_count_as_one_step() -> None:
    """A turn's rewards 1 and 1 make 2; by decision they would be discounted inside the turn."""
    pair = siblings(told(2.0, turn([0, 1], rewards=[1, 1])), told(0.0, turn([0, 1], rewards=[0, 0])))
    assert lists(gigpo(discount=0.5, scheme=center), pair) == [[2.0, 2.0], [-2.0, -2.0]]


def test_who_came_to_no_decision_counts_in_the_episodes_part_alone() -> None:
    """Rewards 3, 1 and -1 (of none): 2, 0 off the mean; the state that two share gives them 1 and -1."""
    group = siblings(numbers([5], [3]), told(-1, turn([], observation=np.empty((0, 2)))), numbers([5], [1]))
    assert lists(gigpo(scheme=center), group) == [[2 + 1], [], [0 - 1]]


def test_equals_teach_exactly_nothing() -> None:
    group = siblings(*[walk(0.3, 1, 2)] * 3)
    assert lists(gigpo(), group) == [[0.0] * 4] * 3


def test_a_discount_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        gigpo(discount=1.5)
