"""Baselines by length, by history and moved on purpose."""

from dataclasses import replace

import pytest
import torch

from answers import answer, f64, group, rewards_of, siblings
from groupwise.advantages import assign, asymmetric, leave_one_out, length_weighted, shrunk
from groupwise.trajectory import Prior


def test_the_length_weighted_baseline_meets_hand_numbers() -> None:
    """Lengths 1 and 3, rewards 1 and 0: b = 1/4. Weighted by answers it would be 1/2."""
    both = siblings(answer(1.0, 1), answer(0.0, 3))
    got = length_weighted(rewards_of(both), both)
    assert got.tolist() == [0.75, -0.25]
    assert torch.dot(got, f64(1, 3)) == 0, "it sums to 0 over decisions"


def test_the_length_weighted_baseline_is_the_mean_at_one_length() -> None:
    same = group(3.0, 1.0, 2.0)
    assert length_weighted(rewards_of(same), same).tolist() == [1.0, -1.0, 0.0]


def test_equals_of_any_lengths_teach_exactly_nothing() -> None:
    same = siblings(answer(0.1 + 0.2, 1), answer(0.3, 5), answer(0.3, 2))
    assert length_weighted(rewards_of(same), same).tolist() == [0.0] * 3
    empty = siblings(answer(1.0, 0), answer(0.0, 0))
    assert length_weighted(rewards_of(empty), empty).tolist() == [0.0] * 2


@pytest.mark.parametrize("scheme", [length_weighted, asymmetric(), shrunk()])
def test_a_lonely_answer_is_an_error(scheme: object) -> None:
    with pytest.raises(ValueError, match="group of 1 has no baseline"):
        scheme(f64(1.0), group(1.0))  # type: ignore[operator]


def test_the_asymmetric_baseline_is_the_mean_and_a_shift() -> None:
    assert asymmetric(-0.1)(f64(1, 0)).tolist() == pytest.approx([0.6, -0.4], abs=1e-15)
    assert asymmetric(0.25)(f64(1, 0)).tolist() == [0.25, -0.75]


def test_an_asymmetric_group_of_equals_still_teaches_the_shift() -> None:
    """Meant: below the mean every answer of the data is learned a little, which is imitation."""
    assert asymmetric(-0.1)(f64(1, 1, 1)).tolist() == pytest.approx([0.1] * 3, abs=1e-15)


# ---------------------------------------------------------------- history


def test_a_prior_draws_the_baseline_towards_itself() -> None:
    """Others of (1, 0, 0): means 0, .5, .5. Two answers worth .5 beside those two: .25, .5, .5."""
    known = replace(group(1.0, 0.0, 0.0), prior=Prior(mean=0.5, count=2))
    assert shrunk()(rewards_of(known), known).tolist() == [0.75, -0.5, -0.5]


def test_without_evidence_it_is_leave_one_out() -> None:
    rewards = f64(1.0, 0.0, 0.3)
    for prior in (None, Prior(0.9, 0)):
        known = replace(group(1.0, 0.0, 0.3), prior=prior)
        assert shrunk()(rewards, known).tolist() == leave_one_out(rewards).tolist()
    assert shrunk(most=0)(rewards, replace(known, prior=Prior(0.9, 50))).tolist() == (
        leave_one_out(rewards).tolist()
    )


def test_a_prior_counts_no_more_than_its_limit() -> None:
    """A thousand old answers would make the baseline a constant of a policy long gone."""
    rewards, base = f64(1.0, 0.0), group(1.0, 0.0)
    limited = shrunk(most=4)(rewards, replace(base, prior=Prior(0.3, 1000)))
    exact = shrunk(most=4)(rewards, replace(base, prior=Prior(0.3, 4)))
    assert limited.tolist() == exact.tolist() == pytest.approx([1 - 1.2 / 5, -2.2 / 5])


def test_equals_teach_against_their_history_and_only_then() -> None:
    same = replace(group(1.0, 1.0), prior=Prior(0.5, 1))
    assert shrunk()(rewards_of(same), same).tolist() == [0.25, 0.25]
    as_ever = replace(group(0.3, 0.1 + 0.2), prior=Prior(0.3, 1))
    assert shrunk()(rewards_of(as_ever), as_ever).tolist() == [0.0, 0.0]


def test_the_prior_reaches_the_scheme_through_assign() -> None:
    """assign rebuilds the group around its scored members; a lost prior would give (.5, -.5)."""
    (got,) = assign([replace(group(1.0, None, 0.0), prior=Prior(0.0, 1))], shrunk())
    assert [t.advantage.tolist()[0] for t in got.trajectories] == [1.0, 0.0, -0.5]  # type: ignore[union-attr]
    assert got.prior == Prior(0.0, 1)


@pytest.mark.parametrize(("mean", "count"), [(float("nan"), 1), (0.5, -1), (0.5, float("inf"))])
def test_a_prior_that_is_no_number_is_refused(mean: float, count: float) -> None:
    with pytest.raises(ValueError, match="count is 0 or more"):
        Prior(mean, count)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="most=-1"):
        shrunk(most=-1)
