"""Rewards on the way: returns from each decision on, and process supervision."""

import math

import pytest

from answers import answer, f64, rewards_of, siblings, told, turn
from groupwise.advantages import assign, center, leave_one_out, process, returns_to_go, standardize
from groupwise.advantages.returns import discounted, step_rewards
from groupwise.trajectory import Group, Trajectory

NAN = math.nan


def episode(*rewards: float) -> Trajectory:
    return told(sum(r for r in rewards if not math.isnan(r)), turn([0] * len(rewards), rewards=rewards))


def lists(scheme: object, group: Group) -> list[list[float]]:
    return [row.tolist() for row in scheme(rewards_of(group), group)]  # type: ignore[operator]


def test_discounted_returns_meet_hand_numbers() -> None:
    assert discounted(f64(1, 2, 4), 0.5).tolist() == [3.0, 4.0, 4.0]
    assert discounted(f64(1, 2, 4), 1.0).tolist() == [7.0, 6.0, 4.0]
    assert discounted(f64(1, 2, 4), 0.0).tolist() == [1.0, 2.0, 4.0]


def test_what_the_world_did_not_give_on_the_way_comes_at_the_end() -> None:
    """Dropped, it would be logged and optimised by nobody."""
    two_turns = told(5.0, turn([1, 2]), turn([3], observation=(9, 9)))
    assert step_rewards(two_turns, 5.0).nan_to_num(-1).tolist() == [-1, -1, 5]
    mixed = told(5.0, turn([1], rewards=[2.0]), turn([3, 4], observation=(9, 9)))
    assert step_rewards(mixed, 5.0).nan_to_num(-1).tolist() == [2, -1, 3]
    both = told(5.0, turn([1], rewards=[2.0]), turn([3, 4], rewards=[NAN, 1.0], observation=(9, 9)))
    assert step_rewards(both, 5.0).nan_to_num(-1).tolist() == [2, -1, 3]
    assert step_rewards(both, 3.0).nan_to_num(-1).tolist() == [2, -1, 1], "there is no more"
    cut = told(2.0, turn([1], rewards=[2.0]), turn([3, 4], rewards=[NAN, NAN], observation=(9, 9)))
    assert step_rewards(cut, 2.0).isnan().tolist() == [False, True, True], "it ends no step"


def test_returns_to_go_are_compared_at_their_time() -> None:
    """Returns (3, 2, 2) and (1, 1): the shorter one counts 0 at time 2."""
    pair = siblings(episode(1, 0, 2), episode(0, 1))
    assert lists(returns_to_go(), pair) == [[2.0, 1.0, 2.0], [-2.0, -1.0]]


def test_three_siblings_are_each_compared_with_the_other_two() -> None:
    trio = siblings(episode(3, 0), episode(1, 1), episode(0, 4))
    got = lists(returns_to_go(discount=0.5), trio)
    to_go = [[3.0, 0.0], [1.5, 1.0], [2.0, 4.0]]
    for i, row in enumerate(got):
        others = [to_go[j] for j in range(3) if j != i]
        assert row == pytest.approx([to_go[i][t] - (others[0][t] + others[1][t]) / 2 for t in range(2)])


def test_with_an_outcome_alone_returns_are_leave_one_out_until_the_first_ends() -> None:
    """After the end of a failure its return is 0 either way: at time 2 only the winner is left."""
    group = siblings(answer(1.0, 3), answer(0.0, 2), answer(0.0, 3))
    first = leave_one_out(f64(1, 0, 0)).tolist()
    assert [row[0] for row in lists(returns_to_go(), group)] == first
    assert lists(returns_to_go(), group)[0] == [1.0, 1.0, 1.0]


def test_bare_returns_have_no_baseline() -> None:
    pair = siblings(episode(1, 0, 2), episode(0, 1))
    assert lists(returns_to_go(baseline=False), pair) == [[3.0, 2.0, 2.0], [1.0, 1.0]]


def test_equal_episodes_teach_exactly_nothing() -> None:
    """0.1 three times is not 0.3 divided by three."""
    group = siblings(*[episode(0.1, 0.2)] * 3)
    assert lists(returns_to_go(), group) == [[0.0, 0.0]] * 3
    assert lists(returns_to_go(0.9), group) == [[0.0, 0.0]] * 3
    assert lists(process(), siblings(*[episode(0.1, 0.1)] * 3)) == [[0.0, 0.0]] * 3


def test_answers_without_decisions_get_an_empty_advantage() -> None:
    empty = siblings(answer(1.0, 0), answer(0.0, 0))
    assert lists(returns_to_go(), empty) == [[], []]
    assert lists(process(), empty) == [[], []]


@pytest.mark.parametrize("discount", [-0.1, 1.1, NAN])
def test_a_discount_outside_0_to_1_is_refused(discount: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        returns_to_go(discount)


@pytest.mark.parametrize("scheme", [returns_to_go(), process()])
def test_a_lonely_episode_is_an_error(scheme: object) -> None:
    with pytest.raises(ValueError, match="group of 1 has no baseline"):
        lists(scheme, siblings(episode(1.0)))


# ---------------------------------------------------------------- process supervision


def test_one_step_at_the_end_is_grpo() -> None:
    group = siblings(answer(1.0, 3), answer(0.0, 1), answer(0.4, 2))
    want = standardize(f64(1, 0, 0.4)).tolist()
    assert lists(process(), group) == [[want[0]] * 3, [want[1]], [want[2]] * 2]


def test_steps_are_normalised_together_and_summed_from_each_decision_on() -> None:
    """Steps 1, 0 of the first and 2 of the second, mean 1: centred 0, -1, 1. A step holds two decisions."""
    group = siblings(episode(NAN, 1, NAN, 0), episode(NAN, 2))
    assert lists(process(center), group) == [[-1.0, -1.0, -1.0, -1.0], [1.0, 1.0]]
    late = siblings(episode(3, NAN, 0), episode(0))
    assert lists(process(center), late) == [[1.0, -1.0, -1.0], [-1.0]]


def test_a_decision_between_steps_is_not_a_step_of_reward_zero() -> None:
    """Counting it would move the mean from 1.5 to 0.5."""
    group = siblings(episode(NAN, NAN, 2), episode(NAN, NAN, 1))
    assert lists(process(center), group) == [[0.5] * 3, [-0.5] * 3]


def test_an_unscored_sibling_is_left_out() -> None:
    quiet = told(None, turn([0, 0], rewards=[9.0, 9.0]))
    (got,) = assign([siblings(episode(1, 1), quiet, episode(0, 0))], returns_to_go())
    assert [t.advantage.tolist() for t in got.trajectories] == [[2.0, 1.0], [0.0, 0.0], [-2.0, -1.0]]  # type: ignore[union-attr]
