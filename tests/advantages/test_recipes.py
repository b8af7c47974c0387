"""The recipes named for their advantage: which one they hold, and that a step goes through them whole."""

from dataclasses import replace

import pytest

from answers import answer, siblings, told, turn
from groupwise import advantages, losses, recipes
from groupwise.advantages import assign
from groupwise.recipes import RECIPES
from groupwise.recipes.catalogue import MAXRL, OPO

HELD = {
    "lite_ppo": (advantages.center, advantages.batch_scale),
    "reinforce_pp": (advantages.returns_to_go(baseline=False), advantages.whiten),
    "reinforce_pp_baseline": (advantages.center, advantages.whiten),
    "gdpo": (advantages.gdpo(), advantages.centered_scale),
    "passk": (advantages.pass_at(4), None),
    "pkpo": (advantages.pkpo(4), None),
    "maxrl": (advantages.maxrl, None),
    "opo": (advantages.length_weighted, None),
    "process": (advantages.process(), None),
    "gigpo": (advantages.gigpo(weight=1.0, discount=0.95), None),
    "tree": (advantages.tree, None),
    "return_to_go": (advantages.returns_to_go(), advantages.centered_scale),
    "return_to_go_99": (advantages.returns_to_go(discount=0.99), advantages.centered_scale),
    "near_states": (advantages.near_states(discount=0.99, neighbours=8, trace=0.95), advantages.whiten),
    "fitted_states": (advantages.fitted_states(0.99, 0.95, waves=128, ridge=0.01), advantages.whiten),
    "shrinkage": (advantages.shrunk(), None),
}


@pytest.mark.parametrize("name", HELD)
def test_a_recipe_holds_its_advantage_and_rescale(name: str) -> None:
    assert (RECIPES[name].advantage, RECIPES[name].rescale) == HELD[name]


def test_the_losses_are_those_of_the_papers() -> None:
    assert MAXRL.surrogate == losses.clipped(0.2, 0.2, bound=3.0)
    assert (OPO.surrogate, OPO.kl) == (losses.plain, None)
    assert RECIPES["lite_ppo"] == replace(
        recipes.DAPO,
        surrogate=losses.clipped(0.2, 0.2),
        advantage=advantages.center,
        rescale=advantages.batch_scale,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_of_ordinary_answers_goes_through(name: str) -> None:
    """A winner stands above its siblings, an unscored answer at 0, and equals at 0 (but for some)."""
    losers = [told(0.0, turn([i] * i), right=0.0) for i in (2, 3, 4, 5)]
    one = siblings(told(1.0, turn([1] * 3), right=1.0), answer(None, 2), *losers)
    equal = siblings(*(answer(1.0, n, right=1.0) for n in (2, 2, 3, 1, 4)))
    first, second = assign([one, equal], RECIPES[name].advantage, RECIPES[name].rescale)
    starts = [float(t.advantage[0]) for t in first.trajectories]  # type: ignore[index]
    assert starts[0] > 0 == starts[1]
    assert all(starts[0] > other for other in starts[2:])
    # the baseline of asymre is off the mean; those of the others know that a longer sibling still plays
    exempt = ("asymre", "return_to_go", "return_to_go_99")
    if RECIPES[name].rescale is not advantages.whiten and name not in exempt:
        assert all(not t.advantage.any() for t in second.trajectories)  # type: ignore[union-attr]
