"""Surrogates: values and gradients against hand numbers."""

import math
from collections.abc import Callable

import pytest
import torch

from decisions import having, value_and_slope
from groupwise import losses
from groupwise.losses import (
    cispo,
    clipped,
)


@pytest.mark.parametrize(
    ("bound", "advantage", "ratio", "value", "slope"),
    [
        (None, 1, 0.5, 0.5, 0.5),
        (None, 1, 1.0, 1.0, 1.0),
        (None, 1, 1.25, 1.25, 1.25),
        (None, 1, 1.5, 1.28, 0.0),
        (None, 1, 10.0, 1.28, 0.0),
        (None, -1, 0.5, -0.8, 0.0),
        (None, -1, 0.9, -0.9, -0.9),
        (None, -1, 1.0, -1.0, -1.0),
        (None, -1, 1.5, -1.5, -1.5),
        (None, -1, 10.0, -10.0, -10.0),
        (None, -2, 0.5, -1.6, 0.0),
        (None, 0, 1.5, 0.0, 0.0),
        (3.0, -1, 10.0, -3.0, 0.0),
        (3.0, -2, 10.0, -6.0, 0.0),
        (3.0, -1, 2.0, -2.0, -2.0),
        (3.0, -1, 0.5, -0.8, 0.0),
        (3.0, 1, 10.0, 1.28, 0.0),
        (3.0, 1, 0.5, 0.5, 0.5),
    ],
)
def test_the_clip_gates_value_and_gradient(
    bound: float | None, advantage: float, ratio: float, value: float, slope: float
) -> None:
    """Zero gradient iff A > 0 above 1 + high, or A < 0 below 1 - low or above the bound; else rho A."""
    got = value_and_slope(clipped(0.2, 0.28, bound), ratio, advantage)
    assert got == pytest.approx((value, slope), abs=1e-12)


def test_the_bound_is_dual_clip() -> None:
    """min(min(rho, c) A, clip(rho) A) = max(min(rho A, clip(rho) A), c A) for A < 0."""
    ratio, c = torch.linspace(0.01, 12, 500), 3.0
    advantage = torch.full_like(ratio, -0.7)
    plain_clip = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    dual = torch.maximum(plain_clip, c * advantage)
    torch.testing.assert_close(-clipped(0.2, 0.2, bound=c)(ratio.log(), having(advantage)), dual)


@pytest.mark.parametrize("arguments", [(0.0, 0.2), (-0.1, 0.2), (1.1, 0.2), (0.2, 0.0), (0.2, -1.0)])
def test_a_clip_range_that_is_no_range_is_refused(arguments: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="clip range"):
        clipped(*arguments)


@pytest.mark.parametrize("bound", [1.28, 1.0, -3.0])
def test_a_bound_inside_the_clip_range_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="must exceed 1 \\+ high"):
        clipped(0.2, 0.28, bound)


@pytest.mark.parametrize("advantage", [1.0, -2.0])
@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0, 1.5, 4.9, 5.1, 100.0])
def test_cispo_never_loses_a_gradient(ratio: float, advantage: float) -> None:
    """Gradient min(rho, high) A everywhere: a clip of the value would zero it above `high`."""
    _, slope = value_and_slope(cispo(5.0), ratio, advantage)
    assert slope == pytest.approx(min(ratio, 5.0) * advantage, rel=1e-12)


def test_cispo_starts_at_zero() -> None:
    assert value_and_slope(cispo(5.0), 1.0, 3.0) == (0.0, 3.0)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 7.0])
def test_plain_is_the_importance_weighted_gradient(ratio: float) -> None:
    assert value_and_slope(losses.plain, ratio, -2.0) == pytest.approx((-2 * ratio, -2 * ratio), rel=1e-12)


@pytest.mark.parametrize("tau", [0.3, 1.0, 1.05, 7.0])
def test_sapo_has_slope_one_at_ratio_one_whatever_its_temperature(tau: float) -> None:
    assert value_and_slope(losses.sapo(tau, tau), 1.0, 3.0)[1] == pytest.approx(3.0, rel=1e-12)


@pytest.mark.parametrize(
    ("advantage", "ratio", "tau"), [(1.0, 2.0, 1.0), (1.0, 0.0625, 1.0), (-1.0, 2.0, 1.05), (-2.0, 0.5, 1.05)]
)
def test_sapo_weighs_by_a_gate_that_falls_on_both_sides(advantage: float, ratio: float, tau: float) -> None:
    """Value (4 / tau) sigmoid(tau (rho - 1)) A; slope by log pi: 4 s (1 - s) rho A."""
    s = 1 / (1 + math.exp(-tau * (ratio - 1)))
    got = value_and_slope(losses.sapo(), ratio, advantage)
    assert got == pytest.approx((4 / tau * s * advantage, 4 * s * (1 - s) * ratio * advantage), rel=1e-12)


def test_sapo_takes_the_temperature_of_losers_at_advantage_zero_and_below() -> None:
    """Swapped temperatures would gate gains harder than losses."""
    value, _ = value_and_slope(losses.sapo(1.0, 2.0), 1.5, -1.0)
    assert value == pytest.approx(-2 / (1 + math.exp(-1)), rel=1e-12)


@pytest.mark.parametrize(
    ("advantage", "ratio", "phi"),
    [
        (1, 1.0, 1.0),
        (-1, 1.0, 1.0),
        (1, 2.0, 4 * math.exp(-3)),
        (-1, 2.0, 8 * math.exp(-2)),
        (1, 0.5, 0.25 * math.exp(1.5)),
        (-1, 0.5, 0.125 * math.exp(1.0)),
    ],
)
def test_vespo_weighs_by_a_kernel_of_the_whole_ratio(advantage: float, ratio: float, phi: float) -> None:
    """phi(W) = W^k exp(l (1 - W)), (k, l) = (2, 3) for gains and (3, 2) for losses; held fixed."""
    assert value_and_slope(losses.vespo(), ratio, advantage)[1] == pytest.approx(phi * advantage, rel=1e-12)


@pytest.mark.parametrize(("advantage", "top"), [(1.0, 2 / 3), (-1.0, 3 / 2)])
def test_vespos_kernel_is_largest_at_k_over_l(advantage: float, top: float) -> None:
    here, below, above = (
        abs(value_and_slope(losses.vespo(), top * f, advantage)[1]) for f in (1, 0.99, 1.01)
    )
    assert here > max(below, above)


@pytest.mark.parametrize(
    ("advantage", "ratio", "slope"),
    [(2, 0.1, 2), (2, 1, 2), (2, 30, 2), (-2, 0.1, -0.2), (-2, 1, -2), (-2, 30, -2), (0, 3, 0)],
)
def test_topr_tapers_losses_alone(advantage: float, ratio: float, slope: float) -> None:
    """A taper of gains too would be truncated importance sampling; none at all diverges off-policy."""
    assert value_and_slope(losses.topr, ratio, advantage)[1] == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("ratio", [0.01, 1.0, 50.0])
def test_log_likelihood_takes_no_notice_of_the_ratio(ratio: float) -> None:
    assert value_and_slope(losses.log_likelihood, ratio, -1.5)[1] == -1.5


@pytest.mark.parametrize(
    ("prob", "slope"), [(0.1, 0.25), (0.4, 0.16), (0.9, 0.09), (0.001, 0.1e-3 / 0.101**2)]
)
@pytest.mark.parametrize("began", [0.1, 0.7])
def test_a_teachers_decision_counts_by_how_rare_it_is(prob: float, slope: float, began: float) -> None:
    """d/dlog pi of pi / (pi + .1) is .1 pi / (pi + .1)^2, .25 at pi = .1: of pi itself, not of a ratio."""
    proximal = torch.tensor([math.log(began)])
    surrogate = losses.shaping_foreign(clipped(0.2, 0.2), 0.1)
    vectors = {"proximal_logp": proximal, "foreign": torch.tensor([True])}
    got = value_and_slope(surrogate, prob / began, 2.0, **vectors)
    assert got == pytest.approx((2 * prob / (prob + 0.1), 2 * slope), rel=1e-9)
    vectors["foreign"] = torch.tensor([False])
    own = value_and_slope(surrogate, prob / began, 2.0, **vectors)
    assert own == value_and_slope(clipped(0.2, 0.2), prob / began, 2.0)


@pytest.mark.parametrize(
    "wrong",
    [lambda: losses.sapo(0.0), lambda: losses.sapo(1, -1), lambda: losses.shaping_foreign(cispo(), 0)],
)
def test_temperatures_and_shapes_are_above_zero(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        wrong()
