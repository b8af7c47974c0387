"""Made-up decisions, for tests of the maths."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from groupwise.losses import Decisions, Surrogate


def having(advantage: Tensor, ids: Tensor | None = None, **vectors: Tensor) -> Decisions:
    """Decisions of which only the advantages, and whose they are, matter."""
    zero = torch.zeros_like(advantage)
    ids = torch.arange(len(advantage)) if ids is None else ids
    return replace(Decisions(advantage, ids, zero, zero, zero), **vectors)


def value_and_slope(
    surrogate: Surrogate, ratio: float, advantage: float, **vectors: Tensor
) -> tuple[float, float]:
    """What is maximised (the term, negated) and its derivative by log pi."""
    log_ratio = torch.tensor([math.log(ratio)], requires_grad=True)
    gain = -surrogate(log_ratio, having(torch.tensor([advantage]), **vectors))
    (slope,) = torch.autograd.grad(gain.sum(), log_ratio)
    return gain.item(), slope.item()
