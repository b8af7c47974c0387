"""The published algorithms, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from groupwise import advantages, losses
from groupwise.losses import clipped
from groupwise.mixtures import whole_answer
from groupwise.recipes.recipe import Recipe

GRPO = Recipe(
    advantage=advantages.standardize,
    ratio=losses.per_decision,
    surrogate=clipped(0.2, 0.2),
    weigh=losses.per_trajectory_mean,
    kl=losses.k3,
    kl_scale=0.04,
)
"""Group Relative Policy Optimization as published: DeepSeekMath, arXiv 2402.03300."""

DR_GRPO = replace(
    GRPO, advantage=advantages.center, weigh=losses.constant(length=1024), kl=None, kl_scale=0.0
)
"""GRPO Done Right, arXiv 2503.20783: no deviation, no length; `length` is the budget of tokens."""

DAPO = replace(GRPO, surrogate=clipped(0.2, 0.28), weigh=losses.per_token_mean, kl=None, kl_scale=0.0)
"""Clip-higher and the token-level loss of arXiv 2503.14476 (not its sampling or length penalty)."""

GSPO = replace(GRPO, ratio=losses.per_trajectory, surrogate=clipped(3e-4, 4e-4), kl=None, kl_scale=0.0)
"""Group Sequence Policy Optimization, arXiv 2507.18071."""

CISPO = replace(GRPO, surrogate=losses.cispo(5.0), weigh=losses.per_token_mean, kl=None, kl_scale=0.0)
"""MiniMax-M1, arXiv 2506.13585, with the bound of ScaleRL, arXiv 2510.13786."""

RLOO = replace(GRPO, advantage=advantages.leave_one_out, surrogate=losses.plain, kl=None, kl_scale=0.0)
"""REINFORCE leave-one-out, arXiv 2402.14740. The paper sums over an answer's tokens; here their mean."""

MIXED = replace(DAPO, advantage=advantages.stratified, correction=whole_answer())
"""For groups that several policies wrote (docs/mixed-groups.md): a baseline with one expectation for all
answers, one importance weight an answer, then DAPO's clip from where the step begins."""

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "grpo": GRPO,
        "dr_grpo": DR_GRPO,
        "dapo": DAPO,
        "gspo": GSPO,
        "cispo": CISPO,
        "rloo": RLOO,
        "mixed": MIXED,
    }
)
