"""Every trajectory gets its advantages, whatever is missing beside it."""

import math

import pytest
import torch
from torch import Tensor

from answers import answer, group, values
from groupwise.advantages import assign, center, returns_to_go, standardize, whiten
from groupwise.trajectory import Group, Prompt


def test_every_decision_of_a_trajectory_gets_its_advantage() -> None:
    trajectories = (answer(1.0, 3), answer(0.0, 1))
    (got,) = assign([Group(Prompt(0, "?"), trajectories)], center)
    assert [t.advantage.tolist() for t in got.trajectories] == [[0.5, 0.5, 0.5], [-0.5]]  # type: ignore[union-attr]
    assert trajectories[0].advantage is None, "the input is a value and must not change"


@pytest.mark.parametrize("missing", [None, math.nan])
def test_an_unscored_answer_gets_zero_and_does_not_move_the_baseline(missing: float | None) -> None:
    """Counting it as a 0 would give the others (2/3, -1/3)."""
    assert values(assign([group(1.0, missing, 0.0)], center)) == [[0.5, 0.0, -0.5]]


@pytest.mark.parametrize("rewards", [(None, 5.0, None), (None, None), (5.0,), ()])
def test_a_group_with_fewer_than_two_scored_answers_teaches_nothing(rewards: tuple[float | None]) -> None:
    assert values(assign([group(*rewards)], standardize)) == [[0.0] * len(rewards)]


def test_groups_do_not_see_each_other() -> None:
    got = values(assign([group(1.0, 0.0), group(10.0, 0.0, 2.0)], center))
    assert got == [[0.5, -0.5], [6.0, -4.0, -2.0]]


def test_rescale_sees_only_scored_answers_and_returns_them_to_their_places() -> None:
    seen: list[list[float]] = []

    def tenfold(advantage: Tensor, trajectory_id: Tensor, rewards: Tensor) -> Tensor:
        seen.append(rewards.tolist())
        assert trajectory_id.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        return 10 * advantage

    got = values(assign([group(None, 1.0, 0.0), group(3.0, None, 1.0)], center, tenfold))
    assert seen == [[1.0, 0.0, 3.0, 1.0]]
    assert got == [[0.0, 5.0, -5.0], [10.0, 0.0, -10.0]]


@pytest.mark.parametrize("scheme", [center, returns_to_go(baseline=False)])
def test_an_answer_that_was_compared_with_nobody_is_not_whitened(scheme: object) -> None:
    """Its 0 is no return of 0: whitened beside others it would be pushed down for being alone."""
    got = values(assign([group(1.0, 0.0, 1.0), group(1.0, None)], scheme, whiten))  # type: ignore[arg-type]
    assert got[1] == [0.0, 0.0]
    assert got[0] == values(assign([group(1.0, 0.0, 1.0)], scheme, whiten))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        (lambda r, g: r[:2], "gave 2 advantages to 3 scored answers"),
        (lambda r, g: torch.cat([r, r]), "gave 6 advantages to 3 scored answers"),
        (lambda r, g: r[:, None], r"an advantage \[1\] for an answer of 2 decisions: \[\] or \[2\]"),
        (lambda r, g: [torch.ones(3)] * 3, r"an advantage \[3\] for an answer of 2"),
        (lambda r, g: (r - r.mean()) / r.std(), "an advantage of nan for a reward of 1.0: not finite"),
    ],
)
def test_advantages_of_another_number_or_shape_or_not_finite_are_refused(scheme: object, reason: str) -> None:
    """Too many would be dropped in silence, too few end in a StopIteration, NaN in advice on rates."""
    with pytest.raises(ValueError, match=reason):
        assign([group(1.0, 1.0, 1.0)], scheme)  # type: ignore[arg-type]


def test_a_rescaling_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gave \[2\] for 4 decisions"):
        assign([group(1.0, 0.0)], center, lambda advantage, ids, rewards: advantage[:2])
