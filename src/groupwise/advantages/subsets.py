"""Advantages for the best of k answers: averages over all k-subsets of a group, in closed form.

Of rewards in rising order, g_1 <= ... <= g_n, subset sums need only ranks: the j-th is the largest of
C(j-1, k-1) subsets. Rewards need not be binary; for binary ones the best of k is pass@k.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import torch
from torch import Tensor

from groupwise.advantages.outcome import is_flat, needs_siblings
from groupwise.trajectory import Group


@dataclass(frozen=True, slots=True)
class pass_at:  # noqa: N801 - reads as the function that it is
    """(mean of max over the k-subsets with answer i - mean of all) / their deviation. rewards [G] -> [G].

    Pass@k training, arXiv 2508.10751, whose analytic form for n answers with w wrong ones this equals:
    R = 1 - C(w, k) / C(n, k), sigma = sqrt(R (1 - R)), A+ = (1 - R) / sigma and
    A- = (1 - R - C(w-1, k-1) / C(n-1, k-1)) / sigma. The paper defines it for binary rewards only.
    Exactly 0 where all subsets have one maximum: fewer than k wrong answers teach nothing.

    Raises:
        ValueError: k scored answers or fewer, which have at most one subset to compare.
    """

    k: int

    def __post_init__(self) -> None:
        _needs_two(self.k)

    def __call__(self, rewards: Tensor, group: Group | None = None) -> Tensor:
        n, k = _enough(rewards, self.k, least=self.k + 1), self.k
        ordered, rank = _ranked(rewards)
        if is_flat(ordered[k - 1 :]):
            return torch.zeros_like(rewards)
        chance = _shares(rewards, [comb(j, k - 1) for j in range(n)], comb(n, k))
        mean = torch.dot(chance, ordered)
        deviation = torch.dot(chance, (ordered - mean) ** 2).sqrt()
        first = _shares(rewards, [comb(j, k - 1) for j in range(n)], comb(n - 1, k - 1))
        above = _shares(rewards, [comb(j - 1, k - 2) if j else 0 for j in range(n)], comb(n - 1, k - 1))
        larger = above * ordered  # [n]: what each adds to the means of those below it
        with_i = first * ordered + larger.sum() - larger.cumsum(0)
        return ((with_i - mean) / deviation)[rank]


@dataclass(frozen=True, slots=True)
class pkpo:  # noqa: N801 - reads as the function that it is
    """How much answer i adds to the best of k, over all k-subsets with it. rewards [G] -> [G], all >= 0.

        A_i = n / C(n, k) * sum over subsets I with i of (max of I - max of I without i)

    PKPO, arXiv 2505.15201, with its least noisy baseline ("loo minus one"): the expected gradient,
    averaged over the group, is exactly that of E[max of k answers]. The paper sums over the group where we
    average, hence the n. It does not sum to 0; groups of equals are exactly 0.

    Raises:
        ValueError: fewer than k scored answers.

    >>> pkpo(2)(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([2., 0., 0., 0.])
    """

    k: int

    def __post_init__(self) -> None:
        _needs_two(self.k)

    def __call__(self, rewards: Tensor, group: Group | None = None) -> Tensor:
        n, k = _enough(rewards, self.k, least=self.k), self.k
        if is_flat(rewards):
            return torch.zeros_like(rewards)
        ordered, rank = _ranked(rewards)
        second = _shares(rewards, [comb(j, k - 2) for j in range(n)], comb(n, k))
        below = second.cumsum(0) * ordered - (second * ordered).cumsum(0)
        return (n * below)[rank]


def _ranked(rewards: Tensor) -> tuple[Tensor, Tensor]:
    """Rewards in rising order, and the place of each answer in it."""
    ordered, order = rewards.sort()
    return ordered, order.argsort()


def _shares(like: Tensor, counts: list[int], total: int) -> Tensor:
    """Exact integers divided once: C(n, k) is beyond floating point long before its ratios are."""
    return like.new_tensor([count / total for count in counts])


def _needs_two(k: int) -> None:
    if k < 2:
        raise ValueError(f"k={k}: the best of k answers needs k of 2 or more; for 1 use leave_one_out")


def _enough(rewards: Tensor, k: int, least: int) -> int:
    needs_siblings(rewards)
    if len(rewards) < least:
        raise ValueError(
            f"{len(rewards)} scored answers say nothing about the best of {k}: lower k, or raise the group "
            f"size until every group has {least} scored answers"
        )
    return len(rewards)
