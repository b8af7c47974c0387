"""The best of k, against every subset written out."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from answers import f64
from groupwise.advantages import pass_at, pkpo

MIXED = [f64(0.3, -2.0, 5.5, 0.1, 0.1, 7.25), f64(1, 0, 0, 1, 1, 0), f64(2, 2, 2, 2, 2, 3)]
sizes = pytest.mark.parametrize("k", [2, 3, 4, 5])
mixed = pytest.mark.parametrize("rewards", MIXED, ids=["real", "binary", "one above"])


def pass_at_by_hand(rewards: Tensor, k: int) -> Tensor:
    subsets = list(itertools.combinations(range(len(rewards)), k))
    best = torch.stack([rewards[list(s)].max() for s in subsets])
    with_i = [[b for s, b in zip(subsets, best, strict=True) if i in s] for i in range(len(rewards))]
    means = torch.stack([torch.stack(members).mean() for members in with_i])
    return (means - best.mean()) / best.std(correction=0)


def pkpo_by_hand(rewards: Tensor, k: int) -> Tensor:
    n = len(rewards)
    gains = torch.zeros(n, dtype=torch.float64)
    for subset in itertools.combinations(range(n), k):
        for i in subset:
            gains[i] += rewards[list(subset)].max() - rewards[[j for j in subset if j != i]].max()
    return n * gains / math.comb(n, k)


@mixed
@sizes
def test_pass_at_is_the_mean_over_all_subsets(rewards: Tensor, k: int) -> None:
    """Where every subset has the same best the deviation is 0, and so are the advantages."""
    want = pass_at_by_hand(rewards, k).nan_to_num(0.0)
    torch.testing.assert_close(pass_at(k)(rewards), want, rtol=0, atol=1e-12)


def test_fewer_than_k_wrong_answers_teach_nothing() -> None:
    assert pass_at(4)(f64(1, 1, 0, 0, 0)).tolist() == [0.0] * 5
    assert pass_at(3)(f64(1, 1, 0, 0, 0)).tolist() != [0.0] * 5


@mixed
@sizes
def test_pkpo_is_the_mean_over_all_subsets(rewards: Tensor, k: int) -> None:
    torch.testing.assert_close(pkpo(k)(rewards), pkpo_by_hand(rewards, k), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("right", "up", "down"), [(1, 1.0, -1 / 7), (2, 0.5222330, -0.1740777)], ids=["1 right", "2 right"]
)
def test_pass_at_four_of_eight_meets_the_papers_numbers(right: int, up: float, down: float) -> None:
    got = pass_at(4)(f64(*[1] * right, *[0] * (8 - right)))
    assert got[0].item() == pytest.approx(up, abs=5e-8)
    assert got[-1].item() == pytest.approx(down, abs=5e-8)


def test_pass_at_meets_the_papers_closed_form_at_every_count() -> None:
    n, k = 16, 4
    for wrong in range(k, n):
        hit = 1 - math.comb(wrong, k) / math.comb(n, k)
        sigma = math.sqrt(hit * (1 - hit))
        down = (1 - hit - math.comb(wrong - 1, k - 1) / math.comb(n - 1, k - 1)) / sigma
        got = pass_at(k)(f64(*[0] * wrong, *[1] * (n - wrong)))
        assert got[0].item() == pytest.approx(down, abs=1e-12)
        assert got[-1].item() == pytest.approx((1 - hit) / sigma, abs=1e-12)


@pytest.mark.parametrize("scheme", [pass_at(3), pkpo(3)], ids=["pass_at", "pkpo"])
@pytest.mark.parametrize("rewards", [[0.0] * 4, [1.0] * 4, [0.1 + 0.2, 0.3, 0.3, 0.3]])
def test_equals_teach_exactly_nothing(scheme: pass_at | pkpo, rewards: list[float]) -> None:
    assert scheme(f64(*rewards)).tolist() == [0.0] * 4


@pytest.mark.parametrize("scheme", [pass_at(3), pkpo(3)], ids=["pass_at", "pkpo"])
def test_a_constant_more_changes_nothing_and_order_does_not_matter(scheme: pass_at | pkpo) -> None:
    rewards = MIXED[0]
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(scheme(rewards + 100), scheme(rewards), rtol=0, atol=1e-11)
    torch.testing.assert_close(scheme(rewards[order]), scheme(rewards)[order], rtol=0, atol=1e-13)
    got = scheme(rewards)
    assert got[3].item() == pytest.approx(got[4].item(), abs=1e-14), "ties have one advantage"


def test_pass_at_sums_to_zero_and_pkpo_does_not() -> None:
    """Every subset counts k times in both sums; pkpo is a gain, never negative."""
    assert abs(pass_at(3)(MIXED[0]).sum().item()) < 1e-12
    assert (pkpo(3)(MIXED[0]) >= 0).all()
    assert pkpo(3)(MIXED[0]).sum() > 1


def test_large_groups_do_not_overflow() -> None:
    """C(2000, 500) has 485 digits; the ratios are ordinary numbers."""
    rewards = torch.zeros(2000, dtype=torch.float64)
    rewards[:3] = 1
    for scheme in (pass_at(500), pkpo(500)):
        got = scheme(rewards)
        assert torch.isfinite(got).all()
        assert got[0] > 0


@pytest.mark.parametrize("scheme", [pass_at, pkpo])
def test_a_k_that_the_group_cannot_tell_is_refused(scheme: type[pass_at] | type[pkpo]) -> None:
    with pytest.raises(ValueError, match="k=1: the best of k"):
        scheme(1)
    with pytest.raises(ValueError, match="3 scored answers say nothing about the best of 4"):
        scheme(4)(f64(1, 0, 0))


def test_pass_at_needs_two_subsets_to_compare() -> None:
    """With exactly k answers every advantage would be 0 for ever; a gain can still be told."""
    with pytest.raises(ValueError, match="until every group has 5 scored answers"):
        pass_at(4)(f64(1, 0, 0, 0))
    assert pkpo(4)(f64(1, 0, 0, 0)).tolist() == [4, 0, 0, 0]
