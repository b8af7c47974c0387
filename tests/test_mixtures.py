"""Mixture log-probs, effective sample sizes, and the exact gradients of a bandit that two policies play."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from groupwise import Recipe, objective
from groupwise.advantages import center, importance_weighted, leave_one_out, stratified
from groupwise.losses import (
    Decisions,
    per_decision,
    per_trajectory_mean,
    per_trajectory_product,
    plain,
    truncated,
)
from groupwise.mixtures import (
    Ratios,
    Scored,
    balance,
    effective_share,
    log_mixture,
    log_weight,
    per_source,
    uncorrected,
    weights,
)
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

# ---------------------------------------------------------------------------- mixtures


def random_logp(policies: int, tokens: int) -> np.ndarray:
    return -np.random.default_rng(0).exponential(2.0, (policies, tokens))


def test_the_tokens_of_a_mixture_multiply_to_the_mixture_of_whole_answers() -> None:
    logp, counts = random_logp(3, 50), (5, 2, 1)
    whole = np.logaddexp.reduce(np.log(np.array(counts) / 8) + logp.sum(1))
    assert log_mixture(logp, counts).sum() == pytest.approx(whole, rel=1e-14)


def test_a_token_is_drawn_with_the_shares_that_the_answer_so_far_has_left() -> None:
    """w_j = alpha_j q_j(y_<t), normalised; shares that stay alpha_j are another distribution."""
    logp, share = random_logp(2, 6), np.array([0.75, 0.25])
    got = log_mixture(logp, (3, 1))
    before = np.concatenate([np.zeros((2, 1)), logp.cumsum(1)[:, :-1]], axis=1)
    posterior = share[:, None] * np.exp(before)
    posterior /= posterior.sum(0)
    np.testing.assert_allclose(np.exp(got), (posterior * np.exp(logp)).sum(0), rtol=1e-12)
    constant = np.log((share[:, None] * np.exp(logp)).sum(0))
    assert np.abs(constant - got)[1:].max() > 0.01
    assert constant[0] == pytest.approx(got[0])


def test_a_mixture_of_one_policy_or_of_equal_ones_is_that_policy() -> None:
    logp = random_logp(1, 7)
    np.testing.assert_allclose(log_mixture(logp, (4,)), logp[0], atol=1e-14)
    np.testing.assert_allclose(log_mixture(np.repeat(logp, 3, 0), (1, 2, 5)), logp[0], atol=1e-14)


def test_very_unlikely_answers_do_not_underflow() -> None:
    logp = np.array([[-5000.0, -1.0], [-4000.0, -2.0]])
    np.testing.assert_allclose(log_mixture(logp, (1, 1)), [-4000 + math.log(0.5), -2.0], rtol=1e-12)


def test_the_weight_of_an_answer_is_at_most_one_over_the_current_policys_share() -> None:
    logp = random_logp(3, 40)
    for current in range(3):
        weight = math.exp(logp[current].sum() - log_mixture(logp, (2, 2, 4)).sum())
        assert weight <= 8 / (2, 2, 4)[current] * (1 + 1e-12)


def test_effective_shares_by_hand() -> None:
    def share(*log_weights: float) -> float:
        w = weights(log_weights)
        return effective_share(float(w.sum()), float((w**2).sum()), len(log_weights))

    assert share(0.3, 0.3, 0.3, 0.3) == pytest.approx(1)
    assert share(math.log(1), math.log(3)) == pytest.approx(16 / 10 / 2)
    assert share(0.0, -800.0, -800.0, -800.0) == pytest.approx(1 / 4)
    assert share(-800.0, -800.0) == 0, "no weight is left: 0, not 0 / 0"
    assert math.isfinite(share(800.0, 0.0))


# ---------------------------------------------------------------------------- whole answers


EXACT = truncated(1e9, per_trajectory_product)
"""One weight for all decisions of an answer, nothing cut off."""


def two_step_gradient(correction: Callable[[Decisions], Tensor]) -> Tensor:
    """Expected gradient over answers of two binary tokens that a mixture of two policies writes."""
    theta = torch.tensor([[0.3, -0.2], [0.5, 0.0], [-0.4, 0.1]], dtype=torch.float64, requires_grad=True)
    others = torch.tensor([[-0.5, 0.5], [0.0, 0.9], [1.0, -1.0]], dtype=torch.float64).log_softmax(1)
    reward = {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 0.2, (1, 1): 0.7}
    recipe = Recipe(center, per_decision, plain, lambda ids, _: torch.ones(len(ids)), correction=correction)
    total: Tensor = torch.zeros(())
    for answer, value in reward.items():
        states = (0, 1 + answer[0])
        new = torch.stack([theta.log_softmax(1)[s, a] for s, a in zip(states, answer, strict=True)])
        other = torch.stack([others[s, a] for s, a in zip(states, answer, strict=True)])
        mixture = log_mixture(torch.stack([new.detach(), other]).numpy(), (1, 1))
        loss = objective(
            recipe,
            new,
            torch.from_numpy(mixture),
            torch.full((2,), value, dtype=torch.float64),
            torch.zeros(2, dtype=torch.int64),
            proximal_logp=new.detach(),
        )
        total = total - math.exp(mixture.sum()) * loss.value
    return torch.autograd.grad(total, theta)[0]


def test_weights_of_whole_answers_are_exact_and_those_of_single_decisions_are_not() -> None:
    """The target is the gradient of the expected reward itself, by autograd."""
    theta = torch.tensor([[0.3, -0.2], [0.5, 0.0], [-0.4, 0.1]], dtype=torch.float64, requires_grad=True)
    p = theta.softmax(1)
    expected = p[0, 0] * p[1, 0] * 1.0 + p[0, 1] * (p[2, 0] * 0.2 + p[2, 1] * 0.7)
    target = torch.autograd.grad(expected, theta)[0]
    torch.testing.assert_close(two_step_gradient(EXACT), target, rtol=0, atol=1e-12)
    assert (two_step_gradient(truncated(1e9)) - target).abs().max() > 0.005


# ---------------------------------------------------------------------------- the bandit
# Three arms; the current policy pi is none of the two that play, two answers each: 81 outcomes.

PI, REWARD, VALUE = np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.0, 0.5]), 0.6
Q = {"a": np.array([0.2, 0.5, 0.3]), "b": np.array([0.7, 0.2, 0.1])}
SEATS = ("a", "a", "b", "b")
TARGET = (0.2, -0.18, -0.02)
ADVANTAGE = Callable[[Tensor, Group], Tensor]


def raw(rewards: Tensor, group: Group) -> Tensor:
    return rewards


def constant(rewards: Tensor, group: Group) -> Tensor:
    return rewards - VALUE


def own_leave_one_out(rewards: Tensor, group: Group) -> Tensor:
    """Each answer against the other one of its own policy."""
    return rewards - rewards[[1, 0, 3, 2]]


def group_of(arms: tuple[int, ...], ratios: Ratios, players: tuple[str, ...] = SEATS) -> Group:
    """The library's trajectories of an outcome, one decision each."""
    policies = {**Q, "current": PI}
    members = []
    for player, arm in zip(players, arms, strict=True):
        own, current = (np.log(policies[name][[arm]]) for name in (player, "current"))
        names = list(dict.fromkeys(players))
        every = np.log(np.stack([policies[name][[arm]] for name in names]))
        counts = tuple(players.count(name) for name in names)
        behaviour = ratios.behaviour(Scored(own, current, every, counts))
        turn = Turn(np.zeros(1), np.array([arm]), own)
        members.append(
            Trajectory(
                (turn,),
                PolicyTag(player),
                StopReason.FINISHED,
                reward=float(REWARD[arm]),
                proximal_logp=current,
                mixture_logp=behaviour,
            )
        )
    return Group(Prompt(0, "?"), tuple(members))


def moments(
    ratios: Ratios, advantage: ADVANTAGE, players: tuple[str, ...] = SEATS
) -> tuple[np.ndarray, float]:
    """Expected gradient [3] and trace of its covariance, over all outcomes, by the library's objective."""
    recipe = Recipe(center, per_decision, plain, per_trajectory_mean, correction=EXACT)
    logits = torch.tensor(np.log(PI), requires_grad=True)
    mean, square = np.zeros(3), 0.0
    for arms in itertools.product(range(3), repeat=4):
        group = group_of(arms, ratios, players)
        chance = math.prod(
            ({**Q, "current": PI})[player][arm] for player, arm in zip(players, arms, strict=True)
        )
        behaviour, proximal = (
            torch.from_numpy(np.concatenate([getattr(t, name) for t in group.trajectories]))
            for name in ("behaviour_logp", "proximal_logp")
        )
        loss = objective(
            recipe,
            logits.log_softmax(0)[list(arms)],
            behaviour,
            advantage(torch.from_numpy(group.rewards), group),
            torch.arange(4),
            proximal_logp=proximal,
        )
        gradient = -torch.autograd.grad(loss.value, logits)[0].numpy()
        mean += chance * gradient
        square += chance * float(gradient @ gradient)
    return mean, square - float(mean @ mean)


GROUP_MEAN = tuple(0.75 * x for x in TARGET)


@pytest.mark.parametrize(
    ("ratios", "advantage", "gradient", "variance"),
    [
        (per_source, raw, TARGET, 0.074473),
        (per_source, constant, TARGET, 0.0168),
        (per_source, leave_one_out, TARGET, 0.028933),
        (per_source, center, GROUP_MEAN, 0.016275),
        (per_source, stratified, TARGET, 0.034834),
        (balance, raw, TARGET, 0.036663),
        (balance, constant, TARGET, 0.008452),
        (balance, center, (0.162659, -0.142167, -0.020492), 0.011676),
        (balance, leave_one_out, (0.216878, -0.189556, -0.027323), 0.020757),
        (balance, stratified, TARGET, 0.019125),
        (balance, importance_weighted, TARGET, 0.037069),
        (balance, own_leave_one_out, (0.149365, -0.151333, 0.001968), 0.0498),
        (uncorrected, center, (0.164375, -0.151875, -0.0125), None),
        (uncorrected, leave_one_out, (0.219167, -0.2025, -0.016667), None),
    ],
)
def test_expected_gradient_and_variance_of_the_bandit(
    ratios: Ratios, advantage: ADVANTAGE, gradient: tuple[float, ...], variance: float | None
) -> None:
    """Would catch a baseline that turns the gradient, a wrong share in the mixture, a weight at the wrong
    place; the two rows with three digits are rounded so in the table."""
    mean, spread = moments(ratios, advantage)
    np.testing.assert_allclose(mean, gradient, rtol=0, atol=6e-7)
    if variance is not None:
        assert spread == pytest.approx(variance, abs=6e-7 if variance not in (0.0168, 0.0498) else 6e-5)


@pytest.mark.parametrize("advantage", [leave_one_out, stratified, importance_weighted])
def test_on_policy_all_baselines_are_leave_one_out(advantage: ADVANTAGE) -> None:
    """Four answers of the current policy: gradient unbiased, variance 0.026833, above the mixture's best."""
    mean, spread = moments(balance, advantage, ("current",) * 4)
    np.testing.assert_allclose(mean, TARGET, rtol=0, atol=1e-12)
    assert spread == pytest.approx(0.026833, abs=6e-7)


def test_a_policys_weighted_score_has_a_mean_of_its_own_under_the_balance_heuristic() -> None:
    """c_a = -c_b: the reason why a baseline needs one expectation for all."""
    mixture = (Q["a"] + Q["b"]) / 2
    scores = np.eye(3) - PI
    c = {name: ((q * PI / mixture)[:, None] * scores).sum(0) for name, q in Q.items()}
    np.testing.assert_allclose(c["a"], (-0.253175, 0.143333, 0.109841), atol=6e-7)
    np.testing.assert_allclose(c["b"], -c["a"], atol=1e-12)
    biased = moments(balance, leave_one_out)[0] - np.array(TARGET)
    predicted = sum(0.5 * c[name] * (q @ REWARD) for name, q in Q.items()) / 3
    np.testing.assert_allclose(biased, predicted, atol=1e-12)


@pytest.mark.parametrize(
    ("ratios", "shares"),
    [(balance, {"a": 0.98746, "b": 0.98746}), (per_source, {"a": 0.63966, "b": 0.82840})],
)
def test_effective_shares_of_the_bandit(ratios: Ratios, shares: dict[str, float]) -> None:
    """1 / (1 + chi^2): from the library's own weights; of the mixture as a whole, of each policy alone."""
    total, squares = dict.fromkeys(Q, 0.0), dict.fromkeys(Q, 0.0)
    for k, name in ((0, "a"), (2, "b")):
        for arm in range(3):
            w = math.exp(log_weight(group_of((arm,) * 4, ratios).trajectories[k]))
            total[name] += Q[name][arm] * w
            squares[name] += Q[name][arm] * w**2
    if ratios is balance:
        total, squares = ({n: sum(x.values()) / 2 for n in Q} for x in (total, squares))
    for name, share in shares.items():
        assert effective_share(total[name], squares[name], 1) == pytest.approx(share, abs=6e-6)


def test_an_answer_of_the_current_policy_alone_needs_no_weight() -> None:
    turn = Turn(np.zeros(1), np.zeros(2), np.array([-1.0, -2.0]))
    assert log_weight(Trajectory((turn,), PolicyTag(), StopReason.FINISHED)) == 0
