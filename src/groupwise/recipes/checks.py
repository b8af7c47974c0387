"""Which parts cannot work together, and why. What is not known here is never refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from groupwise import losses
from groupwise.advantages import (
    fitted_states,
    gigpo,
    maxrl,
    near_states,
    pass_at,
    process,
    returns_to_go,
    standardize,
    standardized,
    tree,
)  # fmt: skip
from groupwise.losses import Correction, Ratio, Surrogate, Weigh, selection

if TYPE_CHECKING:
    from groupwise.recipes.recipe import Recipe

OF_MEANS = (losses.per_trajectory, losses.per_trajectory_token)
KNOWN_SURROGATES = (losses.clipped, losses.cispo, losses.sapo, losses.vespo)
KNOWN_FUNCTIONS = (losses.plain, losses.log_likelihood, losses.topr)
BY_DECISION = (fitted_states, gigpo, near_states, process, returns_to_go)
"""Advantages that differ within an answer; `tree` too."""


def complaint(recipe: Recipe) -> str | None:
    """The first thing wrong with a recipe, as a sentence."""
    return next(_complaints(recipe), None)


def _complaints(recipe: Recipe) -> Iterator[str]:
    yield from _divergence(recipe)
    yield from _entropy(recipe)
    yield from _levels(recipe)
    yield from _counted_twice(recipe)
    yield from _selection(recipe)
    if recipe.staleness is not None and recipe.staleness < 0:
        yield f"staleness={recipe.staleness}: a number of optimizer steps, 0 or more; None keeps every answer"


def _divergence(recipe: Recipe) -> Iterator[str]:
    off = recipe.kl_scale == 0 and recipe.kl_control is None  # a control may turn it off for a step
    if (recipe.kl is None and recipe.kl_scale != 0) or (recipe.kl is not None and off):
        yield (
            f"kl={recipe.kl} with kl_scale={recipe.kl_scale}: a divergence needs a scale and a scale "
            "a divergence. Give both, or neither."
        )
    if recipe.kl is losses.k1:
        yield (
            "kl=k1: as a loss its expected gradient is zero, so it does nothing but add noise. Take k2 or "
            "k3_corrected, or put k1 where it is exact: reward_kl=..., kl=None, kl_scale=0."
        )
    if recipe.reward_kl < 0 or recipe.kl_scale < 0:
        yield (
            f"kl_scale={recipe.kl_scale}, reward_kl={recipe.reward_kl}: a scale below 0 would reward distance"
        )
    without = recipe.kl is None and recipe.reward_kl == 0
    if without and (recipe.kl_control is not None or recipe.refresh is not None):
        yield (
            f"kl_control={recipe.kl_control}, refresh={recipe.refresh}, and no divergence to act on: "
            "give kl and kl_scale, or reward_kl"
        )


def _entropy(recipe: Recipe) -> Iterator[str]:
    if recipe.entropy_floor < 0:
        yield f"entropy_floor={recipe.entropy_floor} nats a decision: 0 or more; 0 never warns"


def _levels(recipe: Recipe) -> Iterator[str]:
    weigh = _innermost(recipe.weigh)
    if _is_of_means(recipe.ratio) and (weigh is losses.per_token_mean or isinstance(weigh, losses.constant)):
        yield (
            "a ratio of the whole trajectory with a weighting of tokens: the trajectory's one term would be "
            "counted once for each of its decisions. Take per_trajectory_mean; if length is meant to count "
            "(LUSPO), per_trajectory_total says so."
        )
    if isinstance(recipe.surrogate, losses.shaping_foreign) and _is_no_decisions_own(recipe.ratio):
        yield (
            "shaping_foreign reads the probability of each decision off its new / proximal, and this ratio "
            "is one number a trajectory, or from the behaviour: take per_decision"
        )
    if isinstance(recipe.surrogate, losses.vespo) and _is_of_means(recipe.ratio):
        yield (
            "vespo weighs by the ratio of the whole trajectory, the product over its decisions, and this "
            "ratio is a mean: take from_behaviour(per_trajectory_product)"
        )
    if _differs_within(recipe) and _shares_its_gradient(recipe.ratio):
        yield (
            "advantages (or reward_kl) that differ within a trajectory, and a ratio whose gradient its "
            "decisions share: each would be pulled by their mean. Take per_trajectory_token or per_decision"
        )
    if isinstance(recipe.ratio, losses.clipped_mean) and isinstance(recipe.surrogate, losses.clipped):
        yield f"{recipe.ratio} is clipped already, and {recipe.surrogate} would clip it again: take plain"


def _counted_twice(recipe: Recipe) -> Iterator[str]:
    if isinstance(recipe.ratio, losses.from_behaviour) and _weighs(recipe.correction):
        yield (
            f"{recipe.ratio} holds all of new / behaviour, and {recipe.correction} would weigh by proximal / "
            "behaviour once more: set correction=None, or take the inner ratio"
        )


def _selection(recipe: Recipe) -> Iterator[str]:
    wrapped = isinstance(recipe.surrogate, selection.WRAPPERS)
    if wrapped and recipe.select is None:
        yield (
            f"{type(recipe.surrogate).__name__} needs decisions to be selected: give select=, for instance "
            "top_entropy(0.2)"
        )
    if recipe.select is not None and _reads_no_selection(recipe.surrogate):
        yield (
            f"select={recipe.select}, and a surrogate that treats all decisions alike: wrap it in "
            "only_selected, without_selected or penalised_where_selected"
        )


def scale_depends_on_size(recipe: Recipe) -> bool:
    """Whether advantages mean something else in groups of another size.

    Where groups differ in size, dividing by a group's deviation or mean weighs prompts by how many answers
    they have, not only by how hard they are: take `leave_one_out`, or a scale over the whole step.
    """
    return _depends_on_size(recipe.advantage)


def _depends_on_size(scheme: object) -> bool:
    """Also of a scheme inside another; a user's own says so by an attribute `scale_depends_on_size`."""
    if scheme in (standardize, maxrl) or isinstance(scheme, (standardized, pass_at)):
        return True
    inner = getattr(scheme, "scheme", None)
    said = bool(getattr(scheme, "scale_depends_on_size", False))
    return said or (inner is not None and _depends_on_size(inner))


def _innermost(weigh: Weigh) -> Weigh:
    return weigh.inner if isinstance(weigh, losses.each_group_alike) else weigh


def _is_of_means(ratio: Ratio) -> bool:
    inner = ratio.inner if isinstance(ratio, losses.from_behaviour) else ratio
    return inner in OF_MEANS or isinstance(inner, losses.clipped_mean)


def _shares_its_gradient(ratio: Ratio) -> bool:
    inner = ratio.inner if isinstance(ratio, losses.from_behaviour) else ratio
    return inner is losses.per_trajectory or isinstance(inner, losses.clipped_mean)


def _is_no_decisions_own(ratio: Ratio) -> bool:
    of_all = _is_of_means(ratio) or ratio is losses.per_trajectory_product
    return of_all or isinstance(ratio, losses.from_behaviour)


def _differs_within(recipe: Recipe) -> bool:
    by_decision = recipe.advantage is tree or isinstance(recipe.advantage, BY_DECISION)
    return by_decision or recipe.reward_kl != 0


def _weighs(correction: Correction | None) -> bool:
    if isinstance(correction, losses.both):
        return _weighs(correction.first) or _weighs(correction.second)
    return isinstance(correction, (losses.truncated, losses.masked))


def proportional(surrogate: Surrogate) -> bool:
    """Whether its term is known to be A times something: at advantage 0 it has exactly no gradient."""
    if isinstance(surrogate, (losses.shaping_foreign, losses.only_selected, losses.without_selected)):
        return proportional(surrogate.inner)
    return isinstance(surrogate, KNOWN_SURROGATES) or surrogate in KNOWN_FUNCTIONS


def one_each(field: str, x: Tensor, n: int) -> Tensor:
    """What a piece of a recipe returned, if it is [n]: a scalar or a column would broadcast in silence."""
    if x.shape != (n,):
        raise ValueError(
            f"Recipe.{field} gave {list(x.shape)} for {n} decisions: it returns one number for each, [{n}], "
            "and leaves sums and means to Recipe.weigh"
        )
    return x


def _reads_no_selection(surrogate: Surrogate) -> bool:
    if isinstance(surrogate, losses.shaping_foreign):
        return _reads_no_selection(surrogate.inner)
    return isinstance(surrogate, KNOWN_SURROGATES) or surrogate in KNOWN_FUNCTIONS
