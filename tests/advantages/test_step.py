"""Changes of scale over a step."""

import pytest
import torch

from answers import answer, f64, group, siblings, values
from groupwise.advantages import (
    EPSILON,
    assign,
    batch_scale,
    center,
    centered_scale,
    over_informative,
    whiten,
)
from groupwise.trajectory import Group

every_rescale = pytest.mark.parametrize(
    "rescale", [batch_scale, centered_scale, whiten, over_informative], ids=lambda f: f.__name__
)


def test_batch_scale_divides_by_the_deviation_of_the_raw_rewards_of_the_step() -> None:
    """Rewards (1,0), (1,1): raw deviation .5, so (1,-1,0,0); the centred one, .41, would give 1.22."""
    got = values(assign([group(1.0, 0.0), group(1.0, 1.0)], center, batch_scale))
    scale = 0.5 / (0.5 + EPSILON)
    assert got[0] == pytest.approx([scale, -scale], rel=1e-6)
    assert got[1] == [0.0, 0.0]


def test_centered_scale_divides_by_the_deviation_within_prompts() -> None:
    """Centred: (.5, -.5, 0, 0), deviation sqrt(1/6) = .408; the raw .5 counts that prompts differ."""
    got = values(assign([group(1.0, 0.0), group(1.0, 1.0)], center, centered_scale))
    assert got[0] == pytest.approx([0.5 / (6**-0.5 + EPSILON), -0.5 / (6**-0.5 + EPSILON)], rel=1e-6)
    assert got[1] == [0.0, 0.0]


def test_centered_scale_counts_an_answer_once_however_long() -> None:
    long, short = answer(1.0, 100), answer(0.0, 1)
    got = values(assign([siblings(long, short)], center, centered_scale))
    assert got == [pytest.approx([0.5**0.5, -(0.5**0.5)], rel=2e-4)]


def test_whiten_counts_every_decision() -> None:
    """Three decisions of .5 and one of -.5: mean .25, deviation .5. Over answers it would be +-.7."""
    cohort = assign([siblings(answer(1.0, 3), answer(0.0, 1))], center, whiten)
    assert values(cohort)[0] == pytest.approx([0.5, -1.5], rel=3e-4)
    flat = torch.cat([torch.from_numpy(t.advantage) for t in cohort[0].trajectories])  # type: ignore[arg-type]
    assert flat.mean().item() == pytest.approx(0, abs=1e-7)
    assert flat.std().item() == pytest.approx(1, rel=3e-4)


def test_whiten_moves_groups_of_equals_off_zero_where_length_goes_with_reward() -> None:
    """Right answers are longer, so the mean over decisions is above 0: equals are pushed down."""
    cohort = [siblings(answer(1.0, 3), answer(0.0, 1)), group(1.0, 1.0)]
    got = values(assign(cohort, center, whiten))
    assert got[1][0] == got[1][1] < -0.1
    assert values(assign(cohort, center, centered_scale))[1] == [0.0, 0.0]


def test_over_informative_averages_over_the_answers_that_teach() -> None:
    """Half of the answers are in groups of equals, so the other half counts twice."""
    got = values(assign([group(1.0, 0.0), group(1.0, 1.0)], center, over_informative))
    assert got == [[1.0, -1.0], [0.0, 0.0]]


def test_over_informative_counts_answers_and_not_decisions() -> None:
    lengths = [siblings(answer(1.0, 9), answer(0.0, 1)), siblings(answer(1.0, 2), answer(1.0, 2))]
    assert values(assign(lengths, center, over_informative)) == [[1.0, -1.0], [0.0, 0.0]]


@every_rescale
@pytest.mark.parametrize("cohort", [[], [group(None, None)], [group(None, 3.0)], [group(2.0, 2.0)]])
def test_a_step_with_nothing_to_scale_stays_at_zero(rescale: object, cohort: list[Group]) -> None:
    got = values(assign(cohort, center, rescale))  # type: ignore[arg-type]
    assert got == [[0.0] * len(g.trajectories) for g in cohort]


def test_whitening_equals_that_differ_by_rounding_is_nothing() -> None:
    """0.1 + 0.2 is not 0.3: divided by its own deviation the difference would be of order one."""
    ids = torch.tensor([0, 1, 1])
    assert whiten(f64(0.3, 0.1 + 0.2, 0.3), ids, f64(1, 1)).tolist() == [0.0] * 3
