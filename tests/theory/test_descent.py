"""Steps: how fast exact gradients arrive, what noise leaves, and what a step does to the entropy."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dynamics import ARMS as REWARDS
from dynamics import BEST, BETA, REFERENCE, ascend, distance
from exact import expected_gradient, f64
from groupwise.advantages import leave_one_out, standardized


def rloo(logits: Tensor) -> Tensor:
    return expected_gradient(leave_one_out, logits, REWARDS, 2)


def test_with_expected_gradients_the_gap_stays_below_its_bound() -> None:
    """J* - J_t <= 5 / (c^2 t) at step 2/5, c the least chance of the best arm (arXiv 2005.06392)."""
    path = [x.softmax(0) for x in ascend(torch.zeros(3, dtype=torch.float64), rloo, [0.4] * 200)]
    c = min(float(pi[0]) for pi in path)
    gaps = [1 - float(pi @ REWARDS) for pi in path]
    assert all(gap <= 5 / (c * c * t) for t, gap in enumerate(gaps) if t)
    assert all(later < before for before, later in itertools.pairwise(gaps))
    assert gaps[-1] < 0.03


def test_a_deviation_speeds_up_the_end() -> None:
    """Its weight 1 / sqrt(p (1-p)) grows as successes fill the group: here binary rewards, G = 4."""

    def gap(scheme: Callable[[Tensor], Tensor]) -> float:
        rewards = f64(1.0, 0.0)
        *_, end = ascend(
            torch.zeros(2, dtype=torch.float64),
            lambda x: expected_gradient(scheme, x, rewards, 4),
            [0.4] * 60,
        )
        return 1 - float(end.softmax(0)[0])

    assert gap(standardized(correction=0, epsilon=0.0)) < 0.6 * gap(leave_one_out)


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("seed", [0, 1])
def test_under_noise_falling_steps_arrive_and_constant_ones_hover(seed: int) -> None:
    """Robbins and Monro: the rates add up to infinity, their squares do not. 1 / (1 + t/20) against 1."""
    steps = 2000
    assert distance([1.0] * steps, seed) > 0.045
    assert distance([1 / (1 + t / 20) for t in range(steps)], seed) < 0.03


def test_with_the_kl_in_the_reward_the_noise_ends_at_the_optimum() -> None:
    """There r - BETA log(pi / ref) is the same for every answer, so groups are equals: any steps arrive."""
    penalised = REWARDS - BETA * (BEST.log() - REFERENCE.log())
    assert leave_one_out(penalised).abs().max() < 1e-12
    assert distance([1.0] * 500, seed=0, kl_in_reward=True) < 1e-6


def test_steps_that_fall_too_fast_stop_short() -> None:
    """Rates 2^-t add up to 2: even exact gradients cannot get there."""
    *_, end = ascend(torch.zeros(3, dtype=torch.float64), rloo, [0.5**t for t in range(60)])
    assert 1 - float(end.softmax(0) @ REWARDS) > 0.3


# ---------------------------------------------------------------- entropy


def entropy(logits: Tensor) -> float:
    logp = logits.log_softmax(0)
    return -float((logp.exp() * logp).sum())


def covariance(pi: Tensor, x: Tensor, y: Tensor) -> float:
    return float(pi @ (x * y) - (pi @ x) * (pi @ y))


@pytest.mark.parametrize("logits", [f64(0.2, -0.5, 1.0), f64(2.0, 0.0, -1.0)])
def test_a_step_lowers_the_entropy_by_its_covariance_with_the_advantage(logits: Tensor) -> None:
    """dH = -eta Cov(log pi, pi A) for the gradient, -eta Cov(log pi, A) for the natural one (2505.22617)."""
    pi, eta = logits.softmax(0), 1e-5
    advantage = REWARDS - pi @ REWARDS
    change = (entropy(logits + eta * rloo(logits)) - entropy(logits - eta * rloo(logits))) / (2 * eta)
    assert change == pytest.approx(-covariance(pi, pi.log(), pi * advantage), abs=1e-9)
    natural = (entropy(logits + eta * advantage) - entropy(logits - eta * advantage)) / (2 * eta)
    assert natural == pytest.approx(-covariance(pi, pi.log(), advantage), abs=1e-9)
