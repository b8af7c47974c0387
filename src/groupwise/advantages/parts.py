"""Several rewards, each normalised before they are added."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from groupwise.advantages.outcome import Outcome, standardize
from groupwise.trajectory import Group


@dataclass(frozen=True, slots=True)
class gdpo:  # noqa: N801 - reads as the function that it is
    """sum over parts of weight x (part - mean) / std. The siblings' `parts` -> [G].  (GDPO, 2601.05242)

    Adding before normalising, as GRPO does, makes (0, 1) and (0, 2) the same group; here a sibling that
    wins on two parts stands twice as high. A part that is equal for all adds exactly 0, and one that does
    not apply to an answer (None) is left out of its baseline. The paper then whitens over the batch: that
    is `centered_scale`, since these advantages have mean 0.

    Raises:
        ValueError: the answers have no parts, or a weight names none of them.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    """By name of the part; 1 where none is given. Of a run, where none at all are: the rewards' own."""
    scheme: Outcome = standardize
    """What is done to each part."""

    def __call__(self, rewards: Tensor, group: Group) -> Tensor:
        names = list(dict.fromkeys(name for t in group.trajectories for name in t.parts))
        unknown = sorted(set(self.weights) - set(names))
        if not names or unknown:
            raise ValueError(
                f"gdpo has weights for {unknown} and the answers have the parts {names}: every weight "
                "names a reward, and every answer has one part or more"
            )
        total = torch.zeros_like(rewards)
        for name in names:
            total += self.weights.get(name, 1.0) * self._part(name, rewards, group)
        return total

    def _part(self, name: str, rewards: Tensor, group: Group) -> Tensor:
        values = [t.parts.get(name) for t in group.trajectories]
        known = [i for i, v in enumerate(values) if v is not None and not math.isnan(v)]
        out = torch.zeros_like(rewards)
        if len(known) > 1:
            out[known] = self.scheme(rewards.new_tensor([values[i] for i in known]))
        return out
