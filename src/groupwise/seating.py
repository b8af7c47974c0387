"""From settings to groups that several policies write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from groupwise import sources
from groupwise.advantages import asymmetric, importance_weighted, stratified
from groupwise.losses import both, from_behaviour, reads_proximal, shaping_foreign
from groupwise.mixed import MixedSampler
from groupwise.mixtures import RATIOS
from groupwise.models import Loaded, Say
from groupwise.recipes import MIXED, Recipe
from groupwise.rollouts import TextSampler
from groupwise.seats import Seats, parse
from groupwise.settings import ConfigError, Settings


def seats_of(s: Settings) -> Seats | None:
    return None if s.seats is None else parse(s.seats, s.group_size)


def spared(s: Settings) -> Callable[[int], Sequence[int]]:
    """The checkpoints that have to be kept for the seats, given the newest."""
    seats = seats_of(s)
    return sources.spared(seats, s.save_every) if seats else lambda newest: ()


def refuse(s: Settings, recipe: Recipe) -> None:
    """Raises ConfigError for seats and ratios that cannot be, with what is known before a model is read."""
    if s.ratios not in RATIOS:
        raise ConfigError(f"--ratios {s.ratios}: one of {', '.join(RATIOS)}")
    seats = seats_of(s)
    if seats is None:
        if s.ratios != "balance":
            raise ConfigError(f"--ratios {s.ratios} is for groups of several policies: give --seats too")
        return
    alone = [seat.source for seat in seats.seats if seat.count == 1]
    if alone and recipe.advantage is stratified:
        raise ConfigError(
            f"--seats: {', '.join(alone)} has one seat, and the recipe's baseline compares an answer with "
            "others of its own policy. Give it 2 seats or more, or use a recipe with "
            "advantages.importance_weighted."
        )


def corrected(recipe: Recipe) -> Recipe:
    """The recipe with importance weights for others' answers, unless it treats those in its own way.

    Its own way: a ratio from the behaviour (TOPR, VESPO), a teacher's shaping (LUFFY), a baseline that
    stands for the weights (AsymRE). A mask that weighs nothing (`strayed`) stays beside the weights.
    """
    has_its_own = isinstance(recipe.ratio, from_behaviour) or isinstance(recipe.surrogate, shaping_foreign)
    if has_its_own or isinstance(recipe.advantage, asymmetric) or reads_proximal(recipe.correction):
        return recipe
    weights, mask = MIXED.correction, recipe.correction
    assert weights is not None
    return replace(recipe, correction=weights if mask is None else both(mask, weights))


def sampler(
    s: Settings,
    recipe: Recipe,
    own: TextSampler,
    loaded: Loaded,
    place: sources.Place,
    say: Say,
    tell: Say,
) -> MixedSampler:
    """The sampler of completed settings with seats: `say` what is being done, `tell` what has happened."""
    seats = seats_of(s)
    assert seats is not None
    assert s.tokens_per_microbatch is not None
    if s.ratios == "balance" and recipe.advantage not in (stratified, importance_weighted):
        tell(
            f"--seats with --recipe {s.recipe}: its baseline has another mean for each policy, which turns "
            "the gradient a little; that of --recipe mixed has one mean (docs/mixed-groups.md)"
        )
    found = {seat.source: sources.source_of(seat, loaded, own.policy, place, say) for seat in seats.others}
    return MixedSampler(own, seats, found, RATIOS[s.ratios], s.tokens_per_microbatch, tell)
