"""How a step's answers are shared out among its prompts, by what earlier steps taught about them.

Sizes never depend on the answers that they count. Sampling until something good comes, and training on
that, is biased: an answer would decide how many siblings it is compared with (tests/groups/test_bias.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groupwise.groups.beliefs import Belief

Allocate = Callable[[Sequence[Belief], int, int, int], list[int]]
"""(beliefs of a step's prompts, budget, low, high) -> sizes from low to high that sum to the budget."""


class BudgetError(ValueError):
    """A number of answers that the prompts cannot share within their bounds."""


def uniform(beliefs: Sequence[Belief], budget: int, low: int, high: int) -> list[int]:
    """As equal as whole numbers are; the first prompts get what is left over.

    >>> uniform([Belief()] * 3, 10, 2, 8)
    [4, 3, 3]
    """
    return _greedy([lambda n: 0.0] * len(beliefs), budget, low, high)


def by_spread(beliefs: Sequence[Belief], budget: int, low: int, high: int) -> list[int]:
    """Sizes that minimise the sum of spread^2 / size: the variance of a mean over prompts of group means.

    And of its gradient, as far as the length of an answer's own gradient does not depend on its reward.
    Without bounds, size ~ spread (Neyman 1934), so sqrt(p (1 - p)) where rewards are 0 and 1. In VIP, arXiv
    2602.01601, the spread comes from a Gaussian process over prompts, and the fractions are rounded; here
    from `Beliefs`, and the whole numbers are the best there are.
    """
    gains = [_less_variance(belief.spread) for belief in beliefs]
    return _greedy(gains, budget, low, high)


def _less_variance(spread: float) -> Callable[[int], float]:
    return lambda n: spread**2 / (n * (n + 1))


def of_a_hard_prompt(chance: float) -> float:
    """p (1 - p)^2: what one step is expected to add to a prompt's success, more for hard ones."""
    return chance * (1 - chance) ** 2


@dataclass(frozen=True, slots=True)
class knapsack:  # noqa: N801 - reads as the function that it is
    """Sizes that maximise the sum of worth(p) (1 - p^n - (1 - p)^n).  (Knapsack RL, arXiv 2509.25849)

    The bracket is the chance that n answers are not all alike, p that of a success (`Belief.chance`: rewards
    other than 0 and 1 are read as a share of their range). It grows ever more slowly with n, so giving the
    next answer to whoever gains most from it is exactly optimal.
    """

    worth: Callable[[float], float] = of_a_hard_prompt
    """Of a group with a spread, to a prompt with chance p."""

    def __call__(self, beliefs: Sequence[Belief], budget: int, low: int, high: int) -> list[int]:
        return _greedy([self._gain(belief.chance) for belief in beliefs], budget, low, high)

    def _gain(self, p: float) -> Callable[[int], float]:
        worth = self.worth(p)
        return lambda n: worth * (p**n * (1 - p) + (1 - p) ** n * p)


def check(n: int, budget: int, low: int, high: int) -> None:
    """Raises BudgetError where no n sizes from low to high sum to the budget."""
    if not n * low <= budget <= n * high:
        raise BudgetError(
            f"{budget} answers for {n} prompts: with {low} to {high} for each, a step takes {n * low} to "
            f"{n * high}. Change --answers (or --group-size), --prompts, --min-group or --max-group."
        )


def _greedy(gains: Sequence[Callable[[int], float]], budget: int, low: int, high: int) -> list[int]:
    """From `low` for each, the next answer to whoever gains most from one more.

    Exact where gains fall with size. Ties go to the smaller group, then to the first prompt.
    """
    check(len(gains), budget, low, high)
    sizes = [low] * len(gains)
    waiting = [(-gain(low), low, i) for i, gain in enumerate(gains) if low < high]
    heapq.heapify(waiting)
    for _ in range(budget - low * len(gains)):
        _, size, i = heapq.heappop(waiting)
        sizes[i] = size + 1
        if sizes[i] < high:
            heapq.heappush(waiting, (-gains[i](sizes[i]), sizes[i], i))
    return sizes
