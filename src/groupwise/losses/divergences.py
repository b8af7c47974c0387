"""Divergence from the reference policy, estimated one decision at a time.

As a loss each is the divergence of the decision where it was made. What a decision leads to, states where the
policies are further apart, is not charged to it: the gradient is that of KL(pi||ref) for answers of one
decision, and for longer ones `still_to_come`, in the reward, has all of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
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

    (DeepSeek-V3.2, arXiv 2512.02556.) rho is new / proximal, so off-policy means answers of the policy
    that the step began with. Where another one chose and a correction stands for it, this is not corrected.
    """
    return bounded_exp(log_ratio) * k3(new_logp, reference_logp, log_ratio)


def k3_k2(new_logp: Tensor, reference_logp: Tensor, log_ratio: Tensor) -> Tensor:
    """The value of k3, the gradient of k2: unbiased to read, and on-policy exactly grad KL(pi||ref).

    (arXiv 2510.01555 on why the two are not had at once otherwise.)
    """
    pull = k2(new_logp, reference_logp, log_ratio)
    return k3(new_logp, reference_logp, log_ratio).detach() + pull - pull.detach()


def still_to_come(x: Tensor, trajectory_id: Tensor) -> Tensor:
    """Of each decision, the sum of x over it and all later ones of its trajectory. [N] -> [N].

    With x = log pi - log ref this is the return of a reward of -k1 a decision, the sign turned: the
    expected score-function gradient of its sum is exactly grad KL(pi||ref). Trajectories stand in one
    piece, their decisions in order.
    """
    running = x.double().cumsum(0)
    begins = torch.ones_like(trajectory_id, dtype=torch.bool)
    begins[1:] = trajectory_id[1:] != trajectory_id[:-1]
    block = begins.cumsum(0) - 1
    at_end = running[begins.roll(-1)]  # the last decision of each block; the roll brings round the first
    return (at_end[block] - running + x.double()).to(x.dtype)
