"""Corrections for decisions that another policy made: importance weights and masks.

A correction multiplies the surrogate's term; it has no gradient of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from groupwise.losses.decisions import Decisions, bounded_exp

Correction = Callable[[Decisions], Tensor]
"""decisions -> factor [N], without gradient; 1 where behaviour and proximal policy agree."""


@dataclass(frozen=True, slots=True)
class truncated:  # noqa: N801 - reads as the function that it is
    """min(proximal / behaviour, most), one weight a decision. (TIS; decoupled PPO: arXiv 2110.00641)"""

    most: float = 2.0

    def __post_init__(self) -> None:
        if not self.most >= 1:
            raise ValueError(f"most={self.most}: a truncation below 1 would shrink on-policy decisions too")

    def __call__(self, decisions: Decisions) -> Tensor:
        return bounded_exp(decisions.log_weight).clamp(max=self.most)
