"""Ratios: at which level, with whose gradient."""

import math

import pytest
import torch

from decisions import having
from groupwise import losses
from groupwise.losses import (
    clipped,
    per_trajectory,
    per_trajectory_mean,
)


def test_opposite_log_ratios_cancel_in_a_trajectory() -> None:
    got = per_trajectory(torch.tensor([0.2, -0.2, 0.5]), having(torch.zeros(3), torch.tensor([0, 0, 1])))
    assert got.tolist() == [0.0, 0.0, 0.5]


def test_a_trajectory_pulls_each_of_its_decisions_by_its_own_ratio() -> None:
    """Sequence i adds s_i A_i / n, so each of its T_i decisions gets s_i A_i / (n T_i)."""
    log_ratio = torch.tensor([0.3, -0.1, 0.2, -0.4, 0.1], requires_grad=True)
    ids, advantage = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([2.0, 2.0, -1.0, -1.0, -1.0])
    d = having(advantage, ids)
    gain = -torch.dot(per_trajectory_mean(ids, ids), losses.plain(per_trajectory(log_ratio, d), d))
    s = [math.exp(0.1), math.exp(-0.1 / 3)]
    assert gain.item() == pytest.approx((s[0] * 2 - s[1]) / 2, rel=1e-12)
    (slope,) = torch.autograd.grad(gain, log_ratio)
    assert slope.tolist() == pytest.approx([s[0] * 2 / (2 * 2)] * 2 + [-s[1] / (2 * 3)] * 3, rel=1e-12)


@pytest.mark.parametrize("surrogate", [losses.plain, clipped(3e-4, 4e-4), clipped(0.2, 0.2)])
def test_gspo_and_gspo_token_have_the_same_gradient(surrogate: losses.Surrogate) -> None:
    """GSPO-token: sg[s_i] pi / sg[pi] for each token. Equal while A is constant over a trajectory."""
    log_ratio = torch.tensor([0.3, -0.1, -0.2, -0.4, 0.1], requires_grad=True)
    ids, advantage = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([-2.0, -2.0, 1.0, 1.0, 1.0])
    weight, d = per_trajectory_mean(ids, ids), having(advantage, ids)
    level = per_trajectory(log_ratio, d)
    token = level.detach() + log_ratio - log_ratio.detach()
    slopes = []
    for x in (level, token):
        loss = torch.dot(weight, surrogate(x, d))
        slopes.append(torch.autograd.grad(loss, log_ratio, retain_graph=True)[0])
    assert slopes[0].abs().min() > 0
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-12, atol=0)
