"""The one function that computes a recipe's loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from groupwise import losses
from groupwise.losses import Decisions
from groupwise.recipes.checks import one_each
from groupwise.recipes.recipe import Recipe


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
    proximal_logp: Tensor | None = None,
    entropy: Tensor | None = None,
    selected: Tensor | None = None,
    foreign: Tensor | None = None,
    weight: Tensor | None = None,
) -> Loss:
    """Loss and metrics of N decisions, from plain tensors alone.

    Args:
        new_logp: [N] natural log-probabilities under the policy in training, with gradient.
        behaviour_logp: [N] under the policy that chose, at its temperature.
        advantage: [N].
        trajectory_id: [N] int64; decisions of one trajectory share an id, whole trajectories only.
        reference_logp: [N] under the frozen reference; needed where `recipe.kl` is given.
        proximal_logp: [N] under the policy that the step began with; None: that policy chose.
        entropy: [N] nats, with gradient; needed where `recipe.entropy_scale` is not 0.
        selected: [N] bool, the decisions that the recipe picked.
        foreign: [N] bool, the decisions of another policy than the one in training; None: there are none.
        weight: [N]; None computes `recipe.weigh` over these N, as of one group. Pass a slice of the step's
            weights to compute the loss in cuts: the sum over cuts is the whole, value and gradient.

    Raises:
        ValueError: shapes differ, a piece of the recipe gives another shape than [N], or the recipe needs
            an input that is missing.

    A decision whose log-prob is not finite where the loss needs it (proximal; behaviour where that stands
    for it, or a correction or `from_behaviour` reads it) has weight 0; the metric `sampling/unknown` is the
    share of the weights lost by it.
    """
    vectors = {
        "behaviour_logp": behaviour_logp,
        "advantage": advantage,
        "reference_logp": reference_logp,
        "proximal_logp": proximal_logp,
        "entropy": entropy,
        "weight": weight,
    }
    marks = {"trajectory_id": trajectory_id, "selected": selected, "foreign": foreign}
    _check(recipe, new_logp, {**vectors, **marks})
    if weight is None:
        own = recipe.weigh(trajectory_id, torch.zeros_like(trajectory_id))
        vectors["weight"] = one_each("weigh", own, len(trajectory_id))
    decisions, share = _decisions(new_logp, vectors, marks)
    known = _known(recipe, decisions)
    if bool(known.all()):
        return _loss(recipe, decisions, share)
    loss = _loss(recipe, _at(known, decisions), share[known])
    unknown = share[~known].sum() / share.sum()
    return Loss(loss.value, {**loss.metrics, "sampling/unknown": unknown})


def _decisions(
    new_logp: Tensor, vectors: Mapping[str, Tensor | None], marks: Mapping[str, Tensor | None]
) -> tuple[Decisions, Tensor]:
    """The decisions and their weights, in one dtype."""
    if new_logp.dtype in (torch.float16, torch.bfloat16):
        new_logp = new_logp.float()  # a ratio of 16-bit log-probs is noise
    ready = {name: x.to(new_logp.dtype) for name, x in vectors.items() if x is not None}
    weight = ready.pop("weight")
    ready.setdefault("proximal_logp", ready["behaviour_logp"])
    return Decisions(new_logp=new_logp, **ready, **marks), weight  # type: ignore[arg-type]


def _known(recipe: Recipe, d: Decisions) -> Tensor:
    """[N] bool: the decisions whose log-probs are numbers, where the loss reads them."""
    if recipe.correction is None and not isinstance(recipe.ratio, losses.from_behaviour):
        return d.proximal_logp.isfinite()
    return d.proximal_logp.isfinite() & d.behaviour_logp.isfinite()


def _at(which: Tensor, d: Decisions) -> Decisions:
    """Some of the decisions."""
    vectors: dict[str, Tensor | None] = {f.name: getattr(d, f.name) for f in fields(d)}
    return replace(d, **{name: x[which] for name, x in vectors.items() if x is not None})


def _loss(recipe: Recipe, d: Decisions, weight: Tensor) -> Loss:
    log_ratio, n = d.log_ratio, len(weight)
    level = one_each("ratio", recipe.ratio(log_ratio, d), n)
    term = one_each("surrogate", recipe.surrogate(level, d), n)
    share = weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
    metrics = {"ratio": _exp_mean(share, log_ratio), **_clip_metrics(recipe, d, share)}
    if recipe.correction is not None:
        factor = one_each("correction", recipe.correction(d), n).detach()
        term = factor * term
        metrics["correction"] = torch.dot(share, factor)
    value = torch.dot(weight, term)
    if recipe.kl is not None and d.reference_logp is not None:
        apart = one_each("kl", recipe.kl(d.new_logp, d.reference_logp, log_ratio), n)
        value = value + recipe.kl_scale * torch.dot(weight, apart)
    if d.reference_logp is not None:
        metrics["kl"] = torch.dot(share, losses.k3(d.new_logp, d.reference_logp, log_ratio)).detach()
    if d.entropy is not None:
        metrics["entropy"] = torch.dot(share, d.entropy).detach()
        if recipe.entropy_scale:
            value = value - recipe.entropy_scale * torch.dot(weight, d.entropy)
    return Loss(value, metrics)


def _exp_mean(weight: Tensor, log_ratio: Tensor) -> Tensor:
    return torch.dot(weight, log_ratio.detach().clamp(max=losses.MAX_LOG_RATIO).exp())


def _clip_metrics(recipe: Recipe, d: Decisions, weight: Tensor) -> dict[str, Tensor]:
    """Weighted share of decisions whose gradient ratio or surrogate cut, below and above ratio 1.

    Read off their own derivatives, so that it holds for any of them, a user's too.
    """
    d = replace(d, new_logp=d.new_logp.detach().requires_grad_())  # the leaf: a surrogate may read it itself
    with torch.enable_grad():
        log_ratio = d.log_ratio
        level = recipe.ratio(log_ratio, d)
        by_level, by_own = torch.autograd.grad(
            recipe.surrogate(level, d).sum(), (level, d.new_logp), materialize_grads=True
        )
    # cut by the surrogate at the level's ratio, or by the ratio at the decision's own
    at = torch.where(by_level == 0, level, log_ratio).detach()
    cut = (by_own == 0) & (d.advantage != 0)
    low = torch.dot(weight, (cut & (at < 0)).to(weight.dtype))
    high = torch.dot(weight, (cut & (at > 0)).to(weight.dtype))
    return {
        "clip_ratio/low_mean": low,
        "clip_ratio/high_mean": high,
        "clip_ratio/region_mean": low + high,
    }


def _check(recipe: Recipe, new_logp: Tensor, vectors: Mapping[str, Tensor | None]) -> None:
    wrong = [
        f"{k} {list(v.shape)}" for k, v in vectors.items() if v is not None and v.shape != new_logp.shape
    ]
    if new_logp.ndim != 1 or wrong:
        raise ValueError(
            f"objective takes vectors of one length: new_logp {list(new_logp.shape)}, {', '.join(wrong)}"
        )
    if recipe.kl is not None and vectors["reference_logp"] is None:
        raise ValueError("this recipe has a KL term: pass reference_logp, or set kl=None, kl_scale=0")
    if losses.reads_proximal(recipe.correction) and vectors["proximal_logp"] is None:
        raise ValueError(
            "this recipe corrects for another policy, and without proximal_logp every weight is 1: pass "
            "proximal_logp, the log-probs under the policy that the step began with, or set correction=None"
        )
    if recipe.entropy_scale and vectors["entropy"] is None:
        raise ValueError("this recipe has an entropy bonus: pass entropy, or set entropy_scale=0")
