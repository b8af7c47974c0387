"""Selections of decisions over a step, and what becomes of them."""

import math

import pytest
import torch
from torch import Tensor

from decisions import having, value_and_slope
from groupwise import losses
from groupwise.losses import Decisions, clipped

UNIFORM = torch.tensor([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.4, 0.8])


def surveyed(entropy: Tensor) -> Decisions:
    return having(torch.zeros_like(entropy), entropy=entropy)


@pytest.mark.parametrize(
    ("share", "picked"), [(0.2, [1, 6]), (0.25, [1, 6]), (0.01, [6]), (1.0, list(range(8)))]
)
def test_the_forks_are_the_decisions_of_highest_entropy(share: float, picked: list[int]) -> None:
    """ceil(share N), of the step: a threshold within a micro-batch would depend on the cut."""
    entropy = torch.tensor([0.1, 2.0, 0.3, 0.2, 0.0, 0.5, 3.0, 0.4])
    got = losses.top_entropy(share)(surveyed(entropy), UNIFORM)
    assert got.nonzero()[:, 0].tolist() == picked


def test_of_equal_entropies_the_earlier_are_picked_and_no_more_than_the_share() -> None:
    """A threshold by value takes all of them: a deterministic policy would select every decision."""
    got = losses.top_entropy(0.5)(surveyed(torch.zeros(8)), UNIFORM)
    assert got.tolist() == [True] * 4 + [False] * 4


def covarying() -> Decisions:
    """Means 10 and -1: covariances (4, -2, 0, 9, 1.5, 3, 0, -0.5)."""
    advantage = torch.tensor([2.0, -2.0, 1.0, -3.0, 1.0, 1.0, -1.0, 1.0])
    apart = torch.tensor([2.0, 1.0, 0.0, -3.0, 1.5, 3.0, 0.0, -0.5])
    logp = torch.cat([apart, torch.tensor([-4.0])]) - 1
    return having(torch.cat([advantage, torch.tensor([0.0])]) + 10, new_logp=logp)


def test_covariance_is_of_advantage_and_log_prob_about_the_means_of_the_step() -> None:
    want = torch.tensor([4, -2, 0, 9, 1.5, 3, 0, -0.5, 0])
    torch.testing.assert_close(losses.covariance(covarying()), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("share", "picked"), [(2e-4, [3]), (0.25, [0, 3]), (0.4, [0, 3, 5])])
def test_the_largest_covariances_are_picked_at_least_one(share: float, picked: list[int]) -> None:
    got = losses.large_covariance(share)(covarying(), torch.zeros(9))
    assert got.nonzero()[:, 0].tolist() == picked


@pytest.mark.parametrize(("share", "picked"), [(2e-4, [4]), (0.25, [0, 4]), (0.9, [0, 4, 5])])
def test_some_of_those_in_the_band_are_picked_by_their_own_random_number(
    share: float, picked: list[int]
) -> None:
    """In (1, 5) are 0, 4 and 5; 9 is too large. Shares are of all decisions, the band may hold fewer."""
    uniform = torch.tensor([0.5, 0.99, 0.99, 0.99, 0.7, 0.3, 0.99, 0.99, 0.99])
    got = losses.some_covariance(share)(covarying(), uniform)
    assert got.nonzero()[:, 0].tolist() == picked


def test_an_empty_band_picks_nobody() -> None:
    assert not losses.some_covariance(0.9, 100, 200)(covarying(), torch.rand(9)).any()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: losses.top_entropy(0),
        lambda: losses.large_covariance(1.5),
        lambda: losses.some_covariance(0.1, 5, 1),
    ],
)
def test_shares_and_bands_that_cannot_be_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=r"share=|low < high"):
        wrong()


# ---------------------------------------------------------------- what for


@pytest.mark.parametrize(
    ("surrogate", "chosen", "others"),
    [
        (losses.only_selected(clipped()), (1.1, 1.1), (0.0, 0.0)),
        (losses.without_selected(clipped()), (0.0, 0.0), (1.1, 1.1)),
        (losses.penalised_where_selected(clipped(), 2.0), (1.1 - 2 * math.log(1.1), 1.1 - 2), (1.1, 1.1)),
    ],
    ids=["only", "without", "penalised"],
)
def test_the_selected_are_treated_as_the_wrapper_says(
    surrogate: losses.Surrogate, chosen: tuple[float, float], others: tuple[float, float]
) -> None:
    for selected, want in ((True, chosen), (False, others)):
        got = value_and_slope(surrogate, 1.1, 1.0, selected=torch.tensor([selected]))
        assert got == pytest.approx(want, abs=1e-12)


def test_the_penalty_pulls_back_from_both_sides() -> None:
    """|log rho| without a sign would push a decision of ratio below 1 further away."""
    surrogate = losses.penalised_where_selected(losses.plain, 1.0)
    below, above = (value_and_slope(surrogate, r, 0.0, selected=torch.tensor([True]))[1] for r in (0.5, 2.0))
    assert (below, above) == (1.0, -1.0)


def test_a_wrapper_without_a_selection_says_so() -> None:
    with pytest.raises(ValueError, match="pass selected"):
        losses.only_selected(clipped())(torch.zeros(1), having(torch.ones(1)))
