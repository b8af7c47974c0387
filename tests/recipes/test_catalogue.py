"""The named recipes have the constants of their papers, and the documentation names them all."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import groupwise
from groupwise import advantages, losses, recipes
from groupwise.losses import (
    clipped,
    from_behaviour,
    masked,
    per_decision,
    per_token_mean,
    per_trajectory,
    per_trajectory_mean,
    per_trajectory_product,
    per_trajectory_total,
    truncated,
)  # fmt: skip
from groupwise.recipes import RECIPES, AdaptiveKL, EntropyTarget, Recipe, Refresh, finished

DEFAULTS = {
    "rescale": None, "correction": None, "kl": None, "kl_scale": 0.0, "reward_kl": 0.0, "entropy_scale": 0.0,
    "kl_control": None, "entropy_control": None, "entropy_floor": 0.0, "refresh": None, "select": None,
    "keep": None, "staleness": None,
}  # fmt: skip
STANDARDIZE, CENTER = advantages.standardize, advantages.center
DAPO_CLIP, PPO_CLIP = clipped(0.2, 0.28), clipped(0.2, 0.2)

# name -> advantage, ratio, surrogate, weighting, and what differs from DEFAULTS
PUBLISHED: dict[str, tuple[Any, Any, Any, Any, dict[str, Any]]] = {
    "grpo": (STANDARDIZE, per_decision, PPO_CLIP, per_trajectory_mean, {"kl": losses.k3, "kl_scale": 0.04}),
    "dr_grpo": (CENTER, per_decision, PPO_CLIP, losses.constant(1024), {}),
    "dapo": (STANDARDIZE, per_decision, DAPO_CLIP, per_token_mean, {}),
    "dapo_finished": (STANDARDIZE, per_decision, DAPO_CLIP, per_token_mean, {"keep": finished}),
    "intellect_2": (
        STANDARDIZE, per_decision, clipped(0.2, 0.2, 4.0), per_trajectory_mean,
        {"kl": losses.k3, "kl_scale": 0.001},
    ),
    "gspo": (STANDARDIZE, per_trajectory, clipped(3e-4, 4e-4), per_trajectory_mean, {}),
    "gspo_token": (
        STANDARDIZE, losses.per_trajectory_token, clipped(3e-4, 4e-4), per_trajectory_mean, {},
    ),
    "gmpo": (STANDARDIZE, losses.clipped_mean(0.4, 0.4), losses.plain, per_trajectory_mean, {}),
    "luspo": (STANDARDIZE, per_trajectory, clipped(2e-3, 2.5e-3), per_trajectory_total, {}),
    "cispo": (STANDARDIZE, per_decision, losses.cispo(5.0), per_token_mean, {}),
    "sapo": (STANDARDIZE, per_decision, losses.sapo(1.0, 1.05), per_trajectory_mean, {}),
    "gpg": (
        CENTER, per_decision, losses.log_likelihood, per_token_mean, {"rescale": advantages.over_informative},
    ),
    "asymre": (advantages.asymmetric(-0.1), per_decision, losses.log_likelihood, per_token_mean, {}),
    "rloo": (advantages.leave_one_out, per_decision, losses.plain, per_trajectory_mean, {}),
    "rloo_kl": (
        advantages.leave_one_out, per_decision, losses.plain, per_trajectory_mean, {"reward_kl": 0.03},
    ),
    "lite_ppo": (CENTER, per_decision, PPO_CLIP, per_token_mean, {"rescale": advantages.batch_scale}),
    "topr": (CENTER, from_behaviour(per_trajectory_product), losses.topr, per_token_mean, {}),
    "vespo": (
        STANDARDIZE, from_behaviour(per_trajectory_product), losses.vespo((2, 3), (3, 2)), per_token_mean, {},
    ),
    "luffy": (STANDARDIZE, per_decision, losses.shaping_foreign(PPO_CLIP, 0.1), per_token_mean, {}),
    "decoupled": (
        STANDARDIZE, per_decision, PPO_CLIP, per_token_mean, {"correction": truncated(5.0), "staleness": 8},
    ),
    "tis": (STANDARDIZE, per_decision, DAPO_CLIP, per_token_mean, {"correction": truncated(2.0)}),
    "tis_sequence": (
        STANDARDIZE, per_decision, DAPO_CLIP, per_token_mean,
        {"correction": truncated(2.0, per_trajectory_product)},
    ),
    "mis": (
        STANDARDIZE, per_decision, DAPO_CLIP, per_token_mean,
        {"correction": masked(0.0, 3.0, per_trajectory_product)},
    ),
    "icepop": (STANDARDIZE, per_decision, DAPO_CLIP, per_token_mean, {"correction": masked(0.5, 5.0)}),
    "deepseek_v3_2": (
        CENTER, per_decision, PPO_CLIP, per_trajectory_mean,
        {"correction": losses.strayed(0.5), "kl": losses.k3_corrected, "kl_scale": 0.001},
    ),
    "adaptive_kl": (
        STANDARDIZE, per_decision, PPO_CLIP, per_trajectory_mean,
        {"kl": losses.k3_corrected, "kl_scale": 0.04, "kl_control": AdaptiveKL(0.05, 10)},
    ),
    "moving_reference": (
        STANDARDIZE, per_decision, PPO_CLIP, per_trajectory_mean,
        {"kl": losses.k3, "kl_scale": 0.04, "refresh": Refresh(512, 0.6)},
    ),
    "prorl": (
        STANDARDIZE, per_decision, clipped(0.2, 0.4), per_token_mean,
        {"kl": losses.k3, "kl_scale": 1e-4, "refresh": Refresh(500, 1.0, new_optimizer=True)},
    ),
    "clip_cov": (
        STANDARDIZE, per_decision, losses.without_selected(PPO_CLIP), per_token_mean,
        {"select": losses.some_covariance(2e-4, 1.0, 5.0)},
    ),
    "kl_cov": (
        STANDARDIZE, per_decision, losses.penalised_where_selected(losses.plain, 1.0), per_token_mean,
        {"select": losses.large_covariance(2e-4)},
    ),
    "top_entropy": (
        STANDARDIZE, per_decision, losses.only_selected(DAPO_CLIP), per_token_mean,
        {"select": losses.top_entropy(0.2)},
    ),
    "adaptive_entropy": (
        STANDARDIZE, per_decision, PPO_CLIP, per_token_mean, {"entropy_control": EntropyTarget(0.2, 0.005)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_have_the_constants_of_their_papers(name: str) -> None:
    *parts, more = PUBLISHED[name]
    assert RECIPES[name] == Recipe(*parts, **{**DEFAULTS, **more})


def test_every_field_has_a_default_here() -> None:
    """A field that is new has a default under which nothing changes, and stands in DEFAULTS above."""
    assert set(Recipe.__dataclass_fields__) == set(DEFAULTS) | {"advantage", "ratio", "surrogate", "weigh"}


# ---------------------------------------------------------------- documentation

PAGE = Path(groupwise.__file__).parents[2] / "docs" / "recipes.md"
TYPES = {"Correction", "Decisions", "Divergence", "Ratio", "Select", "Surrogate", "Weigh"}
HELPERS = {"MAX_LOG_RATIO", "covariance", "mismatch", "reads_proximal", "still_to_come"}


def named(heading: str) -> set[str]:
    """What stands in the first column of the tables under a heading."""
    section = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(heading)]
    return set(re.findall(r"^\| `(\w+)[^`]*` \|", text, flags=re.MULTILINE))


def test_the_page_lists_every_recipe_and_no_other() -> None:
    assert named("Recipes") == set(RECIPES)


def test_the_page_lists_every_piece_and_no_other() -> None:
    def public(module: ModuleType) -> set[str]:
        return set(module.__all__)

    pieces = public(losses) - TYPES - HELPERS
    controls = {"AdaptiveKL", "EntropyTarget", "Refresh", "finished"}
    assert controls <= public(recipes)
    assert named("Pieces") == pieces | controls | {"soft_overlong"}
