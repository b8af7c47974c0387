"""One number for each coordinate, the same for ever, and as good as random."""

from __future__ import annotations

import math

import numpy as np
import pytest

from groupwise.randomness import subseed, uniforms

ZERO = np.array(0)
_MASK = (1 << 64) - 1
GOLDEN = [0.36993889103789035, 0.2191039966223569, 0.11820912128819239]
GOLDEN_SUBSEED = 32114325


def splitmix64(state: int) -> int:
    """The first output of the published generator, in Python's own integers."""
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def by_hand(seed: int, *coordinates: int) -> float:
    state = splitmix64(seed & _MASK)
    for coordinate in coordinates:
        state = splitmix64(state ^ (coordinate & _MASK))
    return (state >> 11) / 2**53


def test_it_is_splitmix64() -> None:
    assert splitmix64(1234567) == 6457827717110365317, "the generator's own first test number"
    coordinates = [(0, 0, 0, 0), (1, 2, 3, 4), (-1, 7, 0, 9), (2**62, 2**40, 5, 2**31), (3, -1, -2, 0)]
    for seed, *rest in coordinates:
        (value,) = uniforms(seed, *(np.array([x]) for x in rest))
        assert value == by_hand(seed, *rest)


def test_the_numbers_never_change_between_versions() -> None:
    """Runs recorded with an older version resume with the same answers."""
    found = uniforms(2026, np.array([0, 1, 1]), np.array([0, 0, 7]), np.array([0, 3, 511]))
    assert found.tolist() == GOLDEN
    assert subseed(2026, 4, 5) == GOLDEN_SUBSEED


def test_the_company_and_its_order_do_not_matter() -> None:
    generator = np.random.default_rng(0)
    ordinal, sample, position = generator.integers(0, 1000, (3, 500))
    together = uniforms(9, ordinal, sample, position)
    order = generator.permutation(500)
    assert (uniforms(9, ordinal[order], sample[order], position[order]) == together[order]).all()
    alone = [uniforms(9, *(x[i : i + 1] for x in (ordinal, sample, position)))[0] for i in range(0, 500, 50)]
    assert alone == together[::50].tolist()
    assert (uniforms(9, ordinal.astype(np.int32), sample, position) == together).all()


def test_shapes_broadcast() -> None:
    grid = uniforms(0, np.arange(3)[:, None], np.arange(4), ZERO)
    assert grid.shape == (3, 4)
    assert grid[2, 3] == uniforms(0, np.array(2), np.array(3), ZERO)


def test_a_million_coordinates_give_a_million_numbers_in_the_interval() -> None:
    """Among them the ones that a sum or an xor of coordinates would confuse: (1, 2), (2, 1), (0, 3)."""
    seeds = [
        uniforms(seed, *np.ogrid[:50, :50, :100]).ravel()  # ordinals, samples, positions
        for seed in (0, 1, 2, 2**40)
    ]
    every = np.concatenate(seeds)
    assert len(every) == 10**6
    assert len(np.unique(every)) == 10**6
    assert every.min() >= 0
    assert every.max() < 1


@pytest.mark.parametrize("axis", ["ordinal", "sample", "position", "seed"])
def test_numbers_are_uniform_along_every_axis(axis: str) -> None:
    """Kolmogorov-Smirnov at 1 in 10 000, and no correlation with the next number."""
    n = 20_000
    if axis == "seed":
        values = np.array([uniforms(s, ZERO, ZERO, ZERO) for s in range(n)]).ravel()
    else:
        named = {"ordinal": ZERO, "sample": ZERO, "position": ZERO, axis: np.arange(n)}
        values = uniforms(0, **named)
    rank = np.arange(n + 1) / n
    ordered = np.sort(values)
    distance = max(np.abs(ordered - rank[:-1]).max(), np.abs(ordered - rank[1:]).max())
    assert distance * math.sqrt(n) < math.sqrt(-0.5 * math.log(1e-4 / 2))
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / math.sqrt(n)


def test_a_subseed_depends_on_each_coordinate_and_their_order() -> None:
    found = [subseed(s, *c) for s in (0, 1) for c in ((), (0,), (1,), (0, 0), (0, 1), (1, 0), (1, 0, 0))]
    assert found[0] == 0
    assert found[7] == 1, "without coordinates it is the seed"
    assert len(set(found)) == len(found)
    assert all(0 <= x < 2**31 for x in found)
