"""What siblings got, fitted to where they were."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from answers import rewards_of, siblings, told, turn
from groupwise.advantages import fitted_states
from groupwise.advantages.fitted import WIDE, features
from groupwise.trajectory import Group, StopReason, Trajectory


def walk(states: list[list[float]], rewards: list[float]) -> Trajectory:
    return told(sum(rewards), turn([0] * len(states), observation=states, rewards=rewards))


def random_group(seed: int, lengths: tuple[int, ...] = (5, 9, 3, 7)) -> Group:
    draw = np.random.default_rng(seed)
    return siblings(*(walk(draw.normal(size=(n, 2)).tolist(), draw.normal(size=n).tolist()) for n in lengths))


def lists(scheme: fitted_states, group: Group) -> list[list[float]]:
    return [row.tolist() for row in scheme(rewards_of(group), group)]


def rewards(trajectory: Trajectory) -> list[float]:
    return [float(x) for turn in trajectory.turns for x in turn.rewards]


def test_who_came_to_no_decision_has_no_state_to_fit() -> None:
    group = random_group(3)
    one, *rest = group.trajectories
    with_it = siblings(one, walk([], []), *rest)
    own, nothing, *others = lists(fitted_states(), with_it)
    assert [own, *others] == lists(fitted_states(), group)
    assert nothing == []


def test_it_is_the_return_less_a_ridge_regression_on_the_others() -> None:
    """Solved by least squares with the penalty as rows of their own, for each alone."""
    group, ridge = random_group(0), 0.3
    rows = features([torch.from_numpy(t.turns[0].observation.astype(float)) for t in group.trajectories], 4)
    returns = [np.cumsum(rewards(t)[::-1])[::-1] for t in group.trajectories]
    got = lists(fitted_states(discount=1.0, trace=1.0, waves=4, ridge=ridge), group)
    for i, row in enumerate(got):
        others = [j for j in range(len(got)) if j != i]
        seen = np.concatenate([np.insert(rows[j].numpy(), 0, 1.0, axis=1) for j in others])
        aims = np.concatenate([returns[j] for j in others])
        penalty = math.sqrt(ridge * len(aims)) * np.eye(seen.shape[1])[1:]  # not of the constant
        left, right = np.concatenate([seen, penalty]), np.concatenate([aims, np.zeros(len(penalty))])
        constant, *weights = np.linalg.lstsq(left, right, rcond=None)[0]
        assert row == pytest.approx(returns[i] - constant - rows[i].numpy() @ weights)


def test_returns_that_follow_from_the_states_leave_nothing() -> None:
    """R = 3 + 2 x: every reward is what R loses from one state to the next."""

    def straight(places: list[float]) -> Trajectory:
        sums = [3 + 2 * x for x in places]
        steps = [now - later for now, later in itertools.pairwise([*sums, 0.0])]
        return walk([[x, 0.0] for x in places], steps)

    group = siblings(straight([0, 1, 5, 2]), straight([4, 3, 8]), straight([7, 0, 1, 1, 2]))
    got = lists(fitted_states(discount=1.0, trace=1.0, waves=0, ridge=1e-12), group)
    assert [x for row in got for x in row] == pytest.approx([0.0] * 12, abs=1e-6)


def test_what_one_earns_is_not_in_its_own_baseline() -> None:
    """Three more on its second step are three more for what it did until then, and that is all."""
    group = random_group(1)
    first = group.trajectories[0]
    own = rewards(first)
    own[1] += 3.0
    richer = walk(first.turns[0].observation.tolist(), own)
    before = lists(fitted_states(discount=1.0, trace=1.0), group)
    after = lists(fitted_states(discount=1.0, trace=1.0), siblings(richer, *group.trajectories[1:]))
    assert after[0] == pytest.approx([before[0][0] + 3, before[0][1] + 3, *before[0][2:]])
    assert after[1] != pytest.approx(before[1])


def test_between_returns_and_surprises_the_trace_decides() -> None:
    """V is what trace 1 takes off; the rest by hand from it."""
    group, discount, trace = random_group(2), 0.9, 0.6
    whole = lists(fitted_states(discount=discount, trace=1.0), group)
    faded = lists(fitted_states(discount=discount, trace=trace), group)
    for t, row, same in zip(group.trajectories, whole, faded, strict=True):
        steps = rewards(t)
        sums = [sum(discount**k * r for k, r in enumerate(steps[at:])) for at in range(len(steps))]
        values = [total - left for total, left in zip(sums, row, strict=True)] + [0.0]
        wrong = [r + discount * values[k + 1] - values[k] for k, r in enumerate(steps)]
        expected = [
            sum((discount * trace) ** k * x for k, x in enumerate(wrong[at:])) for at in range(len(wrong))
        ]
        assert same == pytest.approx(expected)


def test_a_cut_episode_is_worth_what_others_get_from_its_last_state() -> None:
    """One point a step without end, seen for 40 steps: 1 / (1 - 0.9) everywhere, not less towards the cut."""
    cut = [
        replace(walk([[float(x)] for x in range(40)], [1.0] * 40), stopped=StopReason.LENGTH)
        for _ in range(3)
    ]
    for row in lists(fitted_states(discount=0.9, trace=0.95, waves=0), siblings(*cut)):
        assert max(map(abs, row)) < 1.0
    ended = [replace(t, stopped=StopReason.FINISHED) for t in cut]
    assert lists(fitted_states(discount=0.9, trace=0.95, waves=0), siblings(*ended))[0][-1] != pytest.approx(
        lists(fitted_states(discount=0.9, trace=0.95, waves=0), siblings(*cut))[0][-1], abs=1.0
    )


def test_its_expected_gradient_is_the_returns_own() -> None:
    """All pairs of episodes of two coins, p = 0.3 heads; d/dlogit of the
    expected return against the mean of (heads - p) A. All states are alike: the time is left."""
    p = 0.3
    plays = list(itertools.product((0, 1), repeat=2))

    def chance(play: tuple[int, ...]) -> float:
        return math.prod(p if a else 1 - p for a in play)

    def episode(play: tuple[int, ...]) -> Trajectory:
        first, second = play
        return walk([[0.0], [0.0]], [2.0 * first, 5.0 * first * second - second])

    slope = sum(chance(a) * sum(h - p for h in a) * (episode(a).reward or 0.0) for a in plays)
    got = 0.0
    for one, two in itertools.product(plays, repeat=2):
        rows = lists(fitted_states(discount=1.0, trace=1.0), siblings(episode(one), episode(two)))
        terms = [
            (h - p) * a
            for play, row in zip((one, two), rows, strict=True)
            for h, a in zip(play, row, strict=True)
        ]
        got += chance(one) * chance(two) * sum(terms) / 2
    assert abs(slope) > 0.1
    assert got == pytest.approx(slope)


def test_numbers_that_never_change_and_wide_states_do_no_harm() -> None:
    narrow = features([torch.tensor([[1.0, 5.0], [3.0, 5.0]], dtype=torch.float64)], waves=2)[0]
    assert narrow.shape == (2, 3 + 2 + 2 * 2)
    assert narrow[:, -1].tolist() == narrow[:, -3].tolist() == [0.0, 0.0]
    wide = features([torch.randn(6, WIDE + 1, dtype=torch.float64)], waves=2)[0]
    assert wide.shape == (6, 3 + 2)
    assert torch.isfinite(wide).all()


def test_the_same_group_gives_the_same_numbers_whatever_was_drawn_before() -> None:
    group = random_group(3)
    one = lists(fitted_states(), group)
    torch.rand(7)
    assert lists(fitted_states(), group) == one


def test_texts_have_the_time_alone() -> None:
    text = siblings(told(1.0, turn([1, 2, 3])), told(0.0, turn([4, 5, 6])))
    got = lists(fitted_states(discount=1.0, trace=1.0), text)
    assert got[0] == pytest.approx([1.0, 1.0, 1.0])
    assert got[1] == pytest.approx([-1.0, -1.0, -1.0])


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"discount": 1.5}, {"trace": -0.1}, {"waves": -1}, {"ridge": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            fitted_states(**wrong)
