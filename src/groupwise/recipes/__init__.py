"""The algorithms, as values, and the one function that computes their loss."""

from groupwise.recipes.catalogue import CISPO, DAPO, DR_GRPO, GRPO, GSPO, MIXED, RECIPES, RLOO
from groupwise.recipes.checks import scale_depends_on_size
from groupwise.recipes.controls import AdaptiveKL, Control, EntropyTarget, Refresh
from groupwise.recipes.filters import Keep, finished
from groupwise.recipes.objective import Loss, objective
from groupwise.recipes.recipe import Recipe
from groupwise.recipes.scales import Scales, adapted, scaled

__all__ = [
    "CISPO",
    "DAPO",
    "DR_GRPO",
    "GRPO",
    "GSPO",
    "MIXED",
    "RECIPES",
    "RLOO",
    "AdaptiveKL",
    "Control",
    "EntropyTarget",
    "Keep",
    "Loss",
    "Recipe",
    "Refresh",
    "Scales",
    "adapted",
    "finished",
    "objective",
    "scale_depends_on_size",
    "scaled",
]
