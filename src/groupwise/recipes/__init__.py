"""The algorithms, as values, and the one function that computes their loss."""

from groupwise.recipes.catalogue import CISPO, DAPO, DR_GRPO, GRPO, GSPO, MIXED, RECIPES, RLOO
from groupwise.recipes.objective import Loss, objective
from groupwise.recipes.recipe import Recipe

__all__ = [
    "CISPO",
    "DAPO",
    "DR_GRPO",
    "GRPO",
    "GSPO",
    "MIXED",
    "RECIPES",
    "RLOO",
    "Loss",
    "Recipe",
    "objective",
]
