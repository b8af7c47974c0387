"""Group baselines as statistics: U-statistics, variance, time, trees, copies and stopping early."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from exact import TwoSteps, f64, gradients, moments
from groupwise.advantages import center, leave_one_out, returns_to_go, standardize, standardized, tree
from groupwise.recipes import RLOO, objective

PI, REWARDS = f64(0.5, 0.3, 0.2), f64(1.0, 0.0, 0.5)
GRADIENT = f64(0.2, -0.18, -0.02)
SCORES = torch.eye(3, dtype=torch.float64) - PI
WORLD, LOGITS = TwoSteps(), f64(0.3, -0.2, 0.5, 0.0, -0.4, 0.1)


def kernel(i: Tensor, j: Tensor) -> Tensor:
    """(r_i - r_j)(s_i - s_j) / 2 of pairs of arms."""
    return 0.5 * (REWARDS[i] - REWARDS[j])[:, None] * (SCORES[i] - SCORES[j])


def spread(values: Tensor, chance: Tensor) -> float:
    """Trace of the covariance."""
    return float(chance @ (values - chance @ values).square().sum(1))


# ---------------------------------------------------------------- U-statistic


def test_leave_one_out_is_a_u_statistic_of_order_two() -> None:
    """Not in expectation but group by group (arXiv 2603.01162)."""
    draw = torch.Generator().manual_seed(0)
    rewards = torch.randn(6, generator=draw, dtype=torch.float64)
    scores = torch.randn(6, 4, generator=draw, dtype=torch.float64)
    update = (leave_one_out(rewards)[:, None] * scores).mean(0)
    pairs = [
        0.5 * (rewards[i] - rewards[j]) * (scores[i] - scores[j])
        for i, j in itertools.combinations(range(6), 2)
    ]
    torch.testing.assert_close(update, torch.stack(pairs).mean(0), rtol=0, atol=1e-14)


def hoeffding() -> tuple[float, float]:
    """zeta_1 and zeta_2: the variance of the kernel's mean given one member, and of the kernel."""
    i, j = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T
    pairs = kernel(i, j)
    first = (PI[:, None] * pairs.reshape(3, 3, 3)).sum(1)  # over j
    return spread(first, PI), spread(pairs, PI[i] * PI[j])


@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_the_variance_of_leave_one_out_is_hoeffdings(size: int) -> None:
    """4 (G-2) / (G (G-1)) zeta_1 + 2 / (G (G-1)) zeta_2, by enumeration of all 3^G groups."""
    one, two = hoeffding()
    assert (one, two) == (pytest.approx(0.01095, abs=1e-12), pytest.approx(0.1172, abs=1e-12))
    mean, variance = moments(leave_one_out, PI, REWARDS, size)
    torch.testing.assert_close(mean, GRADIENT, rtol=0, atol=1e-14)
    want = (4 * (size - 2) * one + 2 * two) / (size * (size - 1))
    assert variance == pytest.approx(want, abs=1e-14)


def test_leave_one_out_of_four_has_this_variance() -> None:
    assert moments(leave_one_out, PI, REWARDS, 4)[1] == pytest.approx(0.0268333, abs=5e-8)


def test_large_groups_reach_the_oracle_baseline() -> None:
    """G Var -> 4 zeta_1 = the variance of (r - J) s: in the limit nothing is lost for not knowing J."""
    oracle = (REWARDS - PI @ REWARDS)[:, None] * SCORES
    assert 4 * hoeffding()[0] == pytest.approx(spread(oracle, PI), abs=1e-14)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_mean_trades_bias_for_variance(size: int) -> None:
    mean, variance = moments(center, PI, REWARDS, size)
    torch.testing.assert_close(mean, (1 - 1 / size) * GRADIENT, rtol=0, atol=1e-14)
    ratio = variance / moments(leave_one_out, PI, REWARDS, size)[1]
    assert ratio == pytest.approx((1 - 1 / size) ** 2, abs=1e-12)


def test_a_group_baseline_is_less_noisy_than_none() -> None:
    def bare(rewards: Tensor, group: object = None) -> Tensor:
        return rewards

    each, chance = gradients(bare, PI, REWARDS, 4)
    torch.testing.assert_close(chance @ each, GRADIENT, rtol=0, atol=1e-14)
    assert spread(each, chance) > 1.5 * moments(leave_one_out, PI, REWARDS, 4)[1]


# ---------------------------------------------------------------- time and trees

STEPS = f64(0.3, 1.0, 0.3, 0.0, -0.5, 0.2, -0.5, 0.7).reshape(4, 2)
"""A reward after the first action and one after the second, by path."""


@pytest.mark.parametrize("size", [2, 3])
def test_returns_to_go_against_siblings_of_the_same_time_are_unbiased(size: int) -> None:
    """The baseline knows no state, but it is not of i's making. All 4^G groups of two-step episodes."""
    want = WORLD.policy_gradient(LOGITS, STEPS.sum(1))
    got = WORLD.group_gradient(returns_to_go(), LOGITS, STEPS, size)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-14)


def test_the_groups_own_mean_in_their_place_falls_short() -> None:
    def with_itself(rewards: Tensor, group: object) -> list[Tensor]:
        return [row / 2 for row in returns_to_go()(rewards, group)]  # type: ignore[arg-type]

    got = WORLD.group_gradient(with_itself, LOGITS, STEPS, 2)  # type: ignore[arg-type]
    want = WORLD.policy_gradient(LOGITS, STEPS.sum(1))
    torch.testing.assert_close(got, want / 2, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [2, 3])
def test_the_tree_learns_at_each_node_as_much_as_siblings_meet_there(size: int) -> None:
    """Root: 1 - 1/G. A node reached with chance q: (G q - 1 + (1-q)^G) / (G q), 1 - 1/m on average."""
    want = WORLD.policy_gradient(LOGITS, STEPS.sum(1)).reshape(3, 2)
    got = WORLD.group_gradient(tree, LOGITS, STEPS, size).reshape(3, 2)
    chances = [1.0, *LOGITS[:2].softmax(0).tolist()]
    for node, q in enumerate(chances):
        factor = (size * q - 1 + (1 - q) ** size) / (size * q)
        torch.testing.assert_close(got[node], factor * want[node], rtol=0, atol=1e-14)


# ---------------------------------------------------------------- copies and early stops


def test_copies_of_a_group_change_nothing_where_it_should_not() -> None:
    """A prompt with the same four answers eight times has the mean and the G-below deviation it had.

    Leave-one-out and the G - 1 deviation are corrections for small G, and do see its size.
    """
    rewards = f64(1.0, 0.0, 0.3, 0.0)
    for scheme in (center, standardized(correction=0)):
        torch.testing.assert_close(scheme(rewards.repeat(8))[:4], scheme(rewards), rtol=0, atol=1e-14)
    for scheme in (leave_one_out, standardize):
        assert (scheme(rewards.repeat(8))[:4] / scheme(rewards))[0] != pytest.approx(1, abs=1e-3)


def test_a_mean_over_prompts_does_not_see_how_many_answers_each_has() -> None:
    """1 / (prompts G_i) a decision: copying one prompt's answers moves no gradient. 1 / N lets it win."""
    logits = f64(0.4, -0.1, 0.2).requires_grad_()
    first, second = torch.tensor([0, 1, 2, 1]), torch.tensor([2, 0, 0, 1])

    def gradient(copies: int, weigh: Callable[[int], Tensor]) -> Tensor:
        arms = torch.cat([first.repeat(copies), second])
        new = logits.log_softmax(0)[arms]
        values = torch.cat([center(REWARDS[first.repeat(copies)]), center(REWARDS[second])])
        loss = objective(RLOO, new, new.detach(), values, torch.arange(len(arms)), weight=weigh(copies))
        return torch.autograd.grad(loss.value, logits)[0]

    def by_prompt(copies: int) -> Tensor:
        return torch.cat([torch.full((4 * copies,), 1 / (8 * copies)), torch.full((4,), 1 / 8)])

    def flat(copies: int) -> Tensor:
        return torch.full((4 * copies + 4,), 1 / (4 * copies + 4))

    torch.testing.assert_close(gradient(8, by_prompt), gradient(1, by_prompt), rtol=0, atol=1e-14)
    assert (gradient(8, flat) - gradient(1, flat)).abs().max() > 0.01


def stopped_early(p: float, cap: int) -> list[tuple[float, Tensor]]:
    """(chance, rewards) of drawing until the first success, at most `cap` times."""
    runs = [((1 - p) ** k * p, f64(*[0.0] * k, 1.0)) for k in range(cap)]
    return [*runs, ((1 - p) ** cap, torch.zeros(cap, dtype=torch.float64))]


@pytest.mark.parametrize(
    ("advantage", "divide", "exact"),
    [
        (lambda r: r - 0.3, False, 0.47232),
        (lambda r: r, False, 0.47232),
        (lambda r: r - 0.3, True, 0.2341),
        (lambda r: r, True, 0.2786),
        (lambda r: center(r) if len(r) > 1 else 0 * r, True, 0.0876),
    ],
    ids=["sum, b = .3", "sum, b = 0", "mean, b = .3", "mean, b = 0", "mean, group mean"],
)
def test_dividing_by_a_group_size_that_depends_on_the_rewards_is_biased(
    advantage: Callable[[Tensor], Tensor], divide: bool, exact: float
) -> None:
    """p = .2, grad J = .16: the sum is E[N] grad J = 2.952 x .16 (Wald), the means are neither."""
    logits = f64(0.2, 0.8).log().requires_grad_()
    total = 0.0
    for chance, rewards in stopped_early(0.2, 4):
        new = logits.log_softmax(0)[(rewards == 0).long()]
        share = torch.full_like(rewards, chance / len(rewards) if divide else chance)
        ids = torch.arange(len(rewards))
        loss = objective(RLOO, new, new.detach(), advantage(rewards), ids, weight=share)
        total -= float(torch.autograd.grad(loss.value, logits)[0][0])
    assert total == pytest.approx(exact, abs=5e-5)


def test_the_success_rate_of_a_group_that_stopped_at_a_success_is_too_high() -> None:
    runs = stopped_early(0.2, 4)
    assert sum(c * len(r) for c, r in runs) == pytest.approx(2.952, abs=1e-12)
    assert sum(c * float(r.mean()) for c, r in runs) == pytest.approx(0.34827, abs=5e-6)
