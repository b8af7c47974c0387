"""Expected gradients of schemes that credit steps, parts of a reward, or scale over a whole step."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from exact import TwoSteps, f64, gradients, group_of
from groupwise.advantages import (
    Rescale,
    assign,
    batch_scale,
    center,
    centered_scale,
    gdpo,
    gigpo,
    leave_one_out,
    length_weighted,
    over_informative,
    process,
    standardized,
    whiten,
)
from groupwise.trajectory import Group, Turn

WORLD, LOGITS = TwoSteps(), f64(0.3, -0.2, 0.5, 0.0, -0.4, 0.1)
STEPS = f64(0.3, 1.0, 0.3, 0.0, -0.5, 0.2, -0.5, 0.7).reshape(4, 2)
"""A reward after the first action and one after the second, by path."""
PI, REWARDS = f64(0.5, 0.3, 0.2), f64(1.0, 0.0, 0.5)
SCORES = torch.eye(3, dtype=torch.float64) - PI


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize("size", [2, 3])
def test_process_supervision_learns_all_but_its_own_share_of_the_mean(size: int) -> None:
    """All 2G steps share one mean: i's own two are in it, and count twice from the first decision on.

    At the root 1 - 1/G of the gradient is left, after it 1 - 1/(2G). A mean for each time would give others.
    """
    want = WORLD.policy_gradient(LOGITS, STEPS.sum(1)).reshape(3, 2)
    got = WORLD.group_gradient(process(center), LOGITS, STEPS, size).reshape(3, 2)
    factors = f64(1 - 1 / size, 1 - 1 / (2 * size), 1 - 1 / (2 * size))
    torch.testing.assert_close(got, factors[:, None] * want, rtol=0, atol=1e-14)


def in_turns(group: Group) -> Group:
    """Each action as a turn of its own; what is seen before the second says which was the first."""

    def split(turn: Turn) -> tuple[Turn, ...]:
        assert turn.rewards is not None
        seen = (np.array([0]), np.array([1, turn.decisions[0]]))
        return tuple(
            Turn(seen[t], turn.decisions[t : t + 1], np.zeros(1), turn.rewards[t : t + 1]) for t in range(2)
        )

    return replace(group, trajectories=tuple(replace(t, turns=split(t.turns[0])) for t in group.trajectories))


@pytest.mark.parametrize("size", [2, 3])
def test_gigpo_adds_the_gradient_at_a_state_as_often_as_siblings_meet_there(size: int) -> None:
    """Leave-one-out in both parts: 1 + w at the start, where all are; at a state reached with chance q it is
    1 + w (1 - (1-q)^(G-1)), since whoever comes alone gets 0. Its raw return instead would give 1 + w."""
    scheme = gigpo(weight=0.5, discount=1.0, scheme=leave_one_out)
    want = WORLD.policy_gradient(LOGITS, STEPS.sum(1)).reshape(3, 2)
    got = WORLD.group_gradient(lambda r, group: scheme(r, in_turns(group)), LOGITS, STEPS, size).reshape(3, 2)
    for node, q in enumerate([1.0, *LOGITS[:2].softmax(0).tolist()]):
        factor = 1 + 0.5 * (1 - (1 - q) ** (size - 1))
        torch.testing.assert_close(got[node], factor * want[node], rtol=0, atol=1e-14)


# ---------------------------------------------------------------- parts and lengths


def test_gdpo_climbs_the_weighted_sum_of_its_parts() -> None:
    """Parts (1, 0, 0) and (1, 0, 1) of the three arms, weights 1 and 2: with a scheme without a deviation."""
    parts = {1.0: (1.0, 1.0), 0.0: (0.0, 0.0), 0.5: (0.0, 1.0)}

    def scheme(rewards: Tensor, group: Group) -> Tensor:
        told = (
            replace(t, parts=dict(zip("ab", parts[r], strict=True)))
            for t, r in zip(group.trajectories, rewards.tolist(), strict=True)
        )
        return gdpo({"b": 2.0}, leave_one_out)(rewards, replace(group, trajectories=tuple(told)))

    each, chance = gradients(scheme, PI, REWARDS, 3)
    want = (PI[:, None] * f64(3, 0, 2)[:, None] * SCORES).sum(0)
    torch.testing.assert_close(chance @ each, want, rtol=0, atol=1e-14)


def test_the_length_weighted_baseline_has_the_least_variance_where_scores_grow_with_length() -> None:
    """E|(r - b) s|^2 with |s|^2 = T: in a large group b = E[T r] / E[T], and none is below it."""
    lengths, rewards = [1, 2, 6, 7], f64(1.0, 0.0, 1.0, 0.3)
    group = group_of(rewards)
    long = [
        replace(t, turns=(Turn(np.array([0]), np.zeros(n), np.zeros(n)),))
        for t, n in zip(group.trajectories, lengths, strict=True)
    ]
    got = length_weighted(rewards, replace(group, trajectories=tuple(long)))

    def noise(advantage: Tensor) -> float:
        return float(f64(*lengths) @ advantage**2)

    for shift in (-0.1, -1e-3, 1e-3, 0.1):
        assert noise(got + shift) > noise(got)
    assert noise(center(rewards)) > noise(got)


# ---------------------------------------------------------------- scales over a step


def step_weight(rescale: Rescale, size: int, p: float, prompts: int) -> float:
    """w in E[mean over the step of A_i s_i] = w grad p: all outcomes of some prompts of one difficulty."""
    total = 0.0
    for outcome in itertools.product((0.0, 1.0), repeat=size * prompts):
        rewards = f64(*outcome)
        cohort = [group_of(part) for part in rewards.split(size)]
        members = [t for g in assign(cohort, center, rescale) for t in g.trajectories]
        values = f64(*(float(t.advantage[0]) for t in members if t.advantage is not None))
        k = sum(outcome)
        chance = p**k * (1 - p) ** (len(outcome) - k)
        total += chance * float((values * (rewards - p)).mean())
    return total / (p * (1 - p))


@pytest.mark.parametrize("rescale", [batch_scale, centered_scale, whiten], ids=lambda f: f.__name__)
def test_over_a_step_of_one_prompt_a_scale_weighs_as_the_groups_deviation(rescale: Rescale) -> None:
    """The scales differ in what they take the deviation of; here there is only one thing to take it of."""

    def deviation(advantage: Tensor, trajectory_id: Tensor, rewards: Tensor) -> Tensor:
        return standardized()(rewards)

    for p in (0.1, 0.5):
        want = step_weight(deviation, 4, p, prompts=1)
        assert step_weight(rescale, 4, p, prompts=1) == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_over_informative_makes_up_for_groups_of_equals(p: float) -> None:
    """Pairs teach with chance q = 2 p (1 - p) and half the gradient. Of two pairs the other is silent with
    chance 1 - q, and then this one counts twice: (q + 2 (1 - q)) / 2."""
    q = 2 * p * (1 - p)
    assert step_weight(over_informative, 2, p, prompts=2) == pytest.approx(1 - q / 2, abs=1e-7)
    assert step_weight(lambda a, ids, r: a, 2, p, prompts=2) == pytest.approx(0.5, abs=1e-7)


def test_one_scale_for_a_step_weighs_prompts_alike_and_the_raw_one_less_where_they_differ() -> None:
    """A prompt of p = 1/2 beside one that is always solved: centred, the deviation is smaller."""
    cohort = [group_of(f64(1, 1, 0, 0)), group_of(f64(1, 1, 1, 1))]
    raw, centred = (
        float(assign(cohort, center, scale)[0].trajectories[0].advantage[0])  # type: ignore[index]
        for scale in (batch_scale, centered_scale)
    )
    assert raw == pytest.approx(0.5 / (math.sqrt(12 / 64 * 8 / 7) + 1e-4), rel=1e-6)
    assert centred == pytest.approx(0.5 / (math.sqrt(1 / 7) + 1e-4), rel=1e-6)
