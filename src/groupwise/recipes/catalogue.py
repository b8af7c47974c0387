"""The published algorithms, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from groupwise import advantages, losses
from groupwise.losses import clipped
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

# ---------------------------------------------------------------- named for their advantage
# Where a paper leaves a constant open, or trains on another loss than those of losses/, it says "ours".

LITE_PPO = replace(
    DAPO, surrogate=clipped(0.2, 0.2), advantage=advantages.center, rescale=advantages.batch_scale
)
"""Lite-PPO, arXiv 2508.08221: group mean, batch deviation, the token-level loss, nothing else."""

REINFORCE_PP = replace(
    DAPO,
    surrogate=clipped(0.2, 0.2),
    advantage=advantages.returns_to_go(baseline=False),
    rescale=advantages.whiten,
    kl=losses.k2,
    kl_scale=0.01,
)
"""REINFORCE++, arXiv 2501.03262: returns whitened over the step, no group. The paper takes the KL out of
the reward; here it is k2 in the loss, whose expected gradient is the same. Its scale is ours."""

REINFORCE_PP_BASELINE = replace(REINFORCE_PP, advantage=advantages.center)
"""REINFORCE++-baseline, same paper: group mean, then whitened, k2 in the loss. The scale is ours."""

GDPO = replace(DAPO, advantage=advantages.gdpo(), rescale=advantages.centered_scale)
"""Group reward-Decoupled normalization, arXiv 2601.05242: each reward part normalised apart. Loss: ours."""

PASSK = replace(DAPO, advantage=advantages.pass_at(4))
"""Pass@k training, arXiv 2508.10751. k and the loss are ours: replace(PASSK, advantage=pass_at(8))."""

PKPO = replace(DAPO, advantage=advantages.pkpo(4), surrogate=losses.plain, weigh=losses.per_trajectory_mean)
"""Pass@k policy optimization, arXiv 2505.15201, as a plain policy gradient. k is ours."""

MAXRL = replace(DAPO, advantage=advantages.maxrl, surrogate=clipped(0.2, 0.2, bound=3.0))
"""Maximum-likelihood RL, arXiv 2602.02710, with the dual clip of its authors' code."""

OPO = replace(DAPO, advantage=advantages.length_weighted, surrogate=losses.plain)
"""On-policy RL with the optimal baseline, arXiv 2505.23585: exactly on-policy, so no clip and no KL."""

PROCESS = replace(GRPO, advantage=advantages.process())
"""GRPO with process supervision, arXiv 2402.03300 section 4.1.3."""

GIGPO = replace(GRPO, advantage=advantages.gigpo(), kl_scale=0.01)
"""Group-in-group policy optimization, arXiv 2505.10978; for episodes of several steps."""

TREE = replace(DAPO, advantage=advantages.tree)
"""Credit at the branch points of a group, arXiv 2506.05183 and 2509.21240. Loss: ours."""

SHRINKAGE = replace(RLOO, advantage=advantages.shrunk())
"""RLOO with a baseline drawn towards the prompt's history; needs `Group.prior`, else it is RLOO. Ours."""

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "grpo": GRPO,
        "dr_grpo": DR_GRPO,
        "dapo": DAPO,
        "gspo": GSPO,
        "cispo": CISPO,
        "rloo": RLOO,
        "lite_ppo": LITE_PPO,
        "reinforce_pp": REINFORCE_PP,
        "reinforce_pp_baseline": REINFORCE_PP_BASELINE,
        "gdpo": GDPO,
        "passk": PASSK,
        "pkpo": PKPO,
        "maxrl": MAXRL,
        "opo": OPO,
        "process": PROCESS,
        "gigpo": GIGPO,
        "tree": TREE,
        "shrinkage": SHRINKAGE,
    }
)
