"""What every scheme makes of binary rewards: E[update] = w(p, G) grad p, exactly, by enumeration."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from exact import expected_gradient, f64, gradients, policy_gradient, weight_on_gradient
from groupwise.advantages import (
    Advantage,
    asymmetric,
    center,
    is_flat,
    leave_one_out,
    length_weighted,
    maxrl,
    pass_at,
    pkpo,
    shrunk,
    standardized,
)
from groupwise.trajectory import Group, Prior

STD0, STD1 = standardized(correction=0, epsilon=0.0), standardized(correction=1, epsilon=0.0)
PROBABILITIES = pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
SIZES = pytest.mark.parametrize("size", [2, 4, 8, 16])


@PROBABILITIES
@SIZES
def test_leave_one_out_is_the_gradient_itself_and_the_mean_falls_short_by_1_over_g(
    size: int, p: float
) -> None:
    assert weight_on_gradient(leave_one_out, size, p) == pytest.approx(1, abs=1e-12)
    assert weight_on_gradient(center, size, p) == pytest.approx(1 - 1 / size, abs=1e-12)
    assert weight_on_gradient(length_weighted, size, p) == pytest.approx(1 - 1 / size, abs=1e-12)


@pytest.mark.parametrize(
    ("size", "p", "std0", "std1", "likelihood"),
    [
        (8, 0.1, 2.327689, 2.177354, 5.217031),
        (8, 0.5, 1.855656, 1.735807, 1.984375),
        (8, 0.9, 2.327689, 2.177354, 1.111111),
        (4, 0.1, 1.690282, 1.463827, 2.71),
        (16, 0.1, 2.847812, 2.757382, 7.941089),
    ],
)
def test_the_table_of_weights(size: int, p: float, std0: float, std1: float, likelihood: float) -> None:
    """A deviation weighs hard and easy prompts alike, and more as groups grow; MaxRL hard ones only."""
    assert weight_on_gradient(STD0, size, p) == pytest.approx(std0, abs=5e-7)
    assert weight_on_gradient(STD1, size, p) == pytest.approx(std1, abs=5e-7)
    assert weight_on_gradient(maxrl, size, p) == pytest.approx(likelihood, abs=5e-7)


@PROBABILITIES
@SIZES
def test_a_deviation_weighs_by_the_expected_binomial_deviation(size: int, p: float) -> None:
    chances = [math.comb(size, k) * p**k * (1 - p) ** (size - k) for k in range(size + 1)]
    mean = sum(c * math.sqrt(k / size * (1 - k / size)) for k, c in enumerate(chances))
    want = mean / (p * (1 - p))
    assert weight_on_gradient(STD0, size, p) == pytest.approx(want, rel=1e-12)
    assert weight_on_gradient(STD1, size, p) == pytest.approx(want * math.sqrt((size - 1) / size), rel=1e-12)


@PROBABILITIES
def test_in_large_groups_a_deviation_climbs_twice_the_arcsine_of_root_p(p: float) -> None:
    """d/dp 2 arcsin sqrt p = 1 / sqrt(p (1-p))."""
    got = weight_on_gradient(STD0, 100, p)
    assert got == pytest.approx(1 / math.sqrt(p * (1 - p)), rel=1.5 / (8 * 100 * p * (1 - p)))


@PROBABILITIES
@SIZES
def test_maxrl_climbs_the_first_terms_of_log_p(size: int, p: float) -> None:
    """d/dp of -sum over k < G of (1-p)^k / k is (1 - (1-p)^(G-1)) / p."""
    derivative = sum((1 - p) ** (k - 1) for k in range(1, size))
    assert weight_on_gradient(maxrl, size, p) == pytest.approx(derivative, rel=1e-12)
    assert derivative == pytest.approx((1 - (1 - p) ** (size - 1)) / p, rel=1e-12)


def test_a_success_only_mean_has_one_term_more_than_maxrl() -> None:
    """sum r s / k, 0 where k = 0: the control variate of MaxRL costs exactly the last term."""

    def successes_only(rewards: Tensor, group: Group) -> Tensor:
        return rewards * (len(rewards) / rewards.sum().clamp(min=1))

    for size, p in [(4, 0.1), (8, 0.5)]:
        got = weight_on_gradient(successes_only, size, p)
        assert got == pytest.approx((1 - (1 - p) ** size) / p, rel=1e-12)
        assert got - weight_on_gradient(maxrl, size, p) == pytest.approx((1 - p) ** (size - 1), rel=1e-9)


@pytest.mark.parametrize(
    ("size", "k", "p", "exact"), [(4, 2, 0.1, 1.8), (8, 4, 0.1, 2.916), (8, 4, 0.3, 1.372)]
)
def test_pkpo_is_the_gradient_of_pass_at_k(size: int, k: int, p: float, exact: float) -> None:
    """d/dp (1 - (1-p)^k) = k (1-p)^(k-1), at every group size."""
    assert weight_on_gradient(pkpo(k), size, p) == pytest.approx(exact, rel=1e-12)
    assert exact == pytest.approx(k * (1 - p) ** (k - 1), rel=1e-12)


def test_pkpo_is_the_gradient_of_the_best_of_k_for_rewards_of_any_kind() -> None:
    """E[max of two draws] of a three-armed bandit, by autograd through the probabilities."""
    logits, rewards = f64(0.5, 0.3, 0.2).log(), f64(1.0, 0.0, 0.5)
    theta = logits.clone().requires_grad_()
    pi = theta.softmax(0)
    best = torch.maximum(rewards[:, None], rewards[None, :])
    want = torch.autograd.grad((pi[:, None] * pi[None, :] * best).sum(), theta)[0]
    for size in (2, 3, 5):
        got = expected_gradient(pkpo(2), logits, rewards, size)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_pass_at_k_leaves_easy_prompts_alone() -> None:
    """GRPO weighs p = .9 as p = .1. Here nearly every four answers of eight hold a right one at .9."""
    hard, easy = (weight_on_gradient(pass_at(4), 8, p) for p in (0.1, 0.9))
    assert hard == pytest.approx(0.788588, abs=5e-7)
    assert easy < 0.01 * hard
    assert weight_on_gradient(STD0, 8, 0.9) == pytest.approx(weight_on_gradient(STD0, 8, 0.1), rel=1e-12)


@pytest.mark.parametrize(("k", "p"), [(2, 0.1), (4, 0.1), (4, 0.3)])
def test_in_large_groups_pass_at_k_climbs_the_arcsine_of_its_root(k: int, p: float) -> None:
    """w -> (1-p)^(k-1) / sqrt(R (1-R)), R = 1 - (1-p)^k: a k-th of d/dp 2 arcsin sqrt R. (Cf. 2510.23049)"""
    hit = 1 - (1 - p) ** k
    want = (1 - p) ** (k - 1) / math.sqrt(hit * (1 - hit))
    near, far = (abs(weight_on_gradient(pass_at(k), n, p) / want - 1) for n in (120, 30))
    assert near < 0.05
    assert near < 0.4 * far


@pytest.mark.parametrize("prior", [Prior(0.0, 1), Prior(0.5, 3), Prior(0.9, 1000)])
@pytest.mark.parametrize("size", [2, 4])
def test_a_prior_from_the_past_is_unbiased_however_wrong(prior: Prior, size: int) -> None:
    def scheme(rewards: Tensor, group: Group) -> Tensor:
        return shrunk()(rewards, replace(group, prior=prior))

    for p in (0.1, 0.5):
        assert weight_on_gradient(scheme, size, p) == pytest.approx(1, abs=1e-12)


def test_a_right_prior_lowers_the_variance_most_in_small_groups() -> None:
    """Trace of the covariance at p = .3: with the exact mean as prior, against leave-one-out."""
    pi, rewards = f64(0.3, 0.7), f64(1.0, 0.0)

    def variance(scheme: Advantage, size: int) -> float:
        each, chance = gradients(scheme, pi, rewards, size)
        return float(chance @ (each - chance @ each).square().sum(1))

    def informed(values: Tensor, group: Group) -> Tensor:
        return shrunk()(values, replace(group, prior=Prior(0.3, 8)))

    gain = {size: variance(informed, size) / variance(leave_one_out, size) for size in (2, 4, 8)}
    assert gain[2] < gain[4] < gain[8] < 1


def test_a_shifted_baseline_changes_no_expectation_on_policy() -> None:
    """E[shift s] = 0: AsymRE is a different algorithm only for answers of others."""
    for shift in (-0.5, 0.0, 0.3):
        assert weight_on_gradient(asymmetric(shift), 4, 0.2) == pytest.approx(0.75, abs=1e-12)


@pytest.mark.parametrize("scheme", [center, leave_one_out, STD1, maxrl])
def test_the_weight_is_that_of_the_objectives_own_gradient(scheme: Callable[[Tensor], Tensor]) -> None:
    """Three arms, two of them right: the formula with p against `objective` and autograd."""
    logits, rewards = f64(0.2, -0.4, 0.9), f64(1.0, 1.0, 0.0)
    p = float(logits.softmax(0) @ rewards)
    got = expected_gradient(scheme, logits, rewards, 4)
    want = weight_on_gradient(scheme, 4, p) * policy_gradient(logits, rewards)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("p", "chances"),
    [
        (0.1, {4: 0.6562, 8: 0.430467, 16: 0.185302, 32: 0.034337}),
        (0.05, {4: 0.814512, 8: 0.66342, 16: 0.440127, 32: 0.193711}),
    ],
)
def test_the_chance_of_a_group_without_a_signal(p: float, chances: dict[int, float]) -> None:
    for size, want in chances.items():
        got = sum(
            math.comb(size, k) * p**k * (1 - p) ** (size - k)
            for k in range(size + 1)
            if is_flat(f64(*[1.0] * k, *[0.0] * (size - k)))
        )
        assert got == pytest.approx(want, abs=1e-6)
