"""Advantages: hand numbers, exact expectations over binomial outcomes, and the degenerate groups."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from groupwise.advantages import EPSILON, assign, batch_scale, center, leave_one_out, standardize
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

SCHEMES = [center, leave_one_out, standardize]
any_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda f: f.__name__)


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def successes(k: int, size: int) -> Tensor:
    return f64(*[1.0] * k, *[0.0] * (size - k))


def weight_on_gradient(scheme: Callable[[Tensor], Tensor], size: int, p: float) -> float:
    """E[h(k/G)] / (p(1-p)), h = k/G A+: what multiplies grad p in the expected update, exactly."""
    h = [k / size * float(scheme(successes(k, size))[0]) for k in range(size + 1)]
    chance = [math.comb(size, k) * p**k * (1 - p) ** (size - k) for k in range(size + 1)]
    return sum(c * x for c, x in zip(chance, h, strict=True)) / (p * (1 - p))


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


@any_scheme
def test_advantages_of_a_group_sum_to_zero(scheme: Callable[[Tensor], Tensor]) -> None:
    assert abs(scheme(f64(0.3, -2.0, 5.5, 0.1, 7.25)).sum().item()) < 1e-14


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


@any_scheme
def test_a_small_real_difference_still_counts(scheme: Callable[[Tensor], Tensor]) -> None:
    """The floor for equal groups must not swallow rewards that differ in the fifth digit."""
    got = scheme(f64(1.00001, 1.0, 1.0))
    assert got[0] > 0 > got[1]


@any_scheme
@pytest.mark.parametrize("rewards", [[], [1.0]])
def test_a_lonely_answer_is_an_error(scheme: Callable[[Tensor], Tensor], rewards: list[float]) -> None:
    """Leaving the raw reward as the advantage, as some do, is a silent change of algorithm."""
    with pytest.raises(ValueError, match=f"group of {len(rewards)} has no baseline"):
        scheme(f64(*rewards))


# ---------------------------------------------------------------- expectation over binary outcomes


@pytest.mark.parametrize("size", [4, 8, 16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_expected_weight_is_one_for_rloo_and_one_minus_1_over_g_for_center(size: int, p: float) -> None:
    assert weight_on_gradient(leave_one_out, size, p) == pytest.approx(1, abs=1e-12)
    assert weight_on_gradient(center, size, p) == pytest.approx(1 - 1 / size, abs=1e-12)


@pytest.mark.parametrize(
    ("size", "p", "exact"),
    [
        (8, 0.1, 2.177354),
        (8, 0.5, 1.735807),
        (8, 0.9, 2.177354),
        (4, 0.1, 1.463827),
        (16, 0.1, 2.757382),
    ],
)
def test_expected_weight_of_standardize_depends_on_difficulty_and_size(
    size: int, p: float, exact: float
) -> None:
    """Values for epsilon = 0. The epsilon takes at most epsilon / (smallest deviation, 1/sqrt G) off."""
    got = weight_on_gradient(standardize, size, p)
    assert exact * (1 - EPSILON * math.sqrt(size)) - 1e-6 < got < exact


# ---------------------------------------------------------------- a whole step


def answer(reward: float | None, length: int = 2) -> Trajectory:
    turn = Turn(np.array([1]), np.arange(length), np.zeros(length, dtype=np.float32))
    return Trajectory((turn,), PolicyTag(), StopReason.FINISHED, reward=reward)


def group(*rewards: float | None) -> Group:
    return Group(Prompt(0, "?"), tuple(map(answer, rewards)))


def values(groups: list[Group]) -> list[list[float]]:
    return [[float(t.advantage[0]) for t in g.trajectories] for g in groups]  # type: ignore[index]


def test_every_decision_of_a_trajectory_gets_its_advantage() -> None:
    trajectories = (answer(1.0, 3), answer(0.0, 1))
    (got,) = assign([Group(Prompt(0, "?"), trajectories)], center)
    assert [t.advantage.tolist() for t in got.trajectories] == [[0.5, 0.5, 0.5], [-0.5]]  # type: ignore[union-attr]
    assert trajectories[0].advantage is None, "the input is a value and must not change"


@pytest.mark.parametrize("missing", [None, math.nan])
def test_an_unscored_answer_gets_zero_and_does_not_move_the_baseline(missing: float | None) -> None:
    """Counting it as a 0 would give the others (2/3, -1/3)."""
    assert values(assign([group(1.0, missing, 0.0)], center)) == [[0.5, 0.0, -0.5]]


@pytest.mark.parametrize("rewards", [(None, 5.0, None), (None, None), (5.0,), ()])
def test_a_group_with_fewer_than_two_scored_answers_teaches_nothing(rewards: tuple[float | None]) -> None:
    assert values(assign([group(*rewards)], standardize)) == [[0.0] * len(rewards)]


def test_groups_do_not_see_each_other() -> None:
    got = values(assign([group(1.0, 0.0), group(10.0, 0.0, 2.0)], center))
    assert got == [[0.5, -0.5], [6.0, -4.0, -2.0]]


def test_batch_scale_divides_by_the_deviation_of_the_raw_rewards_of_the_step() -> None:
    """Rewards (1,0), (1,1): raw deviation .5, so (1,-1,0,0); the centred one, .41, would give 1.22."""
    got = values(assign([group(1.0, 0.0), group(1.0, 1.0)], center, batch_scale))
    scale = 0.5 / (0.5 + EPSILON)
    assert got[0] == pytest.approx([scale, -scale], rel=1e-6)
    assert got[1] == [0.0, 0.0]


def test_rescale_sees_only_scored_answers_and_returns_them_to_their_places() -> None:
    seen: list[list[float]] = []

    def tenfold(advantage: Tensor, trajectory_id: Tensor, rewards: Tensor) -> Tensor:
        seen.append(rewards.tolist())
        assert trajectory_id.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        return 10 * advantage

    got = values(assign([group(None, 1.0, 0.0), group(3.0, None, 1.0)], center, tenfold))
    assert seen == [[1.0, 0.0, 3.0, 1.0]]
    assert got == [[0.0, 5.0, -5.0], [10.0, 0.0, -10.0]]


@pytest.mark.parametrize("cohort", [[], [group(None, None)], [group(None, 3.0)], [group(2.0, 2.0)]])
def test_batch_scale_survives_a_step_with_nothing_to_scale(cohort: list[Group]) -> None:
    got = values(assign(cohort, center, batch_scale))
    assert got == [[0.0] * len(g.trajectories) for g in cohort]
