"""Distributions over decisions: how likely one is, and which one a random number picks.

Each is a function of the numbers that a network gives, with no weights of its own. A decision is drawn
by inverting its distribution function at uniform numbers, so equal numbers give equal decisions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = 2.0**-54
"""Half a step of the uniform numbers: the normal quantile of 0 is infinite, and 0 may be drawn."""
NODES = 24
"""Of the quadrature in the squashed entropy: within 1e-4 nats for deviations up to 1.5, 0.01 up to 3."""


class Distribution(Protocol):
    """Of decisions, given n rows of a network's numbers."""

    @property
    def uniforms(self) -> int:
        """Random numbers that one decision takes."""

    def logp(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """[n, width], decisions [n] or [n, k] -> [n] natural log, with gradient. The width is its own."""

    def entropy(self, outputs: Tensor) -> Tensor:
        """[n, width] -> [n] nats, with gradient."""

    def draw(self, outputs: Tensor, uniform: Tensor | None) -> Tensor:
        """[n, width], uniform [n, uniforms] float64 in [0, 1) -> decisions; None: the likeliest."""


# ---------------------------------------------------------------- choices


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of several choices. Decisions [n] int64 from 0; the numbers are logits, one for each."""

    @property
    def uniforms(self) -> int:
        return 1

    def logp(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        return outputs.log_softmax(-1).gather(-1, decisions[:, None])[:, 0]

    def entropy(self, outputs: Tensor) -> Tensor:
        every = outputs.log_softmax(-1)
        return -(every.exp() * every).sum(-1)

    def draw(self, outputs: Tensor, uniform: Tensor | None) -> Tensor:
        if uniform is None:
            return outputs.argmax(-1)
        cdf = outputs.log_softmax(-1).double().exp().cumsum(-1)
        # below the sum, which the last choices with any probability reach: the others are never drawn
        below = torch.nextafter(cdf[:, -1:], torch.zeros_like(cdf[:, -1:]))
        return (cdf <= torch.minimum(uniform.reshape(-1, 1) * cdf[:, -1:], below)).sum(-1)


ONE = Categorical()


@dataclass(frozen=True, slots=True)
class Categoricals:
    """Several choices at once of `sizes` each, independent given the observation. Decisions [n, k] int64.

    log p(a) = sum over j of log p_j(a_j)
    """

    sizes: tuple[int, ...]

    @property
    def uniforms(self) -> int:
        return len(self.sizes)

    def logp(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        pairs = zip(outputs.split(self.sizes, -1), decisions.unbind(-1), strict=True)
        return torch.stack([ONE.logp(logits, chosen) for logits, chosen in pairs]).sum(0)

    def entropy(self, outputs: Tensor) -> Tensor:
        return torch.stack([ONE.entropy(logits) for logits in outputs.split(self.sizes, -1)]).sum(0)

    def draw(self, outputs: Tensor, uniform: Tensor | None) -> Tensor:
        columns = [None] * len(self.sizes) if uniform is None else uniform.split(1, -1)
        pairs = zip(outputs.split(self.sizes, -1), columns, strict=True)
        return torch.stack([ONE.draw(logits, column) for logits, column in pairs], -1)


# ---------------------------------------------------------------- real numbers


@dataclass(frozen=True, slots=True)
class Gaussian:
    """k real numbers, independent given the observation. Decisions [n, k]; no bounds.

    The numbers are k means and then k log-deviations. What a world with bounds does to a decision beyond
    them is the world's: the density is of the decision, so ratios are exact.
    """

    size: int

    @property
    def uniforms(self) -> int:
        return self.size

    def logp(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        mean, log_std = outputs.chunk(2, -1)
        apart = (decisions - mean) * (-log_std).exp()
        return (-0.5 * apart**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, outputs: Tensor) -> Tensor:
        """sum of log-deviation + 1/2 log(2 pi e)."""
        return (outputs.chunk(2, -1)[1] + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def draw(self, outputs: Tensor, uniform: Tensor | None) -> Tensor:
        mean, log_std = outputs.chunk(2, -1)
        if uniform is None:
            return mean.clone()
        standard = torch.special.ndtri(uniform.clamp(min=SMALLEST))
        return (mean + log_std.exp() * standard).to(outputs.dtype)


@dataclass(frozen=True, slots=True)
class Squashed:
    """A Gaussian u seen by the world as middle + half tanh(u). Decisions [n, k] are u, not its image.

        log p(a) = log N(u) - sum over j of log half_j + log(1 - tanh(u_j)^2)

    Soft Actor-Critic, arXiv 1801.01290, appendix C. The density is of the action in the world's own units;
    the likeliest decision is taken to be u's mean, whose image is the action's median.
    """

    half: tuple[float, ...]
    """Half the distance between the bounds of each number."""

    @property
    def uniforms(self) -> int:
        return len(self.half)

    @property
    def _log_half(self) -> float:
        return math.fsum(map(math.log, self.half))

    def logp(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        volume = _log_slope(decisions).sum(-1) + self._log_half
        return Gaussian(len(self.half)).logp(outputs, decisions) - volume

    def entropy(self, outputs: Tensor) -> Tensor:
        """H(u) + E[log |da/du|]. There is no closed form: the mean is a Gauss-Hermite quadrature."""
        mean, log_std = outputs.chunk(2, -1)
        nodes, weights = (torch.from_numpy(a).to(outputs) for a in _quadrature())
        spread = mean[..., None] + log_std.exp()[..., None] * nodes
        slopes = (_log_slope(spread) @ weights).sum(-1)
        return Gaussian(len(self.half)).entropy(outputs) + slopes + self._log_half

    def draw(self, outputs: Tensor, uniform: Tensor | None) -> Tensor:
        return Gaussian(len(self.half)).draw(outputs, uniform)


def _log_slope(u: Tensor) -> Tensor:
    """log(1 - tanh(u)^2), exact where the tanh has rounded to 1."""
    return 2 * (math.log(2) - u - functional.softplus(-2 * u))


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a mean over the standard normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return nodes, weights / math.sqrt(2 * math.pi)
