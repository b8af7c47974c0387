"""Sizes: exact against all ways to share a budget, and refused where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from groupwise.groups import Belief, BudgetError, by_spread, knapsack, uniform

CHANCES = (0.02, 0.1, 0.3, 0.5, 0.9)


def believed(chances: Sequence[float] = (), spreads: Sequence[float] = ()) -> list[Belief]:
    return [Belief(chance=p) for p in chances] + [Belief(spread=s) for s in spreads]


def shares(n: int, budget: int, low: int, high: int) -> Iterator[tuple[int, ...]]:
    """All of them."""
    if n == 0:
        yield from [()] if budget == 0 else []
        return
    for size in range(low, min(high, budget) + 1):
        yield from ((size, *rest) for rest in shares(n - 1, budget - size, low, high))


def informative(p: float, n: int) -> float:
    return 1 - p**n - (1 - p) ** n


def hard(p: float) -> float:
    return p * (1 - p) ** 2


@pytest.mark.parametrize(
    ("worth", "sizes", "value", "of_equal"),
    [(hard, [4, 15, 10, 7, 4], 0.334802, 0.316664), (lambda p: 1.0, [4, 12, 7, 5, 12], 3.3677, 3.2228)],
)
def test_the_knapsack_finds_the_best_of_all_ways_to_share(
    worth: Callable[[float], float], sizes: list[int], value: float, of_equal: float
) -> None:
    """40 answers, 4 to 32 each: the greedy choice against all 10,626 ways."""

    def total(shared: Sequence[int]) -> float:
        return sum(worth(p) * informative(p, n) for p, n in zip(CHANCES, shared, strict=True))

    got = knapsack(worth)(believed(CHANCES), 40, 4, 32)
    assert got == sizes
    assert total(got) == pytest.approx(value, abs=5e-5)
    assert total([8] * 5) == pytest.approx(of_equal, abs=5e-5)
    assert total(got) == pytest.approx(max(map(total, shares(5, 40, 4, 32))), abs=1e-12)


def test_the_knapsack_prefers_hard_prompts_unless_told_otherwise() -> None:
    assert knapsack()(believed([0.2, 0.8]), 20, 4, 16) == knapsack(hard)(believed([0.2, 0.8]), 20, 4, 16)
    small, large = sorted(knapsack()(believed([0.8, 0.2]), 20, 4, 16))
    assert knapsack()(believed([0.8, 0.2]), 20, 4, 16) == [small, large]
    assert small < large


def test_sizes_follow_the_spread() -> None:
    """Neyman's fractions where they are whole numbers, without bounds in the way."""
    assert by_spread(believed(spreads=[1, 2, 1]), 16, 1, 16) == [4, 8, 4]
    assert by_spread(believed(spreads=[1, 3]), 40, 1, 40) == [10, 30]
    assert by_spread(believed(spreads=[1, 3]), 40, 4, 24) == [16, 24]


@pytest.mark.parametrize("seed", range(8))
def test_sizes_by_spread_have_the_least_variance_there_is(seed: int) -> None:
    """Rounding the fractions would not do: against all ways to share."""
    rng = np.random.default_rng(seed)
    spreads = rng.uniform(0, 1, 4)

    def variance(shared: Sequence[int]) -> float:
        return float(sum(s**2 / n for s, n in zip(spreads, shared, strict=True)))

    got = by_spread(believed(spreads=spreads.tolist()), 26, 3, 12)
    assert variance(got) == pytest.approx(min(map(variance, shares(4, 26, 3, 12))), abs=1e-12)


@pytest.mark.parametrize("allocate", [uniform, by_spread, knapsack()])
def test_sizes_always_sum_to_the_budget_within_their_bounds(allocate: Callable[..., list[int]]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n, low = int(rng.integers(1, 9)), int(rng.integers(2, 5))
        high = low + int(rng.integers(0, 29))
        budget = int(rng.integers(n * low, n * high + 1))
        beliefs = [Belief(spread=s, chance=p) for s, p in rng.uniform(0, 1, (n, 2))]
        beliefs[0] = Belief(spread=0.0, chance=0.0)
        sizes = allocate(beliefs, budget, low, high)
        assert sum(sizes) == budget
        assert min(sizes) >= low
        assert max(sizes) <= high


@pytest.mark.parametrize("allocate", [by_spread, knapsack()])
def test_nothing_known_is_shared_equally(allocate: Callable[..., list[int]]) -> None:
    """Also where all that is known is that no prompt has a spread: ties must not go to the first."""
    assert allocate([Belief()] * 3, 11, 2, 8) == [4, 4, 3]
    assert allocate([Belief(spread=0, chance=0)] * 3, 11, 2, 8) == [4, 4, 3]


@pytest.mark.parametrize("budget", [11, 41])
def test_a_budget_that_cannot_be_shared_is_refused_with_the_numbers(budget: int) -> None:
    with pytest.raises(BudgetError, match=rf"{budget} answers for 3 prompts.*4 to 13.*12 to 39.*--answers"):
        by_spread([Belief()] * 3, budget, 4, 13)
