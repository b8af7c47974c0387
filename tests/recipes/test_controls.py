"""Controls: scales that seek a divergence or an entropy, by hand."""

from dataclasses import replace

import pytest

from groupwise.recipes import DAPO, GRPO, RECIPES, AdaptiveKL, EntropyTarget, Refresh, adapted, scaled


@pytest.mark.parametrize(
    ("measured", "factor"), [(6.0, 1.0), (6.6, 1.01), (5.4, 0.99), (60.0, 1.02), (0.0, 0.98), (7.2, 1.02)]
)
def test_the_kl_scale_moves_by_the_relative_error_and_at_most_a_fifth_of_it(
    measured: float, factor: float
) -> None:
    """Ziegler's K = 0.1 is a horizon of 10: the error is clipped to 0.2, not the change."""
    assert AdaptiveKL(6.0, 10)(0.3, measured) == pytest.approx((0.3 * factor, 0.3 * factor), rel=1e-12)


@pytest.mark.parametrize(
    ("scale", "measured", "kept", "used"),
    [
        (0.0, 0.1, 0.005, 0.005),
        (0.1, 0.1, 0.105, 0.105),
        (0.1, 0.5, 0.095, 0.0),
        (0.1, 0.2, 0.095, 0.095),
        (0.002, 0.5, 0.0, 0.0),
        (0.999, 0.1, 1.0, 1.0),
    ],
)
def test_the_entropy_bonus_grows_below_its_target_and_is_off_above(
    scale: float, measured: float, kept: float, used: float
) -> None:
    """Kept and used differ above the target: a bonus that only decayed would act for hundreds of steps."""
    assert EntropyTarget(0.2, 0.005)(scale, measured) == pytest.approx((kept, used), abs=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: AdaptiveKL(0.0),
        lambda: AdaptiveKL(1.0, 0.5),
        lambda: EntropyTarget(0.0),
        lambda: EntropyTarget(0.2, 0.1, 0.05),
        lambda: Refresh(0),
        lambda: Refresh(1, 0.0),
        lambda: Refresh(1, 1.1),
    ],
)
def test_controls_that_control_nothing_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=r"target|every is 1 step"):
        wrong()


def test_scales_begin_at_the_recipes_own_and_go_on_from_what_was_kept() -> None:
    recipe = replace(GRPO, kl_control=AdaptiveKL(1.0, 1), entropy_control=EntropyTarget(), entropy_scale=0.1)
    assert scaled(recipe, {}) is recipe
    one = adapted(recipe, {}, {"kl": 2.0, "entropy": 0.5})
    assert one == {"kl_scale": pytest.approx((0.048,) * 2), "entropy_scale": pytest.approx((0.095, 0.0))}
    now = scaled(recipe, one)
    assert (now.kl_scale, now.entropy_scale) == pytest.approx((0.048, 0))
    two = adapted(now, one, {"kl": 1.0, "entropy": 0.1})
    assert two["entropy_scale"] == pytest.approx((0.1, 0.1)), "from what was kept, not from what was used"
    assert adapted(DAPO, {}, {}) == {}


def test_the_kl_control_moves_the_scale_of_the_reward_too() -> None:
    recipe = replace(RECIPES["rloo_kl"], kl_control=AdaptiveKL(1.0, 1))
    assert scaled(recipe, adapted(recipe, {}, {"kl": 9.0})).reward_kl == pytest.approx(0.036)


def test_a_control_may_turn_the_divergence_off_for_a_step_and_on_again() -> None:
    """A scale of 0 in use is not the end of the control: it goes on from what was kept."""

    def off_below_one(scale: float, measured: float) -> tuple[float, float]:
        return 2 * scale, 2 * scale if measured >= 1 else 0.0

    recipe = replace(GRPO, kl_control=off_below_one)
    scales = adapted(recipe, {}, {"kl": 0.5})
    now = scaled(recipe, scales)
    assert now.kl_scale == 0
    scales = adapted(now, scales, {"kl": 2.0})
    assert scaled(recipe, scales).kl_scale == pytest.approx(0.16)
