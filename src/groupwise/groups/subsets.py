"""Training on some of a group's answers: many are cheap to write at once, and dear to learn from.

Each is an advantage made of another: answers left out get 0, and a decision of advantage 0 is not computed
where the recipe has neither a KL nor an entropy term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from groupwise.advantages import Advantage
from groupwise.randomness import uniforms
from groupwise.trajectory import Group

PURPOSE = -2
"""In place of a sample's number: numbers drawn here are no answer's."""

Values = Tensor | Sequence[Tensor]


@dataclass(frozen=True, slots=True)
class extremes:  # noqa: N801 - reads as the function that it is
    """Train on the n answers whose rewards vary most, judged among themselves.  (PODS, arXiv 2504.13818)

    They are the lowest and the highest (see `most_varied`), their baseline is their own, and they count as
    much as the whole group would. That is another objective than the group's: rare outcomes weigh more.
    """

    advantage: Advantage
    n: int

    def __call__(self, rewards: Tensor, group: Group) -> Values:
        if len(rewards) <= self.n:
            return self.advantage(rewards, group)
        kept = most_varied(rewards, self.n)
        siblings = replace(group, trajectories=tuple(group.trajectories[i] for i in kept))
        values = dict(zip(kept, self.advantage(rewards[kept], siblings), strict=True))
        share = len(rewards) / self.n
        return [share * values.get(i, rewards.new_zeros(())) for i in range(len(rewards))]


@dataclass(frozen=True, slots=True)
class top:  # noqa: N801 - reads as the function that it is
    """Keep the n largest |advantages| and drop the others.  (CPPO, arXiv 2503.22342)

    Biased: what is left no longer sums to 0 over the group. `drawn` is the form without bias.
    """

    advantage: Advantage
    n: int

    def __call__(self, rewards: Tensor, group: Group) -> Values:
        values = self.advantage(rewards, group)
        order = torch.argsort(_sizes(values), descending=True, stable=True)
        kept = set(order[: self.n].tolist())
        return [value * float(i in kept) for i, value in enumerate(values)]


@dataclass(frozen=True, slots=True)
class drawn:  # noqa: N801 - reads as the function that it is
    """Keep an answer with probability ~ |advantage|, n of them on average, and divide by it.

    Unbiased: the mean over the draws is the whole group's gradient (the idea of DPPO, arXiv 2603.04135; the
    probabilities are our own choice). Every answer is drawn by a number of its own, so how many are kept
    varies from group to group.
    """

    advantage: Advantage
    n: int
    seed: int

    def __call__(self, rewards: Tensor, group: Group) -> Values:
        values = self.advantage(rewards, group)
        keep = keeping(_sizes(values), self.n)
        places = np.arange(len(rewards))
        ordinal, purpose = np.full_like(places, group.prompt.ordinal), np.full_like(places, PURPOSE)
        chosen = torch.from_numpy(uniforms(self.seed, ordinal, purpose, places)).to(keep) < keep
        scale = torch.where(chosen, 1 / keep.clamp(min=1e-300), torch.zeros_like(keep))
        return [value * factor for value, factor in zip(values, scale, strict=True)]


def most_varied(rewards: Tensor, n: int) -> list[int]:
    """The n places whose rewards have the largest variance, rising. O(G log G).

    They are the k lowest and the n - k highest for some k (arXiv 2504.13818): all k are tried.

    >>> most_varied(torch.tensor([0.4, 1.0, 0.5, 0.0, 0.9]), 3)
    [1, 3, 4]
    """
    order = torch.argsort(rewards, stable=True)
    x = (rewards - rewards.mean())[order].double()
    sums = torch.stack([x, x * x]).cumsum(1)
    sums = torch.cat([sums.new_zeros(2, 1), sums], 1)  # [2, G + 1]: of the first so many
    k = torch.arange(n + 1)
    total, squares = sums[:, k] + sums[:, -1:] - sums[:, len(x) - n + k]
    best = int(torch.argmax(squares - total**2 / n))
    return sorted([*order[:best].tolist(), *order[len(x) - n + best :].tolist()])


def keeping(sizes: Tensor, n: int) -> Tensor:
    """Probabilities min(1, c |A|) that sum to n (to the number of answers other than 0, if that is less).

    >>> keeping(torch.tensor([3.0, 1.0, 1.0, 0.0]), 2)
    tensor([1.0000, 0.5000, 0.5000, 0.0000])
    """
    keep = torch.zeros_like(sizes)
    order = torch.argsort(sizes, descending=True, stable=True).tolist()
    for done, i in enumerate(order):
        rest = float(sizes[order[done:]].sum())
        if not rest or n <= done:
            break
        if (n - done) * float(sizes[i]) < rest:  # nobody left would pass 1
            keep[order[done:]] = (n - done) * sizes[order[done:]] / rest
            break
        keep[i] = 1.0
    return keep


def _sizes(values: Values) -> Tensor:
    return torch.stack([value.abs().mean() for value in values])
