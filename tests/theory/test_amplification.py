"""Success amplification (arXiv 2503.06639): p_n = h(p_{n-1}), against our own learner run to convergence."""

import math

import pytest
import torch

from dynamics import amplified, iterate, logit, sigmoid, trained
from exact import f64
from groupwise.advantages import center, standardized

EPSILON = 1e-3
REWARDS = f64(1, 1, 1, 0, 0, 0)


def start(p: float) -> torch.Tensor:
    """Logits of six arms, of which three succeed with chance p in all."""
    return torch.cat([f64(0.2, 0.3, 0.5) * p, f64(0.3, 0.5, 0.2) * (1 - p)]).log()


def recursion(p_ref: float, beta: float, n: int) -> list[float]:
    return list(iterate(lambda p: amplified(p, p_ref, beta, EPSILON), p_ref, n))


@pytest.mark.parametrize(
    ("p_ref", "beta", "numbers"),
    [
        (0.1, 2, [0.1, 0.368248, 0.238157, 0.263741, 0.256265, 0.258281, 0.257724]),
        (0.1, 1, [0.1, 0.75357, 0.529243, 0.45071, 0.452275]),
    ],
)
def test_the_recursion_meets_its_numbers(p_ref: float, beta: float, numbers: list[float]) -> None:
    """It comes to its limit from both sides in turn: below one half the slope is negative."""
    assert recursion(p_ref, beta, len(numbers) - 1) == pytest.approx(numbers, abs=5e-6)


@pytest.mark.parametrize(
    ("p_ref", "beta", "limit", "digits"),
    [
        (0.1, 2, 0.25784387, 1e-8),
        (0.1, 1, 0.45213677, 1e-8),
        (0.3, 5, 0.39209804, 1e-8),
        (0.5, 10, 0.549983, 1e-6),
        (0.01, 1, 1.0, 1e-9),
    ],
)
def test_the_limit_is_above_the_reference(p_ref: float, beta: float, limit: float, digits: float) -> None:
    found = recursion(p_ref, beta, 400)[-1]
    assert found == pytest.approx(limit, abs=digits)
    assert found > p_ref


def slope(p: float, p_ref: float, beta: float, epsilon: float, step: float = 1e-6) -> float:
    """h'(p) by a central difference."""
    up, down = (amplified(x, p_ref, beta, epsilon) for x in (p + step, p - step))
    return (up - down) / (2 * step)


@pytest.mark.parametrize(("beta", "want"), [(2, -0.2746), (1, -0.0956)])
def test_the_slope_has_its_closed_form(beta: float, want: float) -> None:
    p = recursion(0.1, beta, 400)[-1]
    h = amplified(p, 0.1, beta, EPSILON)
    closed = -(1 - 2 * p) * h * (1 - h) / (2 * beta * (p * (1 - p) + EPSILON) ** 1.5)
    assert slope(p, 0.1, beta, EPSILON) == pytest.approx(closed, abs=1e-8)
    assert closed == pytest.approx(want, abs=5e-5)


@pytest.mark.parametrize("p", [0.05, 0.2, 0.35, 0.7, 0.9])
def test_the_limit_is_stable_if_and_only_if_beta_exceeds_its_bound(p: float) -> None:
    """|h'(p*)| < 1 iff beta > |1 - 2p*| / (2 sqrt(p*(1 - p*))); p_ref is set so that p is the fixed point."""
    deviation = math.sqrt(p * (1 - p))
    bound = abs(1 - 2 * p) / (2 * deviation)
    for factor in (0.9, 1.1):
        beta = factor * bound
        p_ref = sigmoid(logit(p) - 1 / (beta * deviation))
        assert amplified(p, p_ref, beta) == pytest.approx(p, abs=1e-12)
        assert abs(slope(p, p_ref, beta, 0.0)) == pytest.approx(1 / factor, abs=1e-6)
        assert stays_near(p, p_ref, beta) == (factor > 1)


def stays_near(p: float, p_ref: float, beta: float) -> bool:
    """From a ten-thousandth away: back within a millionth, or a hundredth away and gone."""
    x = p + 1e-4
    for _ in range(200):
        x = amplified(x, p_ref, beta)
        if abs(x - p) > 1e-2:
            return False
    return abs(x - p) < 1e-6


# ---------------------------------------------------------------- our own learner


def test_large_groups_whiten_to_the_advantage_of_the_theory() -> None:
    """`standardized` of a thousand answers, 300 right: (1-p) / s and -p / s; `center`: 1-p and -p."""
    rewards = torch.cat([torch.ones(300, dtype=torch.float64), torch.zeros(700, dtype=torch.float64)])
    got = standardized(correction=0, epsilon=0.0)(rewards)
    deviation = math.sqrt(0.3 * 0.7)
    assert got[0].item() == pytest.approx(0.7 / deviation, rel=1e-12)
    assert got[-1].item() == pytest.approx(-0.3 / deviation, rel=1e-12)
    assert center(rewards)[[0, -1]].tolist() == pytest.approx([0.7, -0.3])


@pytest.mark.parametrize(("p_ref", "beta"), [(0.1, 2.0), (0.3, 5.0)])
def test_the_learner_run_to_convergence_follows_the_recursion(p_ref: float, beta: float) -> None:
    """Five rounds of AdamW through `objective` on all arms, KL to the start: |difference| < 1e-6."""
    got = trained(start(p_ref), REWARDS, beta, whitened=EPSILON)
    assert got == pytest.approx(recursion(p_ref, beta, 5)[1:], abs=1e-6)


def test_without_the_deviation_one_round_is_all_there_is() -> None:
    """p_n = sigmoid(logit p_ref + 1 / beta) from the first round on."""
    want = sigmoid(logit(0.1) + 1 / 2.0)
    assert want == pytest.approx(0.154828, abs=5e-7)
    assert trained(start(0.1), REWARDS, 2.0, rounds=2) == pytest.approx([want, want], abs=1e-6)


def test_a_reference_that_follows_climbs_without_end() -> None:
    """Mirror descent: logit p_n = logit p_{n-1} + 1 / (beta sqrt(p (1-p) + epsilon))."""
    numbers = [0.177375, 0.266503, 0.363262, 0.463496, 0.563158]

    def climb(p: float) -> float:
        return sigmoid(logit(p) + 1 / (5.0 * math.sqrt(p * (1 - p) + EPSILON)))

    assert list(iterate(climb, 0.1, 5))[1:] == pytest.approx(numbers, abs=5e-7)
    got = trained(start(0.1), REWARDS, 5.0, whitened=EPSILON, mirror=True)
    assert got == pytest.approx(numbers, abs=2e-6)


def test_a_following_reference_without_the_deviation_climbs_by_equal_logits() -> None:
    numbers = [0.119495, 0.142189]
    assert [sigmoid(logit(0.1) + n / 5.0) for n in (1, 2)] == pytest.approx(numbers, abs=5e-7)
    got = trained(start(0.1), REWARDS, 5.0, mirror=True, rounds=2)
    assert got == pytest.approx(numbers, abs=2e-6)
