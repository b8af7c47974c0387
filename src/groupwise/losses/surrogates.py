"""Surrogates: from a ratio and an advantage to what is minimised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.losses.decisions import Decisions, bounded_exp

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

    Written with the log-ratio in the place of log pi: the same gradient, a value that starts at 0.
    As in ScaleRL (2510.13786) `high` bounds the ratio itself, and there is no lower bound.
    """

    high: float = 5.0

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        return -bounded_exp(log_ratio).clamp(max=self.high).detach() * decisions.advantage * log_ratio


def plain(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """-rho A: importance-weighted policy gradient, no clip. On-policy it is REINFORCE."""
    return -bounded_exp(log_ratio) * decisions.advantage
