"""At which level a ratio is taken: of one decision or of the whole trajectory."""

from __future__ import annotations

from collections.abc import Callable

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
