"""Weightings against hand numbers."""

import pytest
import torch

from decisions import having
from groupwise import losses
from groupwise.losses import (
    constant,
    per_token_mean,
    per_trajectory,
    per_trajectory_mean,
)

T26 = torch.tensor([0] * 2 + [1] * 6)
FIRST_ONLY = (T26 == 0).to(torch.float64)


@pytest.mark.parametrize(
    ("weigh", "of_ones", "of_first"),
    [(per_trajectory_mean, 1.0, 0.5), (per_token_mean, 1.0, 0.25), (constant(10), 0.4, 0.1)],
)
def test_weightings_of_lengths_2_and_6_meet_the_table(
    weigh: losses.Weigh, of_ones: float, of_first: float
) -> None:
    assert weigh(T26, T26).sum().item() == pytest.approx(of_ones, abs=1e-12)
    assert torch.dot(weigh(T26, T26), FIRST_ONLY).item() == pytest.approx(of_first, abs=1e-12)


@pytest.mark.parametrize("ids", [[3, 3, 900, 900, 900], [9, 9, 1, 1, 1], [4, 7, 4, 7, 7], [-5, 2, -5, 2, 2]])
@pytest.mark.parametrize("weigh", [per_trajectory_mean, per_token_mean, constant(10)])
def test_weights_depend_on_which_ids_are_equal_and_on_nothing_else(
    weigh: losses.Weigh, ids: list[int]
) -> None:
    got = weigh(torch.tensor(ids), torch.tensor(ids))
    first = torch.tensor(ids) == ids[0]
    dense = weigh(torch.tensor([0, 0, 1, 1, 1]), torch.zeros(5, dtype=torch.int64))
    torch.testing.assert_close(got[first], dense[:2], rtol=1e-12, atol=0)
    torch.testing.assert_close(got[~first], dense[2:], rtol=1e-12, atol=0)


@pytest.mark.parametrize("ids", [[3, 3, 900, 900, 900], [9, 9, 1, 1, 1], [4, 7, 4, 7, 7], [-5, 2, -5, 2, 2]])
def test_the_trajectory_ratio_depends_on_which_ids_are_equal_and_on_nothing_else(ids: list[int]) -> None:
    """Sizing the sums by the last id, not the largest, is out of range when ids fall."""
    log_ratio, index = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]), torch.tensor(ids)
    by_hand = torch.stack([log_ratio[index == i].mean() for i in index])
    torch.testing.assert_close(
        per_trajectory(log_ratio, having(log_ratio, index)), by_hand, rtol=1e-12, atol=0
    )


def test_no_decisions_have_no_weights_and_no_ratios() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    for weigh in (per_trajectory_mean, per_token_mean, constant(10)):
        assert weigh(none, none).shape == (0,)
    assert per_trajectory(torch.zeros(0), having(torch.zeros(0), none)).shape == (0,)


def test_by_length_a_trajectory_counts_as_many_times_as_it_has_decisions() -> None:
    assert losses.per_trajectory_total(T26, T26).sum().item() == pytest.approx(4)
    assert torch.dot(losses.per_trajectory_total(T26, T26), FIRST_ONLY).item() == pytest.approx(1)


# three groups: two answers of lengths (2, 1), one of 3, one of 2
IDS = torch.tensor([0, 0, 1, 2, 2, 2, 3, 3])
GROUPS = torch.tensor([5, 5, 5, 8, 8, 8, 9, 9])


@pytest.mark.parametrize(
    ("inner", "thirds"),
    [
        (per_trajectory_mean, [1 / 4, 1 / 4, 1 / 2, 1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2]),
        (per_token_mean, [1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2]),
        (constant(4), [1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 1 / 4]),
    ],
)
def test_each_group_counts_alike_however_many_answers_it_has(
    inner: losses.Weigh, thirds: list[float]
) -> None:
    got = losses.each_group_alike(inner)(IDS, GROUPS)
    assert got.tolist() == pytest.approx([x / 3 for x in thirds], rel=1e-6)


@pytest.mark.parametrize("inner", [per_trajectory_mean, per_token_mean, constant(4)])
def test_copies_of_a_groups_answers_change_nothing(inner: losses.Weigh) -> None:
    """A mean over all answers would weigh a prompt of 32 answers eight times as much as one of 4."""
    weigh, term = losses.each_group_alike(inner), torch.linspace(-1, 2, 8)
    copies = [0, 1, 2] * 7 + [3, 4, 5, 6, 7]
    ids = torch.tensor([10 + 2 * c + (i == 2) for c in range(7) for i in (0, 1, 2)] + [100] * 3 + [101] * 2)
    once = torch.dot(weigh(IDS, GROUPS), term)
    again = torch.dot(weigh(ids, GROUPS[copies]), term[copies])
    assert again.item() == pytest.approx(once.item(), rel=1e-12)
    plainly = torch.dot(inner(ids, GROUPS[copies]), term[copies])
    assert plainly.item() != pytest.approx(torch.dot(inner(IDS, GROUPS), term).item(), rel=1e-2)


def test_a_constant_length_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        constant(0)
