"""Parts that cannot work together are refused with the reason; what is not known is let through."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise import advantages, losses
from groupwise.losses import Decisions
from groupwise.recipes import (
    CISPO,
    DAPO,
    GRPO,
    GSPO,
    RECIPES,
    RLOO,
    AdaptiveKL,
    EntropyTarget,
    Recipe,
    Refresh,
    scale_depends_on_size,
)  # fmt: skip


@pytest.mark.parametrize(
    ("base", "changes", "reason"),
    [
        (GSPO, {"weigh": losses.per_token_mean}, "counted once for each of its decisions"),
        (GSPO, {"weigh": losses.constant(100)}, "per_trajectory_total says so"),
        (GSPO, {"weigh": losses.each_group_alike(losses.per_token_mean)}, "Take per_trajectory_mean"),
        (GSPO, {"ratio": losses.per_trajectory_token, "weigh": losses.per_token_mean}, "counted once"),
        (RECIPES["gmpo"], {"weigh": losses.per_token_mean}, "counted once"),
        (DAPO, {"ratio": losses.from_behaviour(losses.per_trajectory)}, "counted once"),
        (RECIPES["gmpo"], {"surrogate": losses.clipped()}, "clipped already"),
        (GSPO, {"surrogate": losses.vespo()}, "per_trajectory_product"),
        (GSPO, {"surrogate": losses.shaping_foreign(losses.clipped())}, "take per_decision"),
        (GRPO, {"kl": None}, "a divergence needs a scale"),
        (RLOO, {"kl": losses.k2}, "a divergence needs a scale"),
        (GRPO, {"kl": losses.k1}, "expected gradient is zero"),
        (GRPO, {"kl_scale": -0.1}, "reward distance"),
        (RLOO, {"reward_kl": -0.1}, "reward distance"),
        (RLOO, {"kl_control": AdaptiveKL(0.1)}, "no divergence to act on"),
        (RLOO, {"refresh": Refresh(10)}, "no divergence to act on"),
        (DAPO, {"select": losses.top_entropy()}, "treats all decisions alike"),
        (CISPO, {"select": losses.top_entropy()}, "wrap it in"),
        (RLOO, {"select": losses.top_entropy()}, "wrap it in"),
        (DAPO, {"surrogate": losses.only_selected(losses.plain)}, "give select="),
        (DAPO, {"staleness": -1}, "0 or more"),
        (DAPO, {"entropy_floor": -1.0}, "0 or more"),
    ],
)  # fmt: skip
def test_compositions_that_cannot_work_are_refused_with_the_reason(
    base: Recipe, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(base, **changes)


def mine(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    return -log_ratio * decisions.advantage


def summed(trajectory_id: Tensor, group_id: Tensor) -> Tensor:
    return torch.ones(len(trajectory_id))


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (GSPO, {"weigh": summed}),
        (GSPO, {"weigh": losses.per_trajectory_total}),
        (GSPO, {"weigh": losses.each_group_alike()}),
        (DAPO, {"ratio": mine}),
        (DAPO, {"surrogate": mine, "select": losses.top_entropy()}),
        (RECIPES["luffy"], {"surrogate": losses.shaping_foreign(mine), "select": losses.top_entropy()}),
        (GRPO, {"kl": mine}),
        (DAPO, {"correction": lambda d: d.advantage, "advantage": lambda r, g: r}),
        (RLOO, {"reward_kl": 0.1, "kl_control": lambda scale, kl: (scale, scale), "refresh": Refresh(1)}),
        (DAPO, {"entropy_control": EntropyTarget()}),
    ],
)
def test_what_is_not_known_is_let_through(base: Recipe, changes: dict[str, Any]) -> None:
    replace(base, **changes)


def test_a_recipe_says_whether_its_scale_depends_on_the_size_of_a_group() -> None:
    """A planner of group sizes asks: a deviation of 4 answers is not one of 32."""
    assert scale_depends_on_size(GRPO)
    assert scale_depends_on_size(replace(GRPO, advantage=advantages.standardized(correction=0)))
    assert scale_depends_on_size(replace(GRPO, advantage=advantages.gdpo(scheme=advantages.standardize)))
    assert not scale_depends_on_size(replace(GRPO, advantage=advantages.gdpo(scheme=advantages.center)))
    assert scale_depends_on_size(RECIPES["maxrl"]), "its weight on grad p is (1 - (1-p)^(G-1)) / p"
    assert not scale_depends_on_size(RLOO)
    assert not scale_depends_on_size(replace(GRPO, advantage=lambda rewards, group: rewards))


def test_advantages_of_the_package_keep_their_promise() -> None:
    """The reason for the refusal: the same share of successes, another advantage."""
    few, many = (torch.tensor([1.0] * n + [0.0] * n) for n in (2, 16))
    assert advantages.standardize(few)[0] < 0.9 * advantages.standardize(many)[0]
