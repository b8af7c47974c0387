"""The losses of the papers once more, padded and masked [B, T], with nothing of the package in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Padded:
    """Of B answers and T places; what stands in the padding is not to matter."""

    new: Tensor
    behaviour: Tensor
    began: Tensor
    """Log-probs under the policy that the step began with."""
    advantage: Tensor
    ref: Tensor
    mask: Tensor
    selected: Tensor
    foreign: Tensor


def clip(ratio: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    limit = torch.where(advantage > 0, torch.tensor(high), torch.tensor(-low))
    beyond = torch.where(advantage > 0, ratio > 1 + limit, ratio < 1 + limit)
    return torch.where(beyond, (1 + limit) * advantage, ratio * advantage)


def seq_mean_token_mean(x: Tensor, mask: Tensor) -> Tensor:
    return ((x * mask).sum(1) / mask.sum(1)).mean()


def token_mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum() / mask.sum()


def of(p: Padded) -> Tensor:
    return torch.exp(p.new - p.behaviour)


def length_normalised(p: Padded) -> Tensor:
    return torch.exp(((p.new - p.behaviour) * p.mask).sum(1) / p.mask.sum(1))


def whole(x: Tensor, p: Padded) -> Tensor:
    """exp of the sum over an answer, [B, 1], a number."""
    return torch.exp((x * p.mask).sum(1, keepdim=True)).detach()


def grpo(p: Padded) -> Tensor:
    kl = torch.exp(p.ref - p.new) - (p.ref - p.new) - 1
    return -seq_mean_token_mean(clip(of(p), p.advantage, 0.2, 0.2) - 0.04 * kl, p.mask)


def dr_grpo(p: Padded) -> Tensor:
    return -(clip(of(p), p.advantage, 0.2, 0.2) * p.mask).sum() / (len(p.new) * 1024)


def dapo(p: Padded) -> Tensor:
    return -token_mean(clip(of(p), p.advantage, 0.2, 0.28), p.mask)


def magnetic(p: Padded) -> Tensor:
    """Without the entropy. Summed over each answer, averaged over answers; k2 = (log π − log ref)² / 2."""
    k2 = (p.new - p.ref) ** 2 / 2
    return -((clip(of(p), p.advantage, 0.2, 0.2) - 10.0 * k2) * p.mask).sum(1).mean()


def intellect_2(p: Padded) -> Tensor:
    ratio, a = of(p), p.advantage
    kl = torch.exp(p.ref - p.new) - (p.ref - p.new) - 1
    two_sided = torch.where((a < 0) & (ratio > 4), 4 * a, clip(ratio, a, 0.2, 0.2))
    return -seq_mean_token_mean(two_sided - 0.001 * kl, p.mask)


def gspo(p: Padded) -> Tensor:
    return -clip(length_normalised(p), p.advantage[:, 0], 3e-4, 4e-4).mean()


def gspo_token(p: Padded) -> Tensor:
    s = length_normalised(p)[:, None].detach() * torch.exp(p.new) / torch.exp(p.new).detach()
    return -seq_mean_token_mean(clip(s, p.advantage, 3e-4, 4e-4), p.mask)


def gmpo(p: Padded) -> Tensor:
    log_ratio, sign = p.new - p.behaviour, torch.sign(p.advantage)
    inside = sign * torch.minimum(sign * log_ratio, sign * log_ratio.clamp(-0.4, 0.4))
    geometric = torch.exp((inside * p.mask).sum(1) / p.mask.sum(1))
    return -(geometric * p.advantage[:, 0]).mean()


def luspo(p: Padded) -> Tensor:
    gain = clip(length_normalised(p), p.advantage[:, 0], 2e-3, 2.5e-3)
    return -(gain * p.mask.sum(1)).mean()


def cispo(p: Padded) -> Tensor:
    factor = torch.minimum(of(p), torch.tensor(5.0)).detach()
    return -token_mean(factor * p.advantage * (p.new - p.behaviour), p.mask)


def sapo(p: Padded) -> Tensor:
    tau = torch.where(p.advantage > 0, 1.0, 1.05)
    gate = 1 / (1 + torch.exp(-tau * (of(p) - 1)))
    return -seq_mean_token_mean(4 / tau * gate * p.advantage, p.mask)


def gpg(p: Padded) -> Tensor:
    return -token_mean(p.advantage * (p.new - p.behaviour), p.mask)


def rloo(p: Padded) -> Tensor:
    return -seq_mean_token_mean(of(p) * p.advantage, p.mask)


def lite_ppo(p: Padded) -> Tensor:
    return -token_mean(clip(of(p), p.advantage, 0.2, 0.2), p.mask)


def own_gradient(p: Padded, factor: Tensor) -> Tensor:
    """-mean of factor A times (the answer's log-ratio, with the gradient of its own token's)."""
    level = ((p.new - p.behaviour) * p.mask).sum(1, keepdim=True).detach() + p.new - p.new.detach()
    return -token_mean(factor * p.advantage * level, p.mask)


def topr(p: Padded) -> Tensor:
    w = whole(p.new - p.behaviour, p)
    return own_gradient(p, torch.where(p.advantage < 0, torch.minimum(w, torch.ones_like(w)), 1.0))


def vespo(p: Padded) -> Tensor:
    w = whole(p.new - p.behaviour, p)
    rising, falling = w**2 * torch.exp(3 * (1 - w)), w**3 * torch.exp(2 * (1 - w))
    return own_gradient(p, torch.where(p.advantage > 0, rising, falling))


def luffy(p: Padded) -> Tensor:
    prob = torch.exp(p.new)
    theirs = prob / (prob + 0.1) * p.advantage
    return -token_mean(torch.where(p.foreign, theirs, clip(of(p), p.advantage, 0.2, 0.2)), p.mask)


def corrected(p: Padded, factor: Tensor, high: float) -> Tensor:
    return -token_mean(factor * clip(torch.exp(p.new - p.began), p.advantage, 0.2, high), p.mask)


def decoupled(p: Padded) -> Tensor:
    return corrected(p, torch.exp(p.began - p.behaviour).clamp(max=5), 0.2)


def tis(p: Padded) -> Tensor:
    return corrected(p, torch.exp(p.began - p.behaviour).clamp(max=2), 0.28)


def tis_sequence(p: Padded) -> Tensor:
    return corrected(p, whole(p.began - p.behaviour, p).clamp(max=2), 0.28)


def mixed(p: Padded) -> Tensor:
    return corrected(p, whole(p.began - p.behaviour, p).clamp(max=10), 0.28)


def mis(p: Padded) -> Tensor:
    w = whole(p.began - p.behaviour, p)
    return corrected(p, w * (w <= 3), 0.28)


def icepop(p: Padded) -> Tensor:
    w = torch.exp(p.began - p.behaviour)
    return corrected(p, w * (w >= 0.5) * (w <= 5), 0.28)


def corrected_kl(p: Padded) -> Tensor:
    return of(p) * (torch.exp(p.ref - p.new) - (p.ref - p.new) - 1)


def deepseek_v3_2(p: Padded) -> Tensor:
    apart = (((p.behaviour - p.new) * p.mask).sum(1) / p.mask.sum(1)).detach()
    keep = ~((p.advantage[:, 0] < 0) & (apart > 0.5))
    gain = clip(of(p), p.advantage, 0.2, 0.2) * keep[:, None]
    return -seq_mean_token_mean(gain - 0.001 * corrected_kl(p), p.mask)


def adaptive_kl(p: Padded) -> Tensor:
    return -seq_mean_token_mean(clip(of(p), p.advantage, 0.2, 0.2) - 0.04 * corrected_kl(p), p.mask)


def prorl(p: Padded) -> Tensor:
    kl = torch.exp(p.ref - p.new) - (p.ref - p.new) - 1
    return -token_mean(clip(of(p), p.advantage, 0.2, 0.4) - 1e-4 * kl, p.mask)


def clip_cov(p: Padded) -> Tensor:
    return -token_mean(clip(of(p), p.advantage, 0.2, 0.2) * ~p.selected, p.mask)


def kl_cov(p: Padded) -> Tensor:
    penalty = (p.new - p.behaviour).abs() * p.selected
    return -token_mean(of(p) * p.advantage - penalty, p.mask)


def top_entropy(p: Padded) -> Tensor:
    return -token_mean(clip(of(p), p.advantage, 0.2, 0.28) * p.selected, p.mask)


def reinforce_pp(p: Padded) -> Tensor:
    return lite_ppo(p) + token_mean(0.01 * 0.5 * (p.new - p.ref) ** 2, p.mask)


def maxrl(p: Padded) -> Tensor:
    kept = clip(of(p), p.advantage, 0.2, 0.2)
    return -token_mean(torch.where(p.advantage < 0, kept.maximum(3.0 * p.advantage), kept), p.mask)


def opo(p: Padded) -> Tensor:
    return -token_mean(of(p) * p.advantage, p.mask)


def gigpo(p: Padded) -> Tensor:
    kl = torch.exp(p.ref - p.new) - (p.ref - p.new) - 1
    return -seq_mean_token_mean(clip(of(p), p.advantage, 0.2, 0.2) - 0.01 * kl, p.mask)


TWINS: dict[str, Callable[[Padded], Tensor]] = {
    f.__name__: f
    for f in (
        grpo, dr_grpo, dapo, intellect_2, gspo, gspo_token, gmpo, luspo, cispo, sapo, gpg, rloo, lite_ppo,
        topr, vespo, luffy, decoupled, tis, tis_sequence, mis, icepop, deepseek_v3_2, adaptive_kl, prorl,
        mixed, magnetic, clip_cov, kl_cov, top_entropy, reinforce_pp, maxrl, opo, gigpo,
    )
}  # fmt: skip
"""By the name of the recipe. One that differs only in its advantages has the twin of the other."""
