"""Advantages from the rewards alone: hand numbers, invariances and the degenerate groups."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from answers import f64
from groupwise.advantages import EPSILON, center, leave_one_out, maxrl, standardize, standardized

SCHEMES = [center, leave_one_out, standardize, standardized(correction=0, epsilon=0.0)]
any_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=["center", "leave_one_out", "grpo", "exact"])
SHIFTLESS = [*SCHEMES, maxrl]
zero_sum = pytest.mark.parametrize(
    "scheme", SHIFTLESS, ids=["center", "leave_one_out", "grpo", "exact", "maxrl"]
)


def successes(k: int, size: int) -> Tensor:
    return f64(*[1.0] * k, *[0.0] * (size - k))


# ---------------------------------------------------------------- one group


@pytest.mark.parametrize(
    ("k", "up", "down"),
    [(1, 2.4749, -0.3536), (2, 1.6202, -0.5401), (3, 1.2076, -0.7246), (4, 0.9354, -0.9354)],
)
def test_standardize_meets_the_table_for_eight_binary_answers(k: int, up: float, down: float) -> None:
    """A deviation with G below (not G - 1) would be 7 % larger here."""
    got = standardize(successes(k, 8))
    assert got[0].item() == pytest.approx(up, rel=5e-4)
    assert got[-1].item() == pytest.approx(down, rel=5e-4)


@pytest.mark.parametrize("size", [2, 4, 8, 32])
def test_the_largest_advantage_has_its_closed_form(size: int) -> None:
    """One success: sqrt(G - 1) with G below, (G - 1) / sqrt(G) with G - 1 below."""
    alone = successes(1, size)
    assert standardized(0, 0.0)(alone)[0].item() == pytest.approx(math.sqrt(size - 1), rel=1e-12)
    assert standardized(1, 0.0)(alone)[0].item() == pytest.approx((size - 1) / math.sqrt(size), rel=1e-12)


def test_two_answers_are_the_same_distance_apart_whatever_their_gap() -> None:
    """At G = 2 the deviation is the gap: 1 / sqrt 2 for any, a trap of small groups."""
    for gap in (1e-3, 1.0, 1e5):
        got = standardized(epsilon=0.0)(f64(gap, 0.0))
        assert got.tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)], rel=1e-12)


@pytest.mark.parametrize("arguments", [(2, 0.0), (-1, 0.0), (1, -1e-4), (1, math.nan)])
def test_a_deviation_that_is_none_is_refused(arguments: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="correction is 0 or 1"):
        standardized(*arguments)


def test_maxrl_divides_by_the_mean() -> None:
    assert maxrl(f64(1, 0, 0, 1)).tolist() == [1, -1, -1, 1]
    torch.testing.assert_close(maxrl(f64(3, 1, 2)), f64(0.5, -0.5, 0.0), rtol=0, atol=1e-15)


def test_maxrl_does_not_see_the_scale_and_refuses_rewards_below_zero() -> None:
    """Rewards of -1 and 1 have mean 0 or less: every sign would turn round."""
    torch.testing.assert_close(maxrl(f64(30, 10, 20)), maxrl(f64(3, 1, 2)), rtol=1e-14, atol=1e-15)
    with pytest.raises(ValueError, match="takes none below 0, not -1"):
        maxrl(f64(1, -1))


def test_standardize_divides_by_deviation_plus_epsilon() -> None:
    """std of (1, 3) is sqrt 2; the epsilon is added to it, not put under the root."""
    assert standardize(f64(1, 3))[1].item() == pytest.approx(1 / (math.sqrt(2) + EPSILON), rel=1e-12)


def test_center_and_leave_one_out_meet_hand_numbers() -> None:
    assert center(f64(4, 1, 1)).tolist() == [2, -1, -1]
    assert leave_one_out(f64(4, 1, 1)).tolist() == [3, -1.5, -1.5]


def test_leave_one_out_is_the_reward_minus_the_mean_of_the_others() -> None:
    rewards = f64(0.3, -2.0, 5.5, 0.1, 0.1)
    by_hand = [r - (rewards.sum() - r) / 4 for r in rewards]
    torch.testing.assert_close(leave_one_out(rewards), torch.stack(by_hand), rtol=0, atol=1e-14)
    torch.testing.assert_close(leave_one_out(rewards), 5 / 4 * center(rewards), rtol=0, atol=1e-14)


@zero_sum
def test_advantages_of_a_group_sum_to_zero(scheme: Callable[[Tensor], Tensor]) -> None:
    assert abs(scheme(f64(0.3, 2.0, 5.5, 0.1, 7.25)).sum().item()) < 1e-14


@any_scheme
def test_adding_a_constant_to_every_reward_changes_nothing(scheme: Callable[[Tensor], Tensor]) -> None:
    rewards = f64(0.3, -2.0, 5.5, 0.1)
    torch.testing.assert_close(scheme(rewards + 100), scheme(rewards), rtol=0, atol=1e-12)


def test_the_scale_of_rewards_cancels_only_in_standardize() -> None:
    rewards = f64(0.3, -2.0, 5.5, 0.1)
    torch.testing.assert_close(standardize(1000 * rewards), standardize(rewards), rtol=1e-4, atol=0)
    torch.testing.assert_close(center(1000 * rewards), 1000 * center(rewards), rtol=1e-14, atol=0)


@any_scheme
@pytest.mark.parametrize(
    "rewards",
    [[0.0] * 4, [1.0] * 4, [-7.3] * 3, [0.1 + 0.2, 0.3, 0.3], [1e6 + 1e-9, 1e6, 1e6]],
    ids=["zeros", "ones", "negative", "0.1+0.2 and 0.3", "large"],
)
def test_a_group_of_equals_teaches_exactly_nothing(
    scheme: Callable[[Tensor], Tensor], rewards: list[float]
) -> None:
    """Rounding noise divided by its own deviation would be an advantage of order one."""
    assert scheme(f64(*rewards)).tolist() == [0.0] * len(rewards)
    assert scheme(torch.tensor(rewards)).tolist() == [0.0] * len(rewards)


def test_maxrl_of_equals_is_exactly_nothing() -> None:
    """All wrong is 0 / 0; 0.1 + 0.2 and 0.3 differ by rounding."""
    for rewards in ([0.0] * 3, [1.0] * 3, [0.1 + 0.2, 0.3, 0.3]):
        assert maxrl(f64(*rewards)).tolist() == [0.0] * 3


@any_scheme
def test_a_small_real_difference_still_counts(scheme: Callable[[Tensor], Tensor]) -> None:
    """The floor for equal groups must not swallow rewards that differ in the fifth digit."""
    got = scheme(f64(1.00001, 1.0, 1.0))
    assert got[0] > 0 > got[1]


@zero_sum
@pytest.mark.parametrize("rewards", [[], [1.0]])
def test_a_lonely_answer_is_an_error(scheme: Callable[[Tensor], Tensor], rewards: list[float]) -> None:
    """Leaving the raw reward as the advantage, as some do, is a silent change of algorithm."""
    with pytest.raises(ValueError, match=f"group of {len(rewards)} has no baseline"):
        scheme(f64(*rewards))
