"""Surrogates: from a ratio and an advantage to what is minimised.

Where a paper has log pi, the log-ratio stands: the same gradient, and a value that begins at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.losses.decisions import MAX_LOG_RATIO, Decisions, bounded_exp

Surrogate = Callable[[Tensor, Decisions], Tensor]
"""(log_ratio [N] at its level, decisions) -> term [N]."""


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

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        ratio, advantage = bounded_exp(log_ratio), decisions.advantage
        inside = ratio.clamp(1 - self.low, 1 + self.high)
        if self.bound is not None:
            ratio = ratio.clamp(max=self.bound)
        return -torch.minimum(ratio * advantage, inside * advantage)


@dataclass(frozen=True, slots=True)
class cispo:  # noqa: N801 - reads as the function that it is
    """-sg[min(rho, high)] A log pi: no decision ever loses its gradient. (MiniMax-M1, arXiv 2506.13585)

    As in ScaleRL (2510.13786) `high` bounds the ratio itself, and there is no lower bound.
    """

    high: float = 5.0

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        return -bounded_exp(log_ratio).clamp(max=self.high).detach() * decisions.advantage * log_ratio


@dataclass(frozen=True, slots=True)
class sapo:  # noqa: N801 - reads as the function that it is
    """-(4 / tau) sigmoid(tau (rho - 1)) A: a soft gate in the place of the clip. (SAPO, arXiv 2511.20347)

    Its slope by rho is 4 s (1 - s): 1 at rho = 1 whatever tau, falling on both sides, never 0.
    tau is `rising` where A > 0, else `falling`.
    """

    rising: float = 1.0
    falling: float = 1.05

    def __post_init__(self) -> None:
        if not (self.rising > 0 and self.falling > 0):
            raise ValueError(f"temperatures rising={self.rising}, falling={self.falling}: both above 0")

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        advantage = decisions.advantage
        tau = torch.where(advantage > 0, self.rising, self.falling).to(advantage)
        return -(4 / tau) * torch.sigmoid(tau * (bounded_exp(log_ratio) - 1)) * advantage


@dataclass(frozen=True, slots=True)
class vespo:  # noqa: N801 - reads as the function that it is
    """-sg[phi(W)] A log pi with phi(W) = W^k exp(l (1 - W)): 1 at W = 1, largest at W = k / l.

    (VESPO, arXiv 2602.10693.) W is the whole trajectory's ratio: `from_behaviour(per_trajectory_product)`.
    `rising` and `falling` are (k, l) where A > 0 and elsewhere.
    """

    rising: tuple[float, float] = (2.0, 3.0)
    falling: tuple[float, float] = (3.0, 2.0)

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        advantage, log_w = decisions.advantage, log_ratio.detach().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        k, scale = (
            torch.where(advantage > 0, up, down).to(advantage)
            for up, down in zip(self.rising, self.falling, strict=True)
        )
        return -(scale + k * log_w - scale * log_w.exp()).exp() * advantage * log_ratio


def plain(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """-rho A: importance-weighted policy gradient, no clip. On-policy it is REINFORCE."""
    return -bounded_exp(log_ratio) * decisions.advantage


def log_likelihood(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """-A log pi: no ratio, whoever chose. (GPG, arXiv 2504.02546; AsymRE, 2506.20520)"""
    return -decisions.advantage * log_ratio


def topr(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """-A log pi where A >= 0, -sg[min(W, 1)] A log pi where A < 0. (TOPR, arXiv 2503.14286)

    Good answers are imitated whoever wrote them; bad ones are pushed away only while the policy still
    gives them. W is the whole trajectory's ratio: `from_behaviour(per_trajectory_product)`.
    """
    tapered = log_ratio.detach().clamp(-MAX_LOG_RATIO, 0).exp()
    factor = torch.where(decisions.advantage < 0, tapered, torch.ones_like(tapered))
    return -factor * decisions.advantage * log_ratio


@dataclass(frozen=True, slots=True)
class shaping_foreign:  # noqa: N801 - reads as the function that it is
    """-pi / (pi + gamma) A on decisions of another policy, unclipped; the inner surrogate on the others.

    (LUFFY, arXiv 2504.14945.) pi stands alone: what the other policy gave is not asked for. The slope by
    log pi, gamma pi / (pi + gamma)^2, is largest at pi = gamma: rare decisions of the teacher count most.
    It shapes, and is no importance sampling. Needs a ratio of each decision (`per_decision`).
    """

    inner: Surrogate
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise ValueError(f"gamma={self.gamma}: above 0")

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        own = self.inner(log_ratio, decisions)
        if decisions.foreign is None:
            return own
        odds = log_ratio + decisions.proximal_logp - math.log(self.gamma)
        return torch.where(decisions.foreign, -torch.sigmoid(odds) * decisions.advantage, own)
