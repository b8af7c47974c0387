"""Scenes: seats' trajectories and rewards, groups that give valid baselines, random numbers, faults."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")

from crowds import Turns
from groupwise.advantages import assign, leave_one_out
from groupwise.distributions import Categorical
from groupwise.envs.faults import FailedEpisodesWarning, UnequalStartsWarning
from groupwise.envs.networks import Layout, network
from groupwise.envs.normalise import Moments, Normaliser
from groupwise.envs.scene_sampler import SceneSampler, together
from groupwise.envs.scenes import Decided, Play, returns
from groupwise.envs.spaces import UnplayableError
from groupwise.envs.watch import Watch
from groupwise.groups import Order
from groupwise.packing import pack
from groupwise.policies import NetworkPolicy
from groupwise.recipes import DR_GRPO
from groupwise.rewards.scoring import TrainerState
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason


def playing(make_scene: Any = Turns, seed: int = 0, **more: Any) -> SceneSampler:
    policy = NetworkPolicy(network(Layout(2), 2, 0, 0), Categorical())
    return SceneSampler(policy, make_scene, seed, **more)


def orders(*starts: int, count: int = 6, **columns: Any) -> list[Order]:
    return [Order(Prompt(i, start, columns), count) for i, start in enumerate(starts)]


class Always:
    """Plays one move."""

    def __init__(self, move: int) -> None:
        self.move, self.version = move, -1
        self.seen: list[np.ndarray] = []

    def load(self, version: int) -> None:
        self.version = version

    def act(self, observations: np.ndarray, uniform: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        assert uniform is not None
        self.seen.append(observations)
        return np.full(len(observations), self.move), np.zeros(len(observations))


def test_a_seats_rewards_are_what_it_was_given_after_each_of_its_decisions() -> None:
    """Until it decides again: what the other does to it counts for the decision before."""
    [first, second] = playing().collect(orders(0, count=40))
    for own, other in zip(first.trajectories, second.trajectories, strict=True):
        (a, c), (b, d) = own.turns[0].decisions, other.turns[0].decisions
        assert own.turns[0].rewards.tolist() == [a - 10 * b, c - 10 * d]
        # the second seat had been given something before it first decided
        assert other.turns[0].rewards.tolist() == [-10 * a + b - 10 * c, d]
        assert [own.parts["return"], other.parts["return"]] == [a + c - 10 * (b + d), b + d - 10 * (a + c)]
        assert own.turns[0].observation[:, 0].tolist() == [0, 2]
        assert other.turns[0].observation[:, 0].tolist() == [1, 3]
    scored = returns([first, second], TrainerState()).cohort
    assert [t.reward for g in scored for t in g.trajectories] == [
        t.parts["return"] for g in (first, second) for t in g.trajectories
    ]


def test_a_seat_that_never_decided_has_its_return_all_the_same() -> None:
    """On the scale of its siblings: -10 over a deviation of 4 in training, as it is in evaluation."""
    play = Play(Prompt(0, 0), 0, Turns(), {}, Watch())
    play.begin(0)
    play.act({0: Decided(1, 1, 0.0)})
    scale = Normaliser(returns=Moments(9.0, np.zeros(1), np.array([16.0])))
    for greedy, reward in ((False, -2.5), (True, -10.0)):
        bystander = play.trajectory(1, PolicyTag(), scale, greedy)
        [scored] = returns([Group(Prompt(0, 0), (bystander,))], TrainerState()).cohort
        assert scored.trajectories[0].n_decisions == 0
        assert scored.trajectories[0].reward == reward
        assert scored.trajectories[0].parts["return"] == -10


def test_a_group_is_one_seat_of_all_plays_from_one_start() -> None:
    """Two seats of one play never share a group: their rewards depend on each other's decisions."""
    made = playing().collect(orders(5, 9, count=3))
    assert [(g.prompt.content, g.prompt.columns["seat"]) for g in made] == [(5, 0), (5, 1), (9, 0), (9, 1)]
    assert len({g.prompt.ordinal for g in made}) == 4
    assert [len(g.trajectories) for g in made] == [3] * 4
    for group in made:
        starts = {t.turns[0].observation[0].tobytes() for t in group.trajectories}
        assert len(starts) == 1


def expected_gradient(grouped: Any, shared: bool) -> np.ndarray:
    """[2] of the two seats' logits at 0.3 and -0.2, over all that two plays of matching pennies can come to.

    Seat 0 wins 1 where both choose alike, else seat 1 does; or both win where they choose alike.
    """
    logits = np.array([0.3, -0.2])
    chance = 1 / (1 + np.exp(-logits))  # of choosing 1
    total = np.zeros(2)
    for moves in itertools.product([0, 1], repeat=4):  # (play, seat)
        played = np.array(moves).reshape(2, 2)
        odds = np.where(played == 1, chance, 1 - chance).prod()
        wins = np.where(played[:, 0] == played[:, 1], 1.0, -1.0)
        rewards = np.stack([wins, wins if shared else -wins], 1)
        score = played - chance  # d log p / d logit
        for members in grouped:
            advantages = leave_one_out(torch.tensor([rewards[m] for m in members])).numpy()
            for (play, seat), advantage in zip(members, advantages, strict=True):
                total[seat] += odds * advantage * score[play, seat] / 2
    return total


@pytest.mark.parametrize(("shared", "factor"), [(False, 4 / 3), (True, 2 / 3)])
def test_groups_of_one_seat_are_unbiased_and_groups_of_all_seats_are_not(shared: bool, factor: float) -> None:
    """d E[R_seat] / d logit_seat = p (1 - p) (4 q - 2) for seat 0; for seat 1 with p, q swapped, and its
    negative where one wins what the other loses.

    Pooled over two seats of two plays a third of the other seat's reward is in a seat's baseline, so that it
    learns as if it were paid R - R' / 3: 4/3 of its own where the sum is zero, 2/3 where it is shared.
    """
    p, q = 1 / (1 + np.exp([-0.3, 0.2]))
    true = [p * (1 - p) * (4 * q - 2), (1 if shared else -1) * q * (1 - q) * (4 * p - 2)]
    by_seat = [[(0, 0), (1, 0)], [(0, 1), (1, 1)]]
    pooled = [[(0, 0), (0, 1), (1, 0), (1, 1)]]
    assert expected_gradient(by_seat, shared) == pytest.approx(true, abs=1e-12)
    assert expected_gradient(pooled, shared) == pytest.approx([factor * g for g in true], abs=1e-12)


class Asked(Turns):
    """The second seat is asked only after a first move of 1, and then the play is over."""

    def asked(self) -> Mapping[int, np.ndarray]:
        passed = self.at == 1 and not self.money[0]
        return {} if passed or self.at == 2 else super().asked()


def test_plays_in_which_a_seat_was_not_asked_are_of_its_baseline() -> None:
    """Its return in them is known, and they have nothing to learn from."""
    made = playing(Asked).collect(orders(0, 1, 2, count=8))
    scored = assign(returns(made, TrainerState()).cohort, leave_one_out)
    seconds = [g for g in scored if g.prompt.columns["seat"] == 1]
    assert all(len(g.trajectories) == 8 for g in seconds)
    asked = [t for g in seconds for t in g.trajectories if t.n_decisions]
    assert 0 < len(asked) < 8 * len(seconds)
    for group in seconds:
        rewards = group.rewards
        for t in group.trajectories:
            expected = t.reward - (rewards.sum() - t.reward) / 7
            assert t.advantage.tolist() == pytest.approx([expected] * t.n_decisions)
    batch = pack(seconds, DR_GRPO, playing(Asked).policy, 4096)
    assert batch is not None
    assert len(batch) == len(asked)


def test_a_seat_that_is_seldom_asked_learns_without_bias() -> None:
    """Asked with probability 0.3, it chooses 1 with p and then gets 1, else 0; not asked it gets -1.

    d E[R] / d logit = 0.3 p (1 - p), over all that two plays can come to; compared only with siblings that
    were asked too it would be 0.3 of that.
    """
    p = 1 / (1 + np.exp(-0.4))
    play = [(0.7, -1.0, 0.0), (0.3 * p, 1.0, 1 - p), (0.3 * (1 - p), 0.0, -p)]  # odds, return, d log p
    total = 0.0
    for (odds, reward, score), (odds2, reward2, score2) in itertools.product(play, repeat=2):
        advantages = leave_one_out(torch.tensor([reward, reward2], dtype=torch.float64))
        total += odds * odds2 * float(advantages @ torch.tensor([score, score2], dtype=torch.float64)) / 2
    assert total == pytest.approx(0.3 * p * (1 - p), abs=1e-12)


def test_all_seats_together_are_one_group() -> None:
    [group] = playing(grouped=together).collect(orders(0, count=4))
    assert len(group.trajectories) == 8
    assert "seat" not in group.prompt.columns


def test_somebody_else_plays_the_other_seats() -> None:
    """Nothing that it decided is learned from; how the seat came off is told by its name."""
    other = Always(1)
    sampler = playing(players={"bully": other}, normaliser=None)
    sampler.load(7)
    [group] = sampler.collect(orders(0, count=5, against="bully", seat=1))
    assert other.version == 7
    assert sum(map(len, other.seen)) == 2 * 5
    assert [float(row[0]) for rows in other.seen for row in rows] == [0.0] * 5 + [2.0] * 5
    assert group.prompt.columns == {"against": "bully", "seat": 1}
    for t in group.trajectories:
        assert t.turns[0].observation[:, 0].tolist() == [1, 3]
        assert (t.parts["bully/win"], t.parts["bully/loss"]) == (0, 1)
        assert t.policy == PolicyTag(version=7)
    [own, _] = sampler.collect(orders(0, count=5))
    assert "bully/win" not in own.trajectories[0].parts


def test_equal_orders_give_equal_plays_and_others_have_no_say() -> None:
    def all_of(groups: list[Group]) -> list[Any]:
        return [
            (t.turns[0].decisions.tolist(), t.turns[0].behaviour_logp.tolist())
            for g in groups
            for t in g.trajectories
        ]

    together_, again = (all_of(playing().collect(orders(0, 1, 2))) for _ in range(2))
    alone = [x for order in orders(0, 1, 2) for x in all_of(playing().collect([order]))]
    assert together_ == again == alone
    assert all_of(playing(seed=1).collect(orders(0, 1, 2))) != again
    assert len({str(x) for x in again}) > 8


def test_what_was_drawn_is_scored_alike_by_the_learner() -> None:
    sampler = playing()
    for group in sampler.collect(orders(0, 1)):
        for t in group.trajectories:
            scored = sampler.policy.score(sampler.policy.inputs([(0, t)]))
            assert scored.logp.detach().numpy() == pytest.approx(t.behaviour_logp, abs=1e-6)


def test_held_out_play_is_the_likeliest_or_the_mixture_and_carries_the_judges_word() -> None:
    judge = {"exploitability": 0.25}
    greedy = playing(judge=lambda: judge).collect(orders(0, count=20), greedy=True)
    assert len({str(t.turns[0].decisions) for t in greedy[0].trajectories}) == 1
    mixed = playing(judge=lambda: judge, mixes=True).collect(orders(0, count=20), greedy=True)
    assert len({str(t.turns[0].decisions) for t in mixed[0].trajectories}) > 1
    assert {t.parts["exploitability"] for g in (*greedy, *mixed) for t in g.trajectories} == {0.25}
    assert "exploitability" not in playing(judge=lambda: judge).collect(orders(0))[0].trajectories[0].parts


# ---------------------------------------------------------------- faults


@pytest.mark.filterwarnings("ignore:a call into the environment hung")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raises", "RuntimeError: the table fell over"),
        ("exits", "SystemExit: closed"),
        ("hangs", r"HungError: it did not come back within [0-9.]+ seconds"),
        ("reward", "a reward of nan"),
    ],
)
def test_a_play_that_fails_is_told_and_not_learned_from(fault: str, words: str) -> None:
    """For none of its seats, those among them that had not decided yet; its siblings go on without it."""
    sampler = playing(lambda: Turns(fault), watch=Watch(patience=0.3))
    with pytest.warns(FailedEpisodesWarning, match=words):
        groups = sampler.collect(orders(0, count=12))
    by_seat = [[t.stopped is StopReason.ERROR for t in g.trajectories] for g in groups]
    assert by_seat[0] == by_seat[1]
    assert 0 < sum(by_seat[0]) < len(by_seat[0]) == 12
    assert not all(t.n_decisions for t in groups[1].trajectories)
    cohort = assign(returns(groups, TrainerState()).cohort, leave_one_out)
    for group, failed in zip(cohort, by_seat, strict=True):
        assert [t.reward is None for t in group.trajectories] == failed
        assert [bool(t.extra) for t in group.trajectories] == failed
    assert pack(cohort, DR_GRPO, sampler.policy, 1000) is None  # the others never chose 1: all are alike


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("unborn", "all 6 episodes failed; the first after 0 moves: OSError: no board is free"),
        ("observation", "an observation that is not finite"),
        ("shape", r"an observation of \(1,\), where 2 numbers are due"),
    ],
)
def test_where_every_play_fails_the_run_ends(fault: str, words: str) -> None:
    with pytest.raises(UnplayableError, match=words):
        playing(lambda: Turns(fault)).collect(orders(0))


def test_a_scene_that_failed_is_made_anew() -> None:
    made: list[Turns] = []

    def make_scene() -> Turns:
        made.append(Turns("raises"))
        return made[-1]

    sampler = playing(make_scene)
    with pytest.warns(FailedEpisodesWarning):
        groups = sampler.collect(orders(0, count=12))
    failed = sum(t.stopped is StopReason.ERROR for t in groups[0].trajectories)
    assert len(made) == 12 + failed
    assert sum(scene.closed for scene in made) == failed
    sampler.close()
    assert sum(scene.closed for scene in made) == len(made)


def test_siblings_that_begin_otherwise_are_told() -> None:
    with pytest.warns(UnequalStartsWarning, match="ignores the seed"):
        playing(lambda: Turns(seedless=True)).collect(orders(0))
