"""Corrections for decisions that another policy made: importance weights and masks.

A correction multiplies the surrogate's term; it has no gradient of its own. Its weight is proximal /
behaviour, so that the surrogate's clip still begins at ratio 1 (decoupled PPO, arXiv 2110.00641).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.losses.decisions import Decisions, bounded_exp
from groupwise.losses.ratios import Ratio, per_decision, per_trajectory

Correction = Callable[[Decisions], Tensor]
"""decisions -> factor [N], without gradient; 1 where behaviour and proximal policy agree."""


@dataclass(frozen=True, slots=True)
class truncated:  # noqa: N801 - reads as the function that it is
    """min(w, most): biased towards the behaviour policy, bounded variance. (TIS; 2110.00641 has no bound)

    `level`: `per_decision` (low variance, biased over a trajectory), `per_trajectory_product` (exact, and
    its variance grows exponentially with length) or `per_trajectory` (the geometric mean, between them).
    """

    most: float = 2.0
    level: Ratio = per_decision

    def __post_init__(self) -> None:
        if not self.most >= 1:
            raise ValueError(f"most={self.most}: a truncation below 1 would shrink on-policy decisions too")

    def __call__(self, decisions: Decisions) -> Tensor:
        return bounded_exp(self.level(decisions.log_weight, decisions)).clamp(max=self.most)


@dataclass(frozen=True, slots=True)
class masked:  # noqa: N801 - reads as the function that it is
    """w where least <= w <= most, else 0. `level` as in `truncated`.

    (MIS: least = 0. IcePop, arXiv 2510.18855: a band about 1 of single decisions.)
    """

    least: float = 0.0
    most: float = 3.0
    level: Ratio = per_decision

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1 <= self.most:
            raise ValueError(
                f"least={self.least}, most={self.most}: a band without 1 in it drops on-policy decisions too"
            )

    def __call__(self, decisions: Decisions) -> Tensor:
        weight = bounded_exp(self.level(decisions.log_weight, decisions))
        inside = (weight >= self.least) & (weight <= self.most)
        return torch.where(inside, weight, torch.zeros_like(weight))


@dataclass(frozen=True, slots=True)
class strayed:  # noqa: N801 - reads as the function that it is
    """0 where A < 0 in a trajectory whose mean of log behaviour - log new exceeds `most`, else 1.

    Bad answers that the policy no longer gives teach it little and shake it much. Good ones stay.
    (Off-policy sequence masking of DeepSeek-V3.2, arXiv 2512.02556. The paper has no number for `most`.)
    """

    most: float = 0.5

    def __post_init__(self) -> None:
        if not self.most > 0:
            raise ValueError(f"most={self.most} nats a decision: above 0")

    def __call__(self, decisions: Decisions) -> Tensor:
        apart = per_trajectory((decisions.behaviour_logp - decisions.new_logp).detach(), decisions)
        return 1 - ((decisions.advantage < 0) & (apart > self.most)).to(apart.dtype)


@dataclass(frozen=True, slots=True)
class both:  # noqa: N801 - reads as the function that it is
    """The product of two corrections."""

    first: Correction
    second: Correction

    def __call__(self, decisions: Decisions) -> Tensor:
        return self.first(decisions) * self.second(decisions)


def reads_proximal(correction: Correction | None) -> bool:
    """Whether it needs the policy that the step began with apart from the one that chose."""
    if isinstance(correction, both):
        return reads_proximal(correction.first) or reads_proximal(correction.second)
    return correction is not None and not isinstance(correction, strayed)


def mismatch(decisions: Decisions) -> dict[str, float]:
    """How far the policy that chose is from the one that the step begins with; w = proximal / behaviour.

    `mean`, `max`: of |log w|. `chi2` = mean w^2 - 1 and `k3` = mean(w - 1 - log w) estimate divergences.
    `ess`: Kish's effective sample size (sum w)^2 / (N sum w^2) of decisions, `ess_trajectories` the same
    with the products over trajectories: the share of answers that would do as well on-policy. Decisions
    whose log-prob is not known are left out of all but `unknown`, their share.
    """
    known = decisions.log_weight.isfinite()
    log_w, ids = decisions.log_weight[known].double(), decisions.trajectory_id[known]
    numbers = {"unknown": 1 - len(log_w) / max(len(known), 1)}
    if not len(log_w):
        return numbers
    weight = bounded_exp(log_w)
    whole = log_w.new_zeros(int(ids.max()) + 1).index_add(0, ids, log_w)[torch.unique(ids)]
    return numbers | {
        "mean": float(log_w.abs().mean()),
        "max": float(log_w.abs().max()),
        "chi2": float((weight**2).mean() - 1),
        "k3": float((weight - 1 - log_w).mean()),
        "ess": _kish(log_w),
        "ess_trajectories": _kish(whole),
    }


def _kish(log_w: Tensor) -> float:
    """(sum w)^2 / (n sum w^2), in logs: a product over a thousand decisions leaves the range of floats."""
    most = log_w.logsumexp(0) * 2 - (2 * log_w).logsumexp(0) - math.log(len(log_w))
    return float(most.exp())
