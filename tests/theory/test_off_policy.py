"""Answers of another policy: which ratio gives the gradient, and where a shifted baseline ends."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dynamics import flow, limit
from exact import TwoSteps, f64
from groupwise.advantages import asymmetric
from groupwise.losses import Decisions, plain
from groupwise.losses.decisions import per_trajectory_sum
from groupwise.recipes import RLOO, objective

WORLD = TwoSteps()
NEW = f64(0.3, -0.2, 0.5, 0.0, -0.4, 0.1)
OLD = f64(0.0, 0.0, 0.0, 0.3, 0.2, 0.0)
REWARDS = f64(1.0, 0.0, 0.2, 0.7)


def whole(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """The ratio of the trajectory: the product over its decisions, for each of them."""
    total, _, index = per_trajectory_sum(log_ratio, decisions.trajectory_id)
    return total[index]


def once(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """-rho A shared among the decisions of a trajectory, for a ratio that they have in common."""
    _, lengths, index = per_trajectory_sum(log_ratio, decisions.trajectory_id)
    return plain(log_ratio, decisions) / lengths[index]


TRAJECTORY = replace(RLOO, ratio=whole, surrogate=once)


def test_a_trajectory_ratio_is_the_gradient_and_token_ratios_are_not() -> None:
    """Two steps, two actions, an old policy that differs (arXiv 2508.02833)."""
    exact = f64(0.026139, -0.026139, 0.14628, -0.14628, -0.044362, 0.044362)
    wrong = f64(0.000112, -0.000112, 0.117502, -0.117502, -0.058751, 0.058751)
    gradient = WORLD.policy_gradient(NEW, REWARDS)
    torch.testing.assert_close(gradient, exact, rtol=0, atol=1e-6)
    by_token = WORLD.surrogate_gradient(RLOO, NEW, OLD, REWARDS)
    torch.testing.assert_close(by_token, wrong, rtol=0, atol=1e-6)
    by_trajectory = WORLD.surrogate_gradient(TRAJECTORY, NEW, OLD, REWARDS)
    torch.testing.assert_close(by_trajectory, gradient, rtol=0, atol=1e-14)


def test_token_ratios_stay_near_the_gradient_at_the_old_policy() -> None:
    """To first order they are that of where the answers came from, however far the policy has moved."""
    before = WORLD.policy_gradient(OLD, REWARDS)
    torch.testing.assert_close(before[[0, 2, 4]], f64(0.000119, 0.122229, -0.061879), rtol=0, atol=1e-6)
    by_token = WORLD.surrogate_gradient(RLOO, NEW, OLD, REWARDS)
    gap = (by_token - before).norm()
    assert gap < 0.2 * (by_token - WORLD.policy_gradient(NEW, REWARDS)).norm()


def test_on_policy_every_ratio_agrees() -> None:
    for recipe in (RLOO, TRAJECTORY):
        got = WORLD.surrogate_gradient(recipe, OLD, OLD, REWARDS)
        torch.testing.assert_close(got, WORLD.policy_gradient(OLD, REWARDS), rtol=0, atol=1e-14)


# ---------------------------------------------------------------- AsymRE


def log_likelihood(log_ratio: Tensor, decisions: Decisions) -> Tensor:
    """-A log pi with no importance ratio: a surrogate for answers of whoever wrote them."""
    return -decisions.advantage * log_ratio


ON_LIKELIHOOD = replace(RLOO, surrogate=log_likelihood)


@pytest.mark.parametrize("logits", [f64(0.0, 0.0, 0.0), f64(1.0, -2.0, 0.5)])
def test_the_step_is_that_of_tabular_softmax(logits: Tensor) -> None:
    """d logit = mu (r - V) - pi (V^mu - V) (arXiv 2506.20520), through `objective`."""
    data, rewards = torch.tensor([0] * 5 + [1] * 3 + [2] * 2), f64(1.0, 0.6, 0.0)
    theta = logits.clone().requires_grad_()
    new = theta.log_softmax(0)[data]
    advantage = asymmetric(-0.58)(rewards[data])
    weight = torch.full((10,), 0.1, dtype=torch.float64)
    loss = objective(ON_LIKELIHOOD, new, new.detach() - 1.0, advantage, torch.arange(10), weight=weight)
    up, down = flow(data, rewards, -0.58)
    got = -torch.autograd.grad(loss.value, theta)[0]
    torch.testing.assert_close(got, up - logits.softmax(0) * down, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("data", "rewards", "value", "exact"),
    [
        ([0, 1], f64(1, 0), -0.5, f64(0.75, 0.25)),
        ([0] * 5 + [1] * 3 + [2] * 2, f64(1, 0.6, 0), 0.1, f64(0.758621, 0.241379, 0)),
    ],
)
def test_below_the_mean_the_limit_is_a_mixture(
    data: list[int], rewards: Tensor, value: float, exact: Tensor
) -> None:
    """pi* = [mu (r - V) - tau]+ / (V^mu - V): answers a little better than V are kept."""
    answers = torch.tensor(data)
    got = limit(answers, rewards, value - float(rewards[answers].mean()))
    torch.testing.assert_close(got, exact, rtol=0, atol=1e-6)


def test_answers_leave_the_mixture_one_by_one_as_the_baseline_rises() -> None:
    """tau = V / 10 while two are left, so the second leaves where .3 (.6 - V) = V / 10: at V = .45."""
    answers, rewards = torch.tensor([0] * 5 + [1] * 3 + [2] * 2), f64(1, 0.6, 0)
    before, after = (limit(answers, rewards, value - 0.68)[1] for value in (0.40, 0.50))
    assert before.item() == pytest.approx((0.3 * 0.2 - 0.04) / 0.28, abs=1e-4)
    assert after < 1e-4


@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_at_the_mean_or_above_it_the_policy_collapses(shift: float) -> None:
    answers, rewards = torch.tensor([0] * 5 + [1] * 3 + [2] * 2), f64(1, 0.6, 0)
    got = limit(answers, rewards, shift)
    assert got.max() > 0.999
