"""The algorithms, as values, and the one function that computes their loss.

A recipe is complete: advantage, ratio, surrogate, weighting and divergence in one place. A variant is
`dataclasses.replace(GRPO, ...)`; there is nothing to register.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from groupwise import advantages, losses
from groupwise.advantages import Advantage, Rescale
from groupwise.losses import Divergence, Ratio, Surrogate, Weigh, clipped


@dataclass(frozen=True, slots=True)
class Recipe:
    """One algorithm."""

    advantage: Advantage
    """rewards [G] -> advantages [G]."""
    ratio: Ratio
    """(log_ratio [N], trajectory_id [N]) -> log_ratio [N]."""
    surrogate: Surrogate
    """(log_ratio [N], advantage [N]) -> term [N]."""
    weigh: Weigh
    """trajectory_id [N] -> weight [N], over the whole optimizer step."""
    rescale: Rescale | None = None
    """(rewards [M], advantages [M]) -> advantages [M], over the whole step."""
    kl: Divergence | None = None
    """(new_logp, reference_logp, log_ratio) -> term [N]; needs a frozen reference."""
    kl_scale: float = 0.0
    entropy_scale: float = 0.0
    """Nats: the loss falls by this times the weighted mean entropy."""

    def __post_init__(self) -> None:
        if (self.kl is None) != (self.kl_scale == 0):
            raise ValueError(
                f"kl={self.kl} with kl_scale={self.kl_scale}: a divergence needs a scale and a scale "
                "a divergence. Give both, or neither."
            )

    @property
    def needs_reference(self) -> bool:
        return self.kl is not None

    @property
    def skips_zero_advantage(self) -> bool:
        """True when a decision of advantage 0 has exactly no gradient, so it need not be computed."""
        return self.kl is None and self.entropy_scale == 0


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

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {"grpo": GRPO, "dr_grpo": DR_GRPO, "dapo": DAPO, "gspo": GSPO, "cispo": CISPO, "rloo": RLOO}
)


@dataclass(frozen=True, slots=True)
class Loss:
    """The number to differentiate, and what a person wants to know about it."""

    value: Tensor
    """Scalar. Near 0 on-policy whatever happens: not a measure of progress."""
    metrics: Mapping[str, Tensor]
    """Scalars without gradient: means under the loss's own weights (see docs/metrics.md)."""


def objective(
    recipe: Recipe,
    new_logp: Tensor,
    behaviour_logp: Tensor,
    advantage: Tensor,
    trajectory_id: Tensor,
    reference_logp: Tensor | None = None,
    *,
    entropy: Tensor | None = None,
    weight: Tensor | None = None,
) -> Loss:
    """Loss and metrics of N decisions, from plain tensors alone.

    Args:
        new_logp: [N] natural log-probabilities under the policy in training, with gradient.
        behaviour_logp: [N] under the policy that chose, at its temperature.
        advantage: [N].
        trajectory_id: [N] int64; decisions of one trajectory share an id, whole trajectories only.
        reference_logp: [N] under the frozen reference; needed where `recipe.kl` is given.
        entropy: [N] nats, with gradient; needed where `recipe.entropy_scale` is not 0.
        weight: [N]; None computes `recipe.weigh` over these N. Pass a slice of the step's weights to
            compute the loss in cuts: the sum over cuts is the whole, value and gradient.

    Raises:
        ValueError: shapes differ, or the recipe needs an input that is missing.
    """
    _check(recipe, new_logp, behaviour_logp, advantage, trajectory_id, reference_logp, entropy)
    if weight is None:
        weight = recipe.weigh(trajectory_id)
    if new_logp.dtype in (torch.float16, torch.bfloat16):
        new_logp = new_logp.float()  # a ratio of 16-bit log-probs is noise
    weight, behaviour_logp, advantage = (x.to(new_logp.dtype) for x in (weight, behaviour_logp, advantage))
    if reference_logp is not None:
        reference_logp = reference_logp.to(new_logp.dtype)
    if entropy is not None:
        entropy = entropy.to(new_logp.dtype)
    log_ratio = new_logp - behaviour_logp
    level = recipe.ratio(log_ratio, trajectory_id)
    value = torch.dot(weight, recipe.surrogate(level, advantage))
    share = weight / weight.sum()
    metrics = {"ratio": _exp_mean(share, log_ratio), **_clip_metrics(recipe, level, advantage, share)}
    if recipe.kl is not None and reference_logp is not None:
        value = value + recipe.kl_scale * torch.dot(weight, recipe.kl(new_logp, reference_logp, log_ratio))
    if reference_logp is not None:
        metrics["kl"] = torch.dot(share, losses.k3(new_logp, reference_logp, log_ratio)).detach()
    if entropy is not None:
        metrics["entropy"] = torch.dot(share, entropy).detach()
        if recipe.entropy_scale:
            value = value - recipe.entropy_scale * torch.dot(weight, entropy)
    return Loss(value, metrics)


def _exp_mean(weight: Tensor, log_ratio: Tensor) -> Tensor:
    return torch.dot(weight, log_ratio.detach().clamp(max=losses.MAX_LOG_RATIO).exp())


def _clip_metrics(recipe: Recipe, level: Tensor, advantage: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Weighted share of decisions whose gradient the surrogate cut, below and above ratio 1.

    Read off the surrogate's own derivative, so that it holds for any surrogate, a user's too.
    """
    with torch.enable_grad():
        leaf = level.detach().requires_grad_()
        term = recipe.surrogate(leaf, advantage.detach()).sum()
        slope = torch.autograd.grad(term, leaf)[0]
    cut = (slope == 0) & (advantage != 0)
    low = torch.dot(weight, (cut & (level < 0)).to(weight.dtype))
    high = torch.dot(weight, (cut & (level > 0)).to(weight.dtype))
    return {
        "clip_ratio/low_mean": low,
        "clip_ratio/high_mean": high,
        "clip_ratio/region_mean": low + high,
    }


def _check(
    recipe: Recipe,
    new_logp: Tensor,
    behaviour_logp: Tensor,
    advantage: Tensor,
    trajectory_id: Tensor,
    reference_logp: Tensor | None,
    entropy: Tensor | None,
) -> None:
    shapes = {
        "new_logp": new_logp,
        "behaviour_logp": behaviour_logp,
        "advantage": advantage,
        "trajectory_id": trajectory_id,
        "reference_logp": reference_logp,
        "entropy": entropy,
    }
    wrong = [f"{k} {list(v.shape)}" for k, v in shapes.items() if v is not None and v.shape != new_logp.shape]
    if new_logp.ndim != 1 or wrong:
        raise ValueError(
            f"objective takes vectors of one length: new_logp {list(new_logp.shape)}, {', '.join(wrong)}"
        )
    if recipe.kl is not None and reference_logp is None:
        raise ValueError("this recipe has a KL term: pass reference_logp, or set kl=None, kl_scale=0")
    if recipe.entropy_scale and entropy is None:
        raise ValueError("this recipe has an entropy bonus: pass entropy, or set entropy_scale=0")
