"""Training on a part of a group: which part, how it is judged, and what it does to the gradient."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from coin_groups import group
from groupwise.advantages import assign, leave_one_out, standardize
from groupwise.groups.subsets import drawn, extremes, keeping, most_varied, top
from groupwise.trajectory import Group


def values_of(advantage: Any, rewards: list[float], ordinal: int = 0) -> list[float]:
    """As training assigns them: one decision an answer."""
    [one] = assign([group(rewards, ordinal=ordinal)], advantage)
    return [float(t.advantage[0]) for t in one.trajectories if t.advantage is not None]


@pytest.mark.parametrize("seed", range(20))
def test_the_most_varied_subset_is_the_best_of_all(seed: int) -> None:
    """Against all subsets; rewards with many ties, with none, and all far from 0."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(3, 10)), 0
    m = int(rng.integers(2, n + 1))
    made = [rng.normal(size=n), rng.integers(0, 2, n), 1e4 + rng.integers(0, 4, n)][seed % 3]
    rewards = torch.tensor(made, dtype=torch.float64)
    kept = most_varied(rewards, m)
    assert len(set(kept)) == m
    best = max(float(rewards[list(c)].var()) for c in combinations(range(n), m))
    assert float(rewards[kept].var()) == pytest.approx(best, abs=1e-9)


def test_two_right_answers_of_eight_are_kept_with_two_wrong_ones() -> None:
    rewards = torch.tensor([0.0, 1, 0, 0, 0, 1, 0, 0])
    assert sorted(rewards[most_varied(rewards, 4)].tolist()) == [0, 0, 1, 1]


def test_the_extremes_are_judged_among_themselves_and_count_as_the_whole_group() -> None:
    """2 right and 2 wrong of 8: a baseline of one half, and twice the weight of an answer of 8."""
    got = values_of(extremes(leave_one_out, 4), [0.0, 1, 0, 0, 0, 1, 0, 0])
    among = (4 / 3) * 0.5 * 2
    assert sorted(got) == pytest.approx([-among] * 2 + [0.0] * 4 + [among] * 2)
    assert [got[1], got[5]] == pytest.approx([among] * 2)
    assert values_of(extremes(leave_one_out, 9), [0.0, 1]) == values_of(leave_one_out, [0.0, 1])
    assert values_of(extremes(standardize, 2), [1.0] * 5) == [0.0] * 5


def test_the_top_keeps_the_largest_whatever_their_sign() -> None:
    rewards = [0.0, 0.0, 0.0, 3.0, 1.0]
    whole = values_of(leave_one_out, rewards)
    kept = values_of(top(leave_one_out, 2), rewards)
    assert kept == pytest.approx([whole[0], 0, 0, whole[3], 0])


def test_advantages_of_single_decisions_are_kept_or_dropped_together() -> None:
    def step_by_step(rewards: Tensor, siblings: Group) -> list[Tensor]:
        return [torch.tensor([r]) - rewards.mean() for r in rewards]

    for subset in (extremes(step_by_step, 2), top(step_by_step, 2), drawn(step_by_step, 2, 0)):
        assert len(values_of(subset, [0.0, 1.0, 5.0])) == 3


@pytest.mark.parametrize("seed", range(10))
def test_probabilities_sum_to_the_number_asked_for(seed: int) -> None:
    """None above 1, none for an advantage of 0, and below 1 all in one proportion."""
    rng = np.random.default_rng(seed)
    sizes = torch.tensor(rng.exponential(size=9) ** 3)
    sizes[:2] = 0
    for n in range(1, 9):
        keep = keeping(sizes, n)
        assert float(keep.sum()) == pytest.approx(min(n, 7))
        assert float(keep.max()) <= 1 + 1e-12
        assert keep[:2].tolist() == [0, 0]
        below = (keep < 1 - 1e-9) & (keep > 0)
        if below.any():
            ratio = keep[below] / sizes[below]
            assert float(ratio.max() / ratio.min()) == pytest.approx(1)
            assert (sizes[keep >= 1 - 1e-9] * ratio[0] >= 1 - 1e-9).all()


def test_drawn_answers_are_unbiased() -> None:
    """The mean over many prompts' draws is the whole group's advantage; about n are kept."""
    rewards = [0.0, 1.0, 0.2, 0.4, 3.0, 0.0]
    whole = np.array(values_of(leave_one_out, rewards))
    found = np.array([values_of(drawn(leave_one_out, 3, seed=1), rewards, i) for i in range(1000)])
    error = found.std(0) / np.sqrt(len(found)) + 1e-7
    assert (np.abs(found.mean(0) - whole) < 4 * error).all()
    kept = (found != 0).sum(1)
    assert kept.mean() == pytest.approx(3, abs=0.12)
    assert kept.min() < 3 < kept.max()


def test_a_draw_is_a_function_of_seed_and_prompt() -> None:
    """Or a resumed run would train on other answers."""
    rewards = [0.0, 1.0, 0.2, 0.4, 3.0, 0.1]
    draws = [values_of(drawn(leave_one_out, 2, seed), rewards, i) for seed in (0, 1) for i in range(5)]
    assert draws == [
        values_of(drawn(leave_one_out, 2, seed), rewards, i) for seed in (0, 1) for i in range(5)
    ]
    assert len({tuple(d) for d in draws}) > 4


def test_the_most_varied_subset_takes_no_time_on_many_answers() -> None:
    """All pairs of 20,000 answers would take minutes."""
    rewards = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    assert len(most_varied(rewards, 5_000)) == 5_000
