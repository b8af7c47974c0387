"""Surrogates: values and gradients against hand numbers."""

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
