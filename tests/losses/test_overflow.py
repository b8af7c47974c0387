"""Nothing overflows."""

import pytest
import torch

from decisions import having
from groupwise import losses
from groupwise.losses import (
    cispo,
    clipped,
)


@pytest.mark.parametrize("log_ratio", [-1000.0, 1000.0])
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
@pytest.mark.parametrize(
    "surrogate",
    [
        clipped(),
        clipped(bound=3.0),
        cispo(),
        losses.plain,
        losses.sapo(),
        losses.vespo(),
        losses.topr,
        losses.log_likelihood,
        losses.shaping_foreign(clipped()),
    ],
)
def test_a_log_ratio_of_a_thousand_is_finite(
    surrogate: losses.Surrogate, advantage: float, log_ratio: float
) -> None:
    x = torch.tensor([log_ratio], dtype=torch.float32, requires_grad=True)
    term = surrogate(x, having(torch.tensor([advantage], dtype=torch.float32), foreign=torch.tensor([True])))
    (slope,) = torch.autograd.grad(term.sum(), x)
    assert term.isfinite().all()
    assert slope.isfinite().all()


@pytest.mark.parametrize("gap", [-1000.0, 1000.0])
@pytest.mark.parametrize("log_ratio", [-1000.0, 1000.0])
@pytest.mark.parametrize("estimator", [losses.k1, losses.k2, losses.k3, losses.k3_corrected, losses.k3_k2])
def test_a_divergence_of_a_thousand_nats_is_finite(
    estimator: losses.Divergence, log_ratio: float, gap: float
) -> None:
    new = torch.tensor([-1500.0], dtype=torch.float32, requires_grad=True)
    term = estimator(new, new.detach() + gap, new - (new.detach() - log_ratio))
    (slope,) = torch.autograd.grad(term.sum(), new)
    assert term.isfinite().all()
    assert slope.isfinite().all()
