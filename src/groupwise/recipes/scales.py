"""The scales that a recipe's controls have come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from groupwise.recipes.controls import Control
from groupwise.recipes.recipe import Recipe

Scales = Mapping[str, tuple[float, float]]
"""Field of the recipe -> (scale kept, scale used); empty before the first step."""


def scaled(recipe: Recipe, scales: Scales) -> Recipe:
    """The recipe with the scales of now."""
    now = {name: scales[name][1] for name, _, _ in _controlled(recipe, scales) if name in scales}
    return replace(recipe, **now) if now else recipe  # type: ignore[arg-type]


def adapted(recipe: Recipe, scales: Scales, measured: Mapping[str, float]) -> Scales:
    """The scales of the next step, from what this one measured under `recipe`."""
    return {
        name: control(scales[name][0] if name in scales else getattr(recipe, name), measured[metric])
        for name, control, metric in _controlled(recipe, scales)
    }


def _controlled(recipe: Recipe, scales: Scales) -> Iterator[tuple[str, Control, str]]:
    """(field, its control, the metric that it is moved by); also one that is 0 for the step."""
    if recipe.kl_control is not None:
        for name in ("kl_scale", "reward_kl"):
            if getattr(recipe, name) or name in scales:
                yield name, recipe.kl_control, "kl"
    if recipe.entropy_control is not None:
        yield "entropy_scale", recipe.entropy_control, "entropy"
