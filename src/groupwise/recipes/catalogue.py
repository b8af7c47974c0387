"""The published algorithms, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from groupwise import advantages, losses
from groupwise.losses import clipped, from_behaviour
from groupwise.recipes.controls import AdaptiveKL, EntropyTarget, Refresh
from groupwise.recipes.filters import finished
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
"""REINFORCE leave-one-out, arXiv 2402.14740. The paper sums over an answer's tokens, which is unbiased
(`weigh=per_trajectory_total`); here their mean, so that a token of a short answer counts more."""

# ---------------------------------------------------------------- other surrogates and ratios

DAPO_FINISHED = replace(DAPO, keep=finished)
"""DAPO with its overlong filtering: what the limit cut off is not learned from."""

INTELLECT_2 = replace(GRPO, surrogate=clipped(0.2, 0.2, bound=4.0), kl_scale=0.001)
"""Two-sided clip, arXiv 2505.07291."""

GSPO_TOKEN = replace(GSPO, ratio=losses.per_trajectory_token)
"""GSPO for advantages that differ within an answer, arXiv 2507.18071."""

GMPO = replace(GRPO, ratio=losses.clipped_mean(0.4, 0.4), surrogate=losses.plain, kl=None, kl_scale=0.0)
"""Geometric-Mean Policy Optimization, arXiv 2507.20673."""

LUSPO = replace(GSPO, surrogate=clipped(2e-3, 2.5e-3), weigh=losses.per_trajectory_total)
"""Length-Unbiased Sequence Policy Optimization, arXiv 2602.05261."""

SAPO = replace(GRPO, surrogate=losses.sapo(1.0, 1.05), kl=None, kl_scale=0.0)
"""Soft Adaptive Policy Optimization, arXiv 2511.20347."""

GPG = replace(
    DAPO,
    advantage=advantages.center,
    rescale=advantages.over_informative,
    surrogate=losses.log_likelihood,
)
"""Group Policy Gradient, arXiv 2504.02546."""

LITE_PPO = replace(
    DAPO, advantage=advantages.center, rescale=advantages.batch_scale, surrogate=clipped(0.2, 0.2)
)
"""Group mean, batch deviation, token mean: arXiv 2508.08221."""

# ---------------------------------------------------------------- made for answers of other policies

TOPR = replace(
    DAPO,
    advantage=advantages.center,
    ratio=from_behaviour(losses.per_trajectory_product),
    surrogate=losses.topr,
)
"""Tapered Off-Policy REINFORCE, arXiv 2503.14286; the group's mean is the baseline."""

ASYMRE = replace(DAPO, advantage=advantages.asymmetric(-0.1), surrogate=losses.log_likelihood)
"""Asymmetric REINFORCE, arXiv 2506.20520: no importance weights, a baseline below the mean."""

VESPO = replace(DAPO, ratio=from_behaviour(losses.per_trajectory_product), surrogate=losses.vespo())
"""Variational sequence-level soft policy optimization, arXiv 2602.10693."""

LUFFY = replace(DAPO, surrogate=losses.shaping_foreign(clipped(0.2, 0.2), 0.1))
"""Learning under off-policy guidance, arXiv 2504.14945: shaped where a teacher wrote, GRPO elsewhere."""

DECOUPLED = replace(DAPO, surrogate=clipped(0.2, 0.2), correction=losses.truncated(5.0), staleness=8)
"""Decoupled PPO, arXiv 2110.00641, with the bounded staleness of AReaL, 2505.24298."""

TIS = replace(DAPO, correction=losses.truncated(2.0))
"""Truncated importance sampling of each decision between sampler and learner."""

TIS_SEQUENCE = replace(DAPO, correction=losses.truncated(2.0, losses.per_trajectory_product))
"""The same of whole answers."""

MIS = replace(DAPO, correction=losses.masked(0.0, 3.0, losses.per_trajectory_product))
"""Masked importance sampling of whole answers."""

ICEPOP = replace(DAPO, correction=losses.masked(0.5, 5.0))
"""Decisions on which sampler and learner are apart by more than a band are dropped: arXiv 2510.18855."""

DEEPSEEK_V3_2 = replace(
    GRPO,
    advantage=advantages.center,
    correction=losses.strayed(0.5),
    kl=losses.k3_corrected,
    kl_scale=0.001,
)
"""Unbiased KL and off-policy sequence masking of arXiv 2512.02556; the paper gives neither number."""

MIXED = replace(
    DAPO,
    advantage=advantages.stratified,
    correction=losses.truncated(10.0, losses.per_trajectory_product),
)
"""For groups that several policies wrote (docs/mixed-groups.md): a baseline with one expectation for all
answers, one importance weight an answer, then DAPO's clip from where the step begins. Ours."""

# ---------------------------------------------------------------- control of divergence and entropy

MAGNETIC = replace(
    GRPO,
    advantage=advantages.leave_one_out,
    weigh=losses.per_trajectory_total,
    kl=losses.k2,
    kl_scale=10.0,
    refresh=Refresh(every=1),
    entropy_scale=0.1,
)
"""Magnetic mirror descent, arXiv 2206.05825, for games: each step stays near the policy that it began with
(the reference, moved in every step; 1 / kl_scale is the paper's step size) and is drawn to playing at random
(the entropy, whose scale is the paper's alpha). Self-play with neither goes in circles where something is
hidden. The paper's update is exact; here it is a few epochs on sampled games."""

RLOO_KL = replace(RLOO, reward_kl=0.03)
"""RLOO with the divergence in the reward, as in arXiv 2402.14740."""

ADAPTIVE_KL = replace(GRPO, kl=losses.k3_corrected, kl_control=AdaptiveKL(target=0.05))
"""GRPO whose KL scale seeks a divergence: arXiv 1909.08593."""

MOVING_REFERENCE = replace(GRPO, refresh=Refresh(every=512, alpha=0.6))
"""GRPO whose reference follows, as in TR-DPO, arXiv 2404.09656."""

PRORL = replace(
    DAPO,
    surrogate=clipped(0.2, 0.4),
    kl=losses.k3,
    kl_scale=1e-4,
    refresh=Refresh(every=500, new_optimizer=True),
)
"""Prolonged RL, arXiv 2505.24864; it resets by hand, here every 500 steps."""

CLIP_COV = replace(
    DAPO, surrogate=losses.without_selected(clipped(0.2, 0.2)), select=losses.some_covariance(2e-4, 1.0, 5.0)
)
"""Entropy kept up by a few decisions without gradient: arXiv 2505.22617."""

KL_COV = replace(
    DAPO,
    surrogate=losses.penalised_where_selected(losses.plain, 1.0),
    select=losses.large_covariance(2e-4),
)
"""Entropy kept up by a penalty on a few decisions: arXiv 2505.22617."""

TOP_ENTROPY = replace(DAPO, surrogate=losses.only_selected(DAPO.surrogate), select=losses.top_entropy(0.2))
"""80/20, arXiv 2506.01939: DAPO on the fifth of decisions with the highest entropy."""

ADAPTIVE_ENTROPY = replace(DAPO, surrogate=clipped(0.2, 0.2), entropy_control=EntropyTarget(0.2, 0.005))
"""Skywork-OR1, arXiv 2505.22312: an entropy bonus that grows while entropy is below its target."""

# ---------------------------------------------------------------- named for their advantage
# Where a paper leaves a constant open, or trains on another loss than those of losses/, it says "ours".

REINFORCE_PP = replace(
    DAPO,
    surrogate=clipped(0.2, 0.2),
    advantage=advantages.returns_to_go(baseline=False),
    rescale=advantages.whiten,
    kl=losses.k2,
    kl_scale=0.01,
)
"""REINFORCE++, arXiv 2501.03262: returns whitened over the step, no group. The paper takes the KL out of
the reward; here it is k2 in the loss, which does not charge a decision for what it leads to. Its scale is
ours, and a group has at least two answers, where the paper needs one."""

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

RETURN_TO_GO = replace(
    DAPO,
    surrogate=clipped(0.2, 0.2),
    advantage=advantages.returns_to_go(),
    rescale=advantages.centered_scale,
)
"""Returns from each step on against those of the siblings at the same step: the baseline of Group Policy
Gradient, arXiv 2510.03679, over the others alone; for episodes of several steps. Loss and scale: ours."""

RETURN_TO_GO_99 = replace(RETURN_TO_GO, advantage=advantages.returns_to_go(discount=0.99))
"""The same with a discount, for long episodes in which an action's effect fades."""

NEAR_STATES = replace(
    RETURN_TO_GO, advantage=advantages.near_states(discount=0.99, trace=0.95), rescale=advantages.whiten
)
"""Surprises on the way against what siblings got from near states, as in GAE with siblings for a critic; for
worlds of real numbers. Ours."""

FITTED_STATES = replace(NEAR_STATES, advantage=advantages.fitted_states(discount=0.99, trace=0.95))
"""The same against a fit of the siblings' returns to their states. Ours."""

SHRINKAGE = replace(RLOO, advantage=advantages.shrunk())
"""RLOO with a baseline drawn towards the prompt's history; needs `Group.prior`, else it is RLOO. Ours."""

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "grpo": GRPO,
        "dr_grpo": DR_GRPO,
        "dapo": DAPO,
        "dapo_finished": DAPO_FINISHED,
        "intellect_2": INTELLECT_2,
        "gspo": GSPO,
        "gspo_token": GSPO_TOKEN,
        "gmpo": GMPO,
        "luspo": LUSPO,
        "cispo": CISPO,
        "sapo": SAPO,
        "gpg": GPG,
        "rloo": RLOO,
        "rloo_kl": RLOO_KL,
        "lite_ppo": LITE_PPO,
        "topr": TOPR,
        "asymre": ASYMRE,
        "vespo": VESPO,
        "luffy": LUFFY,
        "decoupled": DECOUPLED,
        "tis": TIS,
        "tis_sequence": TIS_SEQUENCE,
        "mis": MIS,
        "icepop": ICEPOP,
        "deepseek_v3_2": DEEPSEEK_V3_2,
        "mixed": MIXED,
        "magnetic": MAGNETIC,
        "adaptive_kl": ADAPTIVE_KL,
        "moving_reference": MOVING_REFERENCE,
        "prorl": PRORL,
        "clip_cov": CLIP_COV,
        "kl_cov": KL_COV,
        "top_entropy": TOP_ENTROPY,
        "adaptive_entropy": ADAPTIVE_ENTROPY,
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
        "return_to_go": RETURN_TO_GO,
        "return_to_go_99": RETURN_TO_GO_99,
        "near_states": NEAR_STATES,
        "fitted_states": FITTED_STATES,
        "shrinkage": SHRINKAGE,
    }
)
