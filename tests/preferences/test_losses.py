"""Likelihoods of preferences: numbers by hand, enumeration of all orders, gradients in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from groupwise.preferences.losses import Order, bradley_terry, of_order, plackett_luce


def log(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


def test_bradley_terry_by_hand() -> None:
    """Odds of 3 to 1 are a chance of 3/4; a margin as large as the lead leaves a half."""
    three, one = log(3, 1)
    assert bradley_terry(three, one).item() == pytest.approx(-math.log(3 / 4))
    assert bradley_terry(one, three).item() == pytest.approx(-math.log(1 / 4))
    assert bradley_terry(three, one, math.log(3)).item() == pytest.approx(math.log(2))


def test_a_large_lead_overflows_nothing() -> None:
    found = bradley_terry(torch.tensor([1e4, -1e4]), torch.zeros(2))
    assert found.tolist() == [0, 1e4]


def test_plackett_luce_by_hand() -> None:
    """Weights 3, 2, 1: the first is drawn with 3/6, the second with 2/3."""
    assert plackett_luce(log(3, 2, 1), (1, 1, 1)).item() == pytest.approx(math.log(3))
    assert plackett_luce(log(1, 2, 3), (1, 1, 1)).item() == pytest.approx(-math.log(1 / 6 * 2 / 5))


def test_tied_answers_are_compared_with_the_worse_ones_alone() -> None:
    """3 and 2 tied above 1: 3/4 and 2/3. Swapping the tied ones changes nothing."""
    assert plackett_luce(log(3, 2, 1), (2, 1)).item() == pytest.approx(-math.log(3 / 4 * 2 / 3))
    assert plackett_luce(log(2, 3, 1), (2, 1)).item() == pytest.approx(-math.log(3 / 4 * 2 / 3))
    assert plackett_luce(log(3, 2, 1), (1, 2)).item() == pytest.approx(-math.log(3 / 6))
    assert plackett_luce(log(3, 2, 1), (3,)).item() == 0


def test_the_chances_of_all_orders_add_up_to_one() -> None:
    scores = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    orders = itertools.permutations(range(5))
    assert sum(math.exp(-plackett_luce(scores[list(o)], (1,) * 5)) for o in orders) == pytest.approx(1)


def test_equal_scores_make_all_orders_alike() -> None:
    assert plackett_luce(torch.full((6,), 2.5), (1,) * 6).item() == pytest.approx(math.log(math.factorial(6)))


def test_a_ranking_of_two_is_a_pair() -> None:
    scores = torch.tensor([0.3, -1.2], dtype=torch.float64)
    torch.testing.assert_close(plackett_luce(scores, (1, 1)), bradley_terry(scores[0], scores[1]))
    torch.testing.assert_close(of_order(scores, Order((1, 1))), plackett_luce(scores, (1, 1)))


def test_at_the_true_scores_the_expected_gradient_is_zero() -> None:
    """Over all orders by their chance: what makes the fitted scores the true ones in the end."""
    scores = torch.tensor([0.5, -0.2, 1.1, 0.0], dtype=torch.float64, requires_grad=True)
    total = torch.zeros(4, dtype=torch.float64)
    for order in itertools.permutations(range(4)):
        loss = plackett_luce(scores[list(order)], (1,) * 4)
        total += torch.autograd.grad(loss, scores)[0] * torch.exp(-loss.detach())
    torch.testing.assert_close(total, torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("blocks", [(1, 1), (1, 1, 1, 1), (2, 2), (1, 3), (2, 1, 1)])
def test_gradients_are_those_of_the_value_and_only_differences_count(blocks: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(sum(blocks), dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: of_order(s, Order(blocks)), scores)
    assert torch.autograd.gradcheck(lambda s: of_order(s, Order(blocks), centring=0.1), scores)
    (gradient,) = torch.autograd.grad(plackett_luce(scores, blocks), scores)
    assert gradient.sum().item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(plackett_luce(scores + 7, blocks), plackett_luce(scores, blocks))


def test_the_margin_of_a_pair_reaches_its_loss() -> None:
    three, one = scores = log(3, 1)
    assert of_order(scores, Order((1, 1), margin=0.5)) == bradley_terry(three, one, 0.5)


def test_centring_takes_the_square_of_the_sum_of_a_pair() -> None:
    scores = torch.tensor([2.0, 1.0], dtype=torch.float64)
    more = of_order(scores, Order((1, 1)), centring=0.1) - of_order(scores, Order((1, 1)))
    assert more.item() == pytest.approx(0.1 * 9)
    three = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    more = of_order(three, Order((1, 1, 1)), centring=0.1) - of_order(three, Order((1, 1, 1)))
    assert more.item() == pytest.approx(0.1 * 4)


def test_pairs_of_a_ranking_leave_out_the_tied_ones() -> None:
    assert Order((1, 2, 1)).pairs == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]
