"""The maths of the update, over flat vectors of N decisions.

Legend: log_ratio [N] = new_logp - behaviour_logp; advantage [N]; trajectory_id [N] int64. A *term*
is what one decision adds to the loss (to be minimised) before its weight: loss = dot(weight, term).
Torch only: no configuration, no logging, no device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Ratio = Callable[[Tensor, Tensor], Tensor]
"""(log_ratio [N], trajectory_id [N]) -> log_ratio [N]."""
Surrogate = Callable[[Tensor, Tensor], Tensor]
"""(log_ratio [N], advantage [N]) -> term [N]."""
Weigh = Callable[[Tensor], Tensor]
"""trajectory_id [N] -> weight [N]."""
Divergence = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(new_logp [N], reference_logp [N], log_ratio [N]) -> term [N]."""

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to +-20 before exp: 5e8 is already beyond any clip, and finite."""


# ---------------------------------------------------------------- ratios


def per_decision(log_ratio: Tensor, trajectory_id: Tensor) -> Tensor:
    """One ratio a decision. (GRPO, PPO: arXiv 1707.06347)"""
    return log_ratio


def per_trajectory(log_ratio: Tensor, trajectory_id: Tensor) -> Tensor:
    """The mean log-ratio of the trajectory, for each of its decisions. (GSPO, arXiv 2507.18071)

    exp of it is the length-normalised sequence ratio s_i. Needs whole trajectories, and a
    per-trajectory weighting: then trajectory i adds exactly s_i A_i / n.
    """
    index = _dense(trajectory_id)
    lengths = torch.bincount(index)
    return (log_ratio.new_zeros(len(lengths)).index_add(0, index, log_ratio) / lengths)[index]


# ---------------------------------------------------------------- surrogates


@dataclass(frozen=True, slots=True)
class clipped:  # noqa: N801 - reads as the function that it is
    """-min(rho A, clip(rho, 1 - low, 1 + high) A), and for A < 0 rho bounded by `bound`.

    PPO (arXiv 1707.06347) has low = high; DAPO (2503.14476) raises `high`. `bound` > 1 + high is the
    two-sided clip of INTELLECT-2 (2505.07291), the same function as dual-clip PPO (1912.09729).
    The gradient is zero iff A > 0 and rho > 1 + high, or A < 0 and rho < 1 - low or rho > bound.
    """

    low: float = 0.2
    high: float = 0.2
    bound: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.low <= 1 and self.high > 0):
            raise ValueError(f"clip range low={self.low}, high={self.high}: 0 < low <= 1, high > 0")
        if self.bound is not None and self.bound <= 1 + self.high:
            raise ValueError(f"bound={self.bound} must exceed 1 + high = {1 + self.high}")

    def __call__(self, log_ratio: Tensor, advantage: Tensor) -> Tensor:
        ratio = _exp(log_ratio)
        inside = ratio.clamp(1 - self.low, 1 + self.high)
        if self.bound is not None:
            ratio = ratio.clamp(max=self.bound)
        return -torch.minimum(ratio * advantage, inside * advantage)


@dataclass(frozen=True, slots=True)
class cispo:  # noqa: N801 - reads as the function that it is
    """-sg[min(rho, high)] A log pi: no decision ever loses its gradient. (MiniMax-M1, arXiv 2506.13585)

    Written with the log-ratio in the place of log pi: the same gradient, a value that starts at 0.
    As in ScaleRL (2510.13786) `high` bounds the ratio itself, and there is no lower bound.
    """

    high: float = 5.0

    def __call__(self, log_ratio: Tensor, advantage: Tensor) -> Tensor:
        return -_exp(log_ratio).clamp(max=self.high).detach() * advantage * log_ratio


def plain(log_ratio: Tensor, advantage: Tensor) -> Tensor:
    """-rho A: importance-weighted policy gradient, no clip. On-policy it is REINFORCE."""
    return -_exp(log_ratio) * advantage


# ---------------------------------------------------------------- divergence from the reference


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
    return _exp(log_ratio) * k3(new_logp, reference_logp, log_ratio)


# ---------------------------------------------------------------- weights


def per_trajectory_mean(trajectory_id: Tensor) -> Tensor:
    """1 / (n T_i): every trajectory counts alike, however long. (GRPO)  [N] -> [N], sums to 1."""
    index = _dense(trajectory_id)
    lengths = torch.bincount(index)
    return 1.0 / (lengths[index] * len(lengths))


def per_token_mean(trajectory_id: Tensor) -> Tensor:
    """1 / N: every decision of the whole step counts alike. (DAPO)  [N] -> [N], sums to 1."""
    return torch.full(trajectory_id.shape, 1.0 / max(len(trajectory_id), 1), device=trajectory_id.device)


@dataclass(frozen=True, slots=True)
class constant:  # noqa: N801 - reads as the function that it is
    """1 / (n length): a constant denominator, so that length is neither punished nor paid. (Dr.GRPO)"""

    length: float

    def __call__(self, trajectory_id: Tensor) -> Tensor:
        n = len(torch.unique(trajectory_id))
        value = 1.0 / (max(n, 1) * self.length)
        return torch.full(trajectory_id.shape, value, device=trajectory_id.device)


# ---------------------------------------------------------------- pieces


def _exp(log_ratio: Tensor) -> Tensor:
    return log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def _dense(trajectory_id: Tensor) -> Tensor:
    """Any ids -> 0, 1, 2, ... in rising order of id."""
    dense: Tensor = torch.unique(trajectory_id, return_inverse=True)[1]
    return dense
