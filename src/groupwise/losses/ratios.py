"""At which level a ratio is taken: of one decision or of the whole trajectory, from which policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.losses.decisions import Decisions, per_trajectory_sum

Ratio = Callable[[Tensor, Decisions], Tensor]
"""(log_ratio [N], decisions) -> log_ratio [N] at its level."""


def per_decision(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """One ratio a decision. (GRPO, PPO: arXiv 1707.06347)"""
    return log_ratio


def per_trajectory(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """The mean log-ratio of the trajectory, for each of its decisions. (GSPO, arXiv 2507.18071)

    exp of it is the length-normalised sequence ratio s_i. Needs whole trajectories, and a
    per-trajectory weighting: then trajectory i adds exactly s_i A_i / n.
    """
    total, lengths, index = per_trajectory_sum(log_ratio, decisions.trajectory_id)
    return (total / lengths)[index]


def per_trajectory_token(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """The value of `per_trajectory`, the gradient of the decision's own log pi. (GSPO-token, 2507.18071)

    sg[s_i] pi / sg[pi]. The same loss and gradient as GSPO while the advantage is one number a
    trajectory; with an advantage for each decision, each is pulled by its own.
    """
    return _own_gradient(per_trajectory(log_ratio, decisions), log_ratio)


def per_trajectory_product(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """The sum of the trajectory's log-ratios, the gradient of the decision's own log pi.

    exp of it is pi(y) / q(y), the only ratio that is exact for whole trajectories; its variance grows
    exponentially with length. With `plain` and `per_trajectory_total` the gradient is that of the
    trajectory-level surrogate, w_i A_i sum_t grad log pi_t / n. (TOPR, arXiv 2503.14286; VESPO, 2602.10693)
    """
    total, _, index = per_trajectory_sum(log_ratio, decisions.trajectory_id)
    return _own_gradient(total[index], log_ratio)


def _own_gradient(value: Tensor, log_ratio: Tensor) -> Tensor:
    return value.detach() + log_ratio - log_ratio.detach()


@dataclass(frozen=True, slots=True)
class clipped_mean:  # noqa: N801 - reads as the function that it is
    """The trajectory's mean of log-ratios, each first clipped on the side its advantage pushes to.

    A > 0: min(log rho, high); A < 0: max(log rho, -low). exp of the mean is the clipped geometric mean
    of GMPO (arXiv 2507.20673), to be used with `plain`. The limits are those of log rho, 0.4 as there.
    """

    low: float = 0.4
    high: float = 0.4

    def __post_init__(self) -> None:
        if not (self.low > 0 and self.high > 0):
            raise ValueError(f"clip range low={self.low}, high={self.high} of the log-ratio: both above 0")

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        gains, loses = decisions.advantage > 0, decisions.advantage < 0
        inside = torch.where(gains, log_ratio.clamp(max=self.high), log_ratio)
        inside = torch.where(loses, log_ratio.clamp(min=-self.low), inside)
        return per_trajectory(inside, decisions)


@dataclass(frozen=True, slots=True)
class from_behaviour:  # noqa: N801 - reads as the function that it is
    """The inner level of new / behaviour, in the place of new / proximal.

    Where another policy chose, this is the whole of importance sampling in one ratio, and no correction
    is needed beside it. On-policy the two are one.
    """

    inner: Ratio = per_decision

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        return self.inner(log_ratio + decisions.log_weight, decisions)
