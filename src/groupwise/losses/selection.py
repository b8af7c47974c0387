"""Some decisions are not like the others: which ones, over the whole step, and what becomes of them.

A selection is made once a step, before any cut into micro-batches, from log-probs and entropies of the
policy that the step begins with (`Recipe.select`). A wrapper of the surrogate says what it is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.losses.decisions import Decisions
from groupwise.losses.surrogates import Surrogate

Select = Callable[[Decisions, Tensor], Tensor]
"""(the step's decisions with entropy, uniform [N]) -> selected [N] bool; the uniforms are counter-based."""

# ---------------------------------------------------------------- which


@dataclass(frozen=True, slots=True)
class top_entropy:  # noqa: N801 - reads as the function that it is
    """The `share` of decisions with the highest entropy: the forks. (80/20, arXiv 2506.01939)

    ceil(share N) of them. The paper takes them within a micro-batch, here they are the step's.
    """

    share: float = 0.2

    def __post_init__(self) -> None:
        _check_share(self.share)

    def __call__(self, decisions: Decisions, uniform: Tensor) -> Tensor:
        assert decisions.entropy is not None
        return _largest(decisions.entropy, math.ceil(self.share * len(uniform)))


@dataclass(frozen=True, slots=True)
class large_covariance:  # noqa: N801 - reads as the function that it is
    """The `share` of decisions with the largest covariance. (KL-Cov, arXiv 2505.22617)

    Covariance of decision t: (A_t - mean A)(log pi_t - mean log pi), means over the step. What entropy
    loses in a step is about its mean. At least one decision is picked.
    """

    share: float = 2e-4

    def __post_init__(self) -> None:
        _check_share(self.share)

    def __call__(self, decisions: Decisions, uniform: Tensor) -> Tensor:
        return _largest(covariance(decisions), max(1, int(self.share * len(uniform))))


@dataclass(frozen=True, slots=True)
class some_covariance:  # noqa: N801 - reads as the function that it is
    """A random `share` of all decisions, from those with covariance in (low, high). (Clip-Cov, 2505.22617)

    At least one, where there is one in the band.
    """

    share: float = 2e-4
    low: float = 1.0
    high: float = 5.0

    def __post_init__(self) -> None:
        _check_share(self.share)
        if not self.low < self.high:
            raise ValueError(f"covariance between low={self.low} and high={self.high}: low < high")

    def __call__(self, decisions: Decisions, uniform: Tensor) -> Tensor:
        value = covariance(decisions)
        band = (value > self.low) & (value < self.high)
        most = min(max(1, int(self.share * len(uniform))), int(band.sum()))
        return _largest(torch.where(band, uniform, -1.0), most)


def covariance(decisions: Decisions) -> Tensor:
    """(A - mean A)(log pi - mean log pi), [N]."""
    advantage, logp = decisions.advantage, decisions.new_logp.detach()
    return (advantage - advantage.mean()) * (logp - logp.mean())


def _largest(value: Tensor, count: int) -> Tensor:
    chosen = torch.zeros(len(value), dtype=torch.bool, device=value.device)
    chosen[value.sort(descending=True, stable=True).indices[:count]] = True  # ties: the earlier one
    return chosen


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"share={share} of the decisions: above 0 and at most 1")


# ---------------------------------------------------------------- what for


@dataclass(frozen=True, slots=True)
class only_selected:  # noqa: N801 - reads as the function that it is
    """The inner surrogate on the selected decisions, nothing on the others. Weights stay as they are."""

    inner: Surrogate

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        term = self.inner(log_ratio, decisions)
        return torch.where(_selected(decisions), term, torch.zeros_like(term))


@dataclass(frozen=True, slots=True)
class without_selected:  # noqa: N801 - reads as the function that it is
    """The inner surrogate, and no gradient from the selected decisions. (Clip-Cov)"""

    inner: Surrogate

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        term = self.inner(log_ratio, decisions)
        return torch.where(_selected(decisions), torch.zeros_like(term), term)


@dataclass(frozen=True, slots=True)
class penalised_where_selected:  # noqa: N801 - reads as the function that it is
    """The inner surrogate, plus scale |log rho| on the selected decisions. (KL-Cov)

    At rho = 1 the penalty has no slope: it acts from the second epoch on.
    """

    inner: Surrogate
    scale: float = 1.0

    def __call__(self, log_ratio: Tensor, decisions: Decisions) -> Tensor:
        term = self.inner(log_ratio, decisions)
        return torch.where(_selected(decisions), term + self.scale * log_ratio.abs(), term)


WRAPPERS = (only_selected, without_selected, penalised_where_selected)


def _selected(decisions: Decisions) -> Tensor:
    if decisions.selected is None:
        raise ValueError("this surrogate needs to know which decisions are selected: pass selected")
    return decisions.selected
