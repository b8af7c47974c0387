"""Ratios: at which level, with whose gradient."""

import math

import pytest
import torch
from torch import Tensor

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


def test_gspo_token_is_a_ratio_of_this_package() -> None:
    """The value of the mean, the gradient of the own decision."""
    log_ratio = torch.tensor([0.3, -0.1, 0.5], requires_grad=True)
    d = having(torch.ones(3), torch.tensor([0, 0, 1]))
    got = losses.per_trajectory_token(log_ratio, d)
    assert got.tolist() == pytest.approx([0.1, 0.1, 0.5])
    (slope,) = torch.autograd.grad(got[0], log_ratio)
    assert slope.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("advantage", "log_ratio", "mean", "slopes"),
    [
        (1.0, [0.6, 0.0], 0.2, [0, 0.5]),
        (1.0, [-0.6, 0.0], -0.3, [0.5, 0.5]),
        (-1.0, [0.6, 0.0], 0.3, [0.5, 0.5]),
        (-1.0, [-0.6, 0.0], -0.2, [0, 0.5]),
        (0.0, [0.6, -0.6], 0.0, [0.5, 0.5]),
    ],
)
def test_the_geometric_mean_is_clipped_decision_by_decision_on_the_side_it_is_pushed_to(
    advantage: float, log_ratio: list[float], mean: float, slopes: list[float]
) -> None:
    """T = 2, log rho = (.6, 0), A > 0: exp(.2). Clipping the mean, or both sides, gives other numbers."""
    x = torch.tensor(log_ratio, requires_grad=True)
    d = having(torch.full((2,), advantage), torch.zeros(2, dtype=torch.int64))
    got = losses.clipped_mean(0.4, 0.4)(x, d)
    assert got.tolist() == pytest.approx([mean, mean])
    assert torch.autograd.grad(got[0], x)[0].tolist() == pytest.approx(slopes)


def test_a_clip_of_log_ratios_needs_room_on_both_sides() -> None:
    with pytest.raises(ValueError, match="both above 0"):
        losses.clipped_mean(0.4, 0.0)


def test_the_ratio_from_the_behaviour_includes_what_happened_before_the_step() -> None:
    d = having(torch.ones(2), torch.zeros(2, dtype=torch.int64), behaviour_logp=torch.tensor([-0.5, -0.25]))
    x = torch.tensor([0.1, 0.2])
    assert losses.from_behaviour()(x, d).tolist() == pytest.approx([0.6, 0.45])
    product = losses.from_behaviour(losses.per_trajectory_product)
    assert product(x, d).tolist() == pytest.approx([1.05, 1.05])


# a tree of two decisions with two arms each: root, then node 0 or 1
TREE = {"new": (0.3, -0.2, 0.5, 0.0, -0.4, 0.1), "old": (0.0, 0.0, 0.0, 0.3, 0.2, 0.0)}
PAYS = {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 0.2, (1, 1): 0.7}


def path_logp(logits: Tensor, path: tuple[int, int]) -> Tensor:
    root, after = logits[:2].log_softmax(0), logits[2 + 2 * path[0] :][:2].log_softmax(0)
    return torch.stack([root[path[0]], after[path[1]]])


@pytest.mark.parametrize(
    ("ratio", "gradient"),
    [
        (losses.per_trajectory_product, (0.026139, -0.026139, 0.14628, -0.14628, -0.044362, 0.044362)),
        (losses.per_decision, (0.000112, -0.000112, 0.117502, -0.117502, -0.058751, 0.058751)),
    ],
    ids=["of the trajectory", "of each decision"],
)
def test_only_the_product_over_the_trajectory_gives_the_gradient_of_the_new_policy(
    ratio: losses.Ratio, gradient: tuple[float, ...]
) -> None:
    """All four paths, weighed by the old policy. Ratios of single decisions give nearly the OLD gradient."""
    new, old = torch.tensor(TREE["new"], requires_grad=True), torch.tensor(TREE["old"])
    gain = torch.zeros(())
    for path, reward in PAYS.items():
        then, now = path_logp(old, path), path_logp(new, path)
        d = having(torch.full((2,), reward), torch.zeros(2, dtype=torch.int64))
        term = losses.plain(ratio(now - then, d), d)
        gain = gain - then.sum().exp() * torch.dot(
            losses.per_trajectory_total(d.trajectory_id, d.trajectory_id), term
        )
    assert torch.autograd.grad(gain, new)[0].tolist() == pytest.approx(gradient, abs=1e-6)


def test_the_trees_gradient_is_that_of_its_expected_reward() -> None:
    """The numbers above once more, from the definition."""
    new = torch.tensor(TREE["new"], requires_grad=True)
    expected = sum((path_logp(new, p).sum().exp() * r for p, r in PAYS.items()), torch.zeros(()))
    got = torch.autograd.grad(expected, new)[0].tolist()
    assert got == pytest.approx((0.026139, -0.026139, 0.14628, -0.14628, -0.044362, 0.044362), abs=1e-6)
