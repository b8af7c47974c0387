"""What a step's batch holds: who is counted, what is computed once, and what does not depend on cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from groupwise import losses
from groupwise.losses import Decisions
from groupwise.packing import pack
from groupwise.policies import CategoricalPolicy
from groupwise.recipes import DAPO, RECIPES, RLOO, Recipe, finished
from groupwise.trajectory import Batch, Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

HUGE = 1 << 20


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(3, 4)


def member(
    length: int,
    advantage: float,
    version: int = 0,
    name: str = "current",
    stopped: StopReason = StopReason.FINISHED,
    seed: int = 0,
) -> Trajectory:
    draw = np.random.default_rng([seed, length])
    observations = draw.standard_normal((length, 3)).astype(np.float32)
    logp = -draw.random(length).astype(np.float32)
    turn = Turn(observations, draw.integers(0, 4, length), logp)
    row = np.full(length, advantage, np.float32)
    return Trajectory((turn,), PolicyTag(name, version), stopped, reward=0.0, advantage=row)


def cohort_of(*members: Trajectory, ordinal: int = 3) -> list[Group]:
    return [Group(Prompt(ordinal, 0), members)]


def packed(cohort: Sequence[Group], recipe: Recipe, budget: int = HUGE, **more: object) -> Batch:
    batch = pack(cohort, recipe, CategoricalPolicy(network()), budget, **more)  # type: ignore[arg-type]
    assert batch is not None
    return batch


# ---------------------------------------------------------------- who is counted


def test_an_answer_that_was_cut_off_is_in_no_denominator() -> None:
    """Weights that still count its tokens shrink everybody else's step by however many were cut off."""
    rest = (member(2, 1.0), member(3, -1.0))
    cut = member(5, 1.0, stopped=StopReason.LENGTH)
    batch = packed(cohort_of(*rest, cut), replace(DAPO, keep=finished))
    assert batch.weight.tolist() == pytest.approx([1 / 5] * 5)
    assert batch.metrics == {"left_out/filtered": pytest.approx(1 / 3)}
    assert packed(cohort_of(*rest, cut), DAPO).metrics == {}


@pytest.mark.parametrize(
    ("limit", "version", "lengths"),
    [(0, 9, [1]), (1, 9, [1, 2]), (8, 9, [1, 2, 3]), (9, 9, [1, 2, 3, 4]), (1, None, [1, 2]), (1, 12, [])],
)
def test_answers_of_versions_too_far_behind_are_left_out(
    limit: int, version: int | None, lengths: list[int]
) -> None:
    """Versions 9, 8, 1 and 0. Other policies are never stale: they were seated on purpose."""
    members = [member(n, 1.0, v) for n, v in zip((1, 2, 3, 4), (9, 8, 1, 0), strict=True)]
    members.append(member(7, 1.0, 0, name="teacher"))
    batch = packed(cohort_of(*members), replace(DAPO, staleness=limit), version=version)
    assert torch.bincount(batch.trajectory_id).tolist() == [*lengths, 7]
    assert batch.metrics == {"left_out/stale": pytest.approx((4 - len(lengths)) / 5)}


def test_a_step_of_nothing_but_stale_answers_says_so() -> None:
    """None would say that there was nothing to learn: the share would be missing from the metrics."""
    batch = packed(cohort_of(member(2, 1.0), member(3, -1.0)), replace(DAPO, staleness=1), version=5)
    assert len(batch) == 0
    assert batch.pieces == ()
    assert batch.metrics == {"left_out/stale": 1.0}
    assert pack(cohort_of(member(2, 0.0)), DAPO, CategoricalPolicy(network()), HUGE) is None


def test_decisions_of_another_policy_are_marked() -> None:
    batch = packed(cohort_of(member(2, 1.0), member(1, -1.0, name="teacher")), DAPO)
    assert batch.foreign is not None
    assert batch.foreign.tolist() == [False, False, True]
    assert packed(cohort_of(member(2, 1.0)), DAPO).foreign is None


def pulled(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """DRO: -A log rho + log^2 rho / 2, with a gradient at A = 0."""
    return -decisions.advantage * log_ratio + 0.5 * log_ratio**2


@pytest.mark.parametrize("wrapped", [False, True])
def test_answers_without_an_advantage_are_left_out_only_where_that_is_known_to_change_nothing(
    wrapped: bool,
) -> None:
    """A surrogate of one's own may pull on them too, from the second epoch on."""
    members = [member(2, 1.0), member(3, 0.0), member(4, -1.0, name="teacher")]
    shaped = losses.shaping_foreign(pulled) if wrapped else pulled
    assert len(packed(cohort_of(*members), replace(DAPO, surrogate=shaped))) == 9
    known = losses.shaping_foreign(losses.clipped()) if wrapped else losses.plain
    assert len(packed(cohort_of(*members), replace(DAPO, surrogate=known))) == 6


def test_an_answer_whose_reward_is_no_number_is_in_no_denominator() -> None:
    """As for the baseline: it is not scored."""
    strange = replace(member(5, 0.0), reward=float("nan"))
    batch = packed(cohort_of(member(2, 1.0), member(3, -1.0), strange), DAPO)
    assert batch.weight.tolist() == pytest.approx([1 / 5] * 5)


def test_a_weighting_or_a_selection_of_another_length_is_named() -> None:
    """One weight an answer is an easy mistake."""
    members = cohort_of(member(2, 1.0), member(3, -1.0))
    with pytest.raises(ValueError, match=r"Recipe.weigh gave \[2\] for 5 decisions"):
        packed(members, replace(DAPO, weigh=lambda ids, groups: torch.ones(2)))
    picking = replace(
        DAPO, surrogate=losses.only_selected(DAPO.surrogate), select=lambda d, u: u.argsort()[:1]
    )
    with pytest.raises(ValueError, match=r"Recipe.select gave \[1\] for 5 decisions"):
        packed(members, picking)


# ---------------------------------------------------------------- minibatches


@pytest.mark.parametrize(
    ("minibatches", "parts"),
    [(1, [0, 0, 0, 0]), (2, [0, 0, 0, 1]), (4, [0, 1, 1, 3]), (99, [9, 27, 47, 79])],
)
def test_minibatches_are_whole_trajectories_of_about_as_many_decisions(
    minibatches: int, parts: list[int]
) -> None:
    """Of 4, 3, 5 and 8 decisions the middles are at 2, 5.5, 9.5 and 16 of 20; empty parts are left out."""
    members = [member(n, a, seed=n) for n, a in ((4, 1.0), (3, -1.0), (5, 0.5), (8, 2.0))]
    policy = CategoricalPolicy(network())
    batch = pack(cohort_of(*members), DAPO, policy, HUGE, minibatches=minibatches)
    assert batch is not None
    assert len(batch.pieces) == len(set(parts))
    pairs = [
        (p.part, n)
        for p in batch.pieces
        for n in torch.bincount(batch.trajectory_id)[batch.trajectory_id[p.start : p.stop].unique()].tolist()
    ]
    assert pairs == list(zip(parts, (4, 3, 5, 8), strict=True))
    assert torch.equal(batch.weight, packed(cohort_of(*members), DAPO).weight), "those of the whole step"


# ---------------------------------------------------------------- the first pass


def scored(members: Sequence[Trajectory]) -> Tensor:
    policy = CategoricalPolicy(network())
    with torch.no_grad():
        return torch.cat([policy.score(policy.inputs([(0, m)])).logp for m in members])


def test_a_correction_is_given_the_policy_that_the_step_begins_with() -> None:
    """Sampler and learner may differ: without a pass of the learner every weight would be 1."""
    members = [member(4, 1.0), member(3, -1.0)]
    batch = packed(cohort_of(*members), RECIPES["tis"], budget=4)
    assert len(batch.pieces) == 2
    assert batch.proximal_logp is not None
    torch.testing.assert_close(batch.proximal_logp, scored(members), rtol=0, atol=1e-6)
    assert packed(cohort_of(*members), DAPO).proximal_logp is None
    assert packed(cohort_of(*members), RECIPES["deepseek_v3_2"]).proximal_logp is None


def test_log_probs_that_somebody_has_filled_in_are_kept() -> None:
    began = np.array([-1.0, -2.0], np.float32)
    filled = replace(member(2, 1.0), proximal_logp=began)
    batch = packed(cohort_of(filled, member(3, -1.0)), RECIPES["tis"])
    assert batch.proximal_logp is not None
    torch.testing.assert_close(batch.proximal_logp[:2], torch.from_numpy(began))
    torch.testing.assert_close(batch.proximal_logp[2:], batch.behaviour_logp[2:])


def test_the_mismatch_is_that_of_the_whole_step() -> None:
    """A sample size or a maximum of pieces is no number of the step."""
    members = [member(n, 1.0 - 2 * (n % 2), seed=n) for n in (4, 3, 5)]
    whole, cut = (packed(cohort_of(*members), RECIPES["decoupled"], budget=b) for b in (HUGE, 5))
    assert len(cut.pieces) == 3
    assert whole.metrics == pytest.approx(dict(cut.metrics), rel=1e-5)
    log_w = scored(members) - whole.behaviour_logp
    assert whole.metrics["off_policy/max"] == pytest.approx(float(log_w.abs().max()), rel=1e-5)
    assert 0 < whole.metrics["off_policy/ess"] < 1


# ---------------------------------------------------------------- selections


@pytest.mark.parametrize("name", ["clip_cov", "kl_cov", "top_entropy"])
def test_a_selection_is_of_the_step_and_not_of_the_cut(name: str) -> None:
    recipe = RECIPES[name]
    members = [member(n, a, seed=n) for n, a in ((4, 1.0), (3, -1.0), (5, 0.0), (8, 2.0))]
    whole, cut = (packed(cohort_of(*members), recipe, budget=b) for b in (HUGE, 8))
    assert len(cut.pieces) > 1
    assert whole.selected is not None
    assert whole.selected.any() or name == "clip_cov"
    assert torch.equal(whole.selected, cut.selected)
    assert len(whole) == 20, "answers of advantage 0 are surveyed too"


def test_a_selection_sees_the_policy_and_random_numbers_of_their_own() -> None:
    seen: list[tuple[Decisions, Tensor]] = []

    def select(decisions: Decisions, uniform: Tensor) -> Tensor:
        seen.append((decisions, uniform))
        return uniform > 0.5

    recipe = replace(DAPO, surrogate=losses.only_selected(DAPO.surrogate), select=select)
    members = (member(4, 1.0), member(3, -1.0))
    for seed, ordinal in ((0, 3), (0, 3), (1, 3), (0, 4)):
        batch = packed(cohort_of(*members, ordinal=ordinal), recipe, seed=seed)
    (first, same, other_seed, other_prompt) = (u for _, u in seen)
    assert torch.equal(first, same)
    assert not torch.isin(first, other_seed).any()
    assert not torch.isin(first, other_prompt).any()
    decisions, uniform = seen[-1]
    torch.testing.assert_close(decisions.new_logp, scored(members), rtol=0, atol=1e-6)
    assert decisions.entropy is not None
    assert decisions.entropy.shape == (7,)
    assert not decisions.new_logp.requires_grad
    assert batch.selected is not None
    assert torch.equal(batch.selected, uniform > 0.5)


def test_an_answers_random_numbers_do_not_depend_on_its_siblings() -> None:
    recipe = replace(DAPO, surrogate=losses.only_selected(DAPO.surrogate), select=lambda d, u: u > 0.5)
    alone = packed(cohort_of(member(6, 1.0)), recipe).selected
    among = packed(cohort_of(member(6, 1.0), member(9, -1.0)), recipe).selected
    assert alone is not None
    assert among is not None
    assert torch.equal(alone, among[:6])


# ---------------------------------------------------------------- divergence in the reward


def test_the_divergence_still_to_come_is_taken_off_the_advantages() -> None:
    policy = CategoricalPolicy(network())
    reference = CategoricalPolicy(network(1)).frozen()
    members = [member(3, 1.0), member(2, 0.0)]
    batch = pack(cohort_of(*members), replace(RLOO, reward_kl=0.5), policy, HUGE, reference)
    assert batch is not None
    assert batch.reference_logp is not None
    apart = (batch.behaviour_logp - batch.reference_logp).tolist()
    want = [1 - 0.5 * sum(apart[:3]), 1 - 0.5 * sum(apart[1:3]), 1 - 0.5 * apart[2]]
    want += [-0.5 * sum(apart[3:]), -0.5 * apart[4]]
    assert batch.advantage.tolist() == pytest.approx(want, abs=1e-5)


def test_a_log_prob_that_nobody_knows_has_no_say_in_the_others() -> None:
    one = member(3, 1.0)
    turn = replace(one.turns[0], behaviour_logp=np.array([-1, np.nan, -1], np.float32))
    reference = CategoricalPolicy(network(1)).frozen()
    batch = pack(
        cohort_of(replace(one, turns=(turn,))), replace(RLOO, reward_kl=0.5), CategoricalPolicy(network()),
        HUGE, reference,
    )  # fmt: skip
    assert batch is not None
    assert batch.advantage.isfinite().all()


def test_the_divergence_is_that_of_the_policy_that_the_step_begins_with() -> None:
    """Where a correction tells that policy from the one that chose, the reward is charged for the former."""
    policy, reference = CategoricalPolicy(network()), CategoricalPolicy(network(1)).frozen()
    recipe = replace(RLOO, reward_kl=0.5, correction=losses.truncated())
    batch = pack(cohort_of(member(1, 1.0)), recipe, policy, HUGE, reference)
    assert batch is not None
    assert batch.proximal_logp is not None
    assert batch.reference_logp is not None
    want = 1 - 0.5 * (batch.proximal_logp - batch.reference_logp)
    torch.testing.assert_close(batch.advantage, want)
    assert (batch.proximal_logp - batch.behaviour_logp).abs() > 0.01
