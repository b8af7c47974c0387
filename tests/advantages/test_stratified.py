"""Baselines of groups from several policies, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from groupwise.advantages import assign, importance_weighted, leave_one_out, stratified
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn


def group(names: str, rewards: list[float | None], log_weights: list[float] | None = None) -> Group:
    """One decision an answer; log_weights are those to the policy that wrote it."""
    members = []
    for i, (name, reward) in enumerate(zip(names, rewards, strict=True)):
        turn = Turn(np.zeros(1), np.zeros(1), np.array([-1.0]))
        proximal = None if log_weights is None else np.array([log_weights[i] - 1.0])
        mixture = None if log_weights is None else np.array([-7.0])
        members.append(
            Trajectory(
                (turn,),
                PolicyTag(name),
                StopReason.FINISHED,
                reward=reward,
                proximal_logp=proximal,
                mixture_logp=mixture,
            )
        )
    return Group(Prompt(0, "?"), tuple(members))


def rewards_of(g: Group) -> torch.Tensor:
    return torch.from_numpy(g.rewards)


def test_stratified_by_hand() -> None:
    """b of the first: its policy's other one, 0, with share 2/5, and the mean of the others, 2, with 3/5."""
    g = group("aabbb", [1.0, 0.0, 1.0, 2.0, 3.0])
    got = stratified(rewards_of(g), g).tolist()
    assert got == pytest.approx(
        [
            1 - (0.4 * 0 + 0.6 * 2),
            0 - (0.4 * 1 + 0.6 * 2),
            1 - (0.4 * 0.5 + 0.6 * 2.5),
            2 - (0.4 * 0.5 + 0.6 * 2.0),
            3 - (0.4 * 0.5 + 0.6 * 1.5),
        ]
    )


def test_the_order_of_answers_does_not_matter() -> None:
    mixed, sorted_ = group("abbab", [1, 1, 2, 0, 3]), group("aabbb", [1, 0, 1, 2, 3])
    got, wanted = (stratified(rewards_of(g), g).tolist() for g in (mixed, sorted_))
    assert [got[i] for i in (0, 3, 1, 2, 4)] == pytest.approx(wanted)


def test_one_policy_alone_is_leave_one_out() -> None:
    g = group("aaaa", [0.3, -2.0, 5.5, 0.1])
    torch.testing.assert_close(stratified(rewards_of(g), g), leave_one_out(rewards_of(g)))
    torch.testing.assert_close(importance_weighted(rewards_of(g), g), leave_one_out(rewards_of(g)))


def test_an_answer_without_a_sibling_of_its_policy_teaches_nothing_and_still_counts_for_the_others() -> None:
    g = group("aab", [1.0, 0.0, 4.0])
    assert stratified(rewards_of(g), g).tolist() == pytest.approx([1 - 4 / 3, 0 - 2 / 3 - 4 / 3, 0.0])


def test_equal_rewards_teach_exactly_nothing() -> None:
    g = group("aabb", [0.1] * 4)
    assert stratified(rewards_of(g), g).tolist() == [0.0] * 4


def test_importance_weighted_by_hand() -> None:
    """Weights to the policy that wrote an answer, whatever the mixture is: 2 and 1/2."""
    g = group("ab", [1.0, 4.0], [math.log(2), math.log(0.5)])
    assert importance_weighted(rewards_of(g), g).tolist() == pytest.approx([1 - 0.5 * 4, 4 - 2 * 1])


def test_an_unscored_answer_is_in_no_baseline() -> None:
    g = group("aabbb", [1.0, 0.0, 1.0, 3.0, None])
    got = [float(t.advantage[0]) for t in assign([g], stratified)[0].trajectories if t.advantage is not None]
    assert got == pytest.approx([1 - 0.5 * 0 - 0.5 * 2, 0 - 0.5 * 1 - 0.5 * 2, 1 - 1.75, 3 - 0.75, 0.0])
