"""Several rewards, normalised apart."""

import math

import pytest

from answers import answer, f64, rewards_of, siblings
from groupwise.advantages import assign, center, centered_scale, gdpo, standardize, standardized
from groupwise.trajectory import Group

EXACT = standardized(epsilon=0.0)
HALF = math.sqrt(0.5)


def of(*parts: dict[str, float | None]) -> Group:
    """Siblings whose reward is the sum of their parts."""
    return siblings(*(answer(sum(v or 0 for v in p.values()), **p) for p in parts))


def test_winning_on_two_parts_counts_twice() -> None:
    """Sums (0, 1) and (0, 2) are one group to GRPO: (-.7071, .7071) both."""
    one = of({"a": 0, "b": 0}, {"a": 1, "b": 0})
    two = of({"a": 0, "b": 0}, {"a": 1, "b": 1})
    assert EXACT(rewards_of(one)).tolist() == EXACT(rewards_of(two)).tolist()
    scheme = gdpo(scheme=EXACT)
    assert scheme(rewards_of(one), one).tolist() == pytest.approx([-HALF, HALF])
    assert scheme(rewards_of(two), two).tolist() == pytest.approx([-2 * HALF, 2 * HALF])


def test_weights_count_after_the_normalisation_and_units_do_not() -> None:
    """A part in thousands outweighs all others when it is added before it is normalised."""
    group = of({"a": 0, "b": 5000.0}, {"a": 1, "b": 1000.0})
    assert gdpo({"b": 0.25}, EXACT)(rewards_of(group), group).tolist() == pytest.approx(
        [-0.75 * HALF, 0.75 * HALF]
    )


def test_a_saturated_part_adds_exactly_nothing() -> None:
    group = of({"a": 0.0, "b": 0.1 + 0.2}, {"a": 1.0, "b": 0.3})
    alone = of({"a": 0.0}, {"a": 1.0})
    assert gdpo()(rewards_of(group), group).tolist() == gdpo()(rewards_of(alone), alone).tolist()


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_part_that_does_not_apply_is_left_out_of_its_baseline(missing: float | None) -> None:
    """As a 0 it would drag b's mean to 2/3 and be punished for a question not asked of it."""
    group = of({"a": 0, "b": 1}, {"a": 0, "b": missing}, {"a": 0, "b": 3})
    assert gdpo(scheme=center)(rewards_of(group), group).tolist() == [-1.0, 0.0, 1.0]


def test_a_part_of_one_answer_has_no_baseline_and_adds_nothing() -> None:
    group = of({"a": 1, "b": None}, {"a": 0, "b": 5})
    assert gdpo(scheme=center)(rewards_of(group), group).tolist() == [0.5, -0.5]


def test_one_part_is_grpo() -> None:
    group = of({"a": 0.3}, {"a": 2.0}, {"a": -1.0})
    assert gdpo()(rewards_of(group), group).tolist() == standardize(f64(0.3, 2.0, -1.0)).tolist()


def test_over_a_step_the_scale_is_one_and_equals_stay_at_zero() -> None:
    cohort = [of({"a": 0, "b": 0}, {"a": 1, "b": 1}), of({"a": 1, "b": 1}, {"a": 1, "b": 1})]
    got = assign(cohort, gdpo(), centered_scale)
    first, second = ([float(t.advantage[0]) for t in g.trajectories] for g in got)  # type: ignore[index]
    assert first == pytest.approx([-math.sqrt(1.5), math.sqrt(1.5)], rel=2e-4)
    assert second == [0.0, 0.0]


def test_a_weight_for_no_part_and_answers_without_parts_are_refused() -> None:
    """A misspelt weight would silently leave its part at 1."""
    group = of({"accuracy": 0}, {"accuracy": 1})
    with pytest.raises(ValueError, match=r"weights for \['acuracy'\].*parts \['accuracy'\]"):
        gdpo({"acuracy": 0.5})(rewards_of(group), group)
    bare = siblings(answer(1.0), answer(0.0))
    with pytest.raises(ValueError, match="every answer has one part or more"):
        gdpo()(rewards_of(bare), bare)
