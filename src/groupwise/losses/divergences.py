"""Divergence from the reference policy, estimated one decision at a time."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from groupwise.losses.decisions import MAX_LOG_RATIO, bounded_exp

Divergence = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(new_logp [N], reference_logp [N], log_ratio [N]) -> term [N]."""


def k1(new_logp: Tensor, reference_logp: Tensor, log_ratio: Tensor) -> Tensor:
    """log pi - log ref. Unbiased value, and a gradient of expectation ZERO: a metric, not a loss.

    The three estimators: Schulman 2020, "Approximating KL divergence"; their gradients: 2510.01555.
    """
    return new_logp - reference_logp


def k2(new_logp: Tensor, reference_logp: Tensor, log_ratio: Tensor) -> Tensor:
    """(log pi - log ref)^2 / 2. Biased value; on-policy its gradient is exactly that of KL(pi||ref)."""
    return 0.5 * (new_logp - reference_logp) ** 2


def k3(new_logp: Tensor, reference_logp: Tensor, log_ratio: Tensor) -> Tensor:
    """ref/pi - 1 - log(ref/pi) >= 0. Unbiased value; its gradient is that of KL(ref||pi). (GRPO)"""
    difference = (reference_logp - new_logp).clamp(max=MAX_LOG_RATIO)
    return difference.exp() - 1 - difference


def k3_corrected(new_logp: Tensor, reference_logp: Tensor, log_ratio: Tensor) -> Tensor:
    """rho k3 with a differentiable rho: value and gradient of KL(pi||ref), also off-policy.

    (DeepSeek-V3.2, arXiv 2512.02556)
    """
    return bounded_exp(log_ratio) * k3(new_logp, reference_logp, log_ratio)
