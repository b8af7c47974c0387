"""Divergences by exact enumeration of a softmax bandit."""

import pytest
import torch

from decisions import having
from groupwise import losses

PI, REF, OFF = (0.5, 0.3, 0.2), (0.2, 0.5, 0.3), (0.2, 0.3, 0.5)
KL, GRAD_KL = 0.22380466, (0.346243, -0.220389, -0.125854)


def expected(estimator: losses.Divergence, sampler: tuple[float, ...] = PI) -> tuple[float, list[float]]:
    """Value and gradient by the logits of pi, of the mean over arms drawn from `sampler`."""
    logits = torch.tensor(PI).log().requires_grad_()
    new, behaviour = logits.log_softmax(0), torch.tensor(sampler).log()
    mean = torch.dot(torch.tensor(sampler), estimator(new, torch.tensor(REF).log(), new - behaviour))
    return mean.item(), torch.autograd.grad(mean, logits)[0].tolist()


@pytest.mark.parametrize(
    ("estimator", "value", "gradient"),
    [
        (losses.k1, KL, (0, 0, 0)),
        (losses.k2, 0.26547879, GRAD_KL),
        (losses.k3, KL, (0.3, -0.2, -0.1)),
        (losses.k3_corrected, KL, GRAD_KL),
    ],
)
def test_divergence_on_policy_meets_the_exact_value_and_gradient(
    estimator: losses.Divergence, value: float, gradient: tuple[float, ...]
) -> None:
    """k1 as a loss does nothing; k3 pulls by pi - ref, which is grad KL(ref||pi), not grad KL(pi||ref)."""
    got = expected(estimator)
    assert got[0] == pytest.approx(value, abs=1e-8)
    assert got[1] == pytest.approx(gradient, abs=1e-6)


def test_k3_corrected_is_exact_off_policy_too() -> None:
    value, gradient = expected(losses.k3_corrected, OFF)
    assert value == pytest.approx(KL, abs=1e-8)
    assert gradient == pytest.approx(GRAD_KL, abs=1e-6)


def test_k2_is_not_exact_off_policy() -> None:
    assert expected(losses.k2, OFF)[1] == pytest.approx((0.269619, -0.101431, -0.168188), abs=1e-6)


@pytest.mark.parametrize("gap", [-1000.0, -25.0, -1.0, 1.0, 19.0, 21.0, 1000.0])
def test_k3_never_pushes_away_from_the_reference(gap: float) -> None:
    """Clamping only the exponential turns the sign of the gradient where ref / pi > exp(20)."""
    new = torch.tensor([-1001.0], requires_grad=True)
    term = losses.k3(new, new.detach() + gap, torch.zeros(1))
    (slope,) = torch.autograd.grad(term.sum(), new)
    assert term.item() > 0
    assert slope.item() * gap <= 0


def test_k3_k2_reads_as_k3_and_pulls_as_k2() -> None:
    """Unbiased to read, and the exact gradient: neither estimator has both."""
    value, gradient = expected(losses.k3_k2)
    assert value == pytest.approx(KL, abs=1e-8)
    assert gradient == pytest.approx(GRAD_KL, abs=1e-6)


def test_what_is_still_to_come_is_summed_within_a_trajectory() -> None:
    """Ids may be any numbers; a sum that ran on into the next trajectory would punish it for this one."""
    x = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    ids = torch.tensor([7, 7, 7, 3, 3, 9])
    assert losses.still_to_come(x, ids).tolist() == [7, 6, 4, 24, 16, 32]
    assert losses.still_to_come(x[:0], ids[:0]).shape == (0,)
    assert losses.still_to_come(x[:1], ids[:1]).tolist() == [1]


def test_k1_in_the_reward_has_exactly_the_gradient_of_the_divergence() -> None:
    """By the same enumeration in which k1 in the loss has none."""
    logits = torch.tensor(PI).log().requires_grad_()
    new = logits.log_softmax(0)
    penalty = losses.still_to_come(new.detach() - torch.tensor(REF).log(), torch.arange(3))
    term = losses.plain(new - new.detach(), having(-penalty))
    mean = torch.dot(torch.tensor(PI), term)
    assert torch.autograd.grad(mean, logits)[0].tolist() == pytest.approx(GRAD_KL, abs=1e-6)


def test_a_decision_is_not_charged_for_those_before_it() -> None:
    """Two steps of a bandit each: charging the whole sum has the same mean, and more noise; charging only
    the own step would miss what it leads to. Exact: KL of the path is the sum of the steps' KL."""
    logits = torch.tensor([*PI, *REF]).log().requires_grad_()
    ref = torch.tensor([*REF, *PI]).log()
    new = torch.cat([logits[:3].log_softmax(0), logits[3:].log_softmax(0)])
    mean = torch.zeros(())
    for a in range(3):
        for b in range(3):
            path, ids = torch.tensor([a, 3 + b]), torch.zeros(2, dtype=torch.int64)
            penalty = losses.still_to_come((new - ref)[path].detach(), ids)
            term = losses.plain((new - new.detach())[path], having(-penalty, ids))
            mean = mean + new.detach()[path].sum().exp() * term.sum()
    (got,) = torch.autograd.grad(mean, logits, retain_graph=True)
    (want,) = torch.autograd.grad((new.exp() * (new - ref)).sum(), logits)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_in_the_loss_a_decision_is_not_charged_for_what_it_leads_to() -> None:
    """First steps agree with the reference, and after one of them the policies are apart: the way there is
    what KL(pi||ref) of whole answers punishes. k2 and rho k3 in the loss do not see it; the reward does."""
    logits = torch.tensor([0.4, -0.4, 1.0, -1.0, 0.0, 0.0], requires_grad=True)
    ref = torch.tensor([0.4, -0.4, 0.0, 0.0, 0.0, 0.0]).reshape(3, 2).log_softmax(-1)
    new, ids = logits.reshape(3, 2).log_softmax(-1), torch.zeros(2, dtype=torch.int64)
    in_loss, in_reward, exact = (dict.fromkeys(("k2", "k3_corrected"), torch.zeros(())), *torch.zeros(2))
    for a in range(2):
        for b in range(2):
            here, there = (torch.stack([x[0, a], x[1 + a, b]]) for x in (new, ref))
            chance = here.sum().exp()
            for name in in_loss:
                term = getattr(losses, name)(here, there, here - here.detach())
                in_loss[name] = in_loss[name] + chance.detach() * term.sum()
            penalty = losses.still_to_come((here - there).detach(), ids)
            in_reward = (
                in_reward + chance.detach() * losses.plain(here - here.detach(), having(-penalty)).sum()
            )
            exact = exact + chance * (here - there).sum()
    (want,) = torch.autograd.grad(exact, logits, retain_graph=True)
    (reward,) = torch.autograd.grad(in_reward, logits, retain_graph=True)
    torch.testing.assert_close(reward, want, rtol=0, atol=1e-12)
    assert want[0] > 0.05
    for loss in in_loss.values():
        (slope,) = torch.autograd.grad(loss, logits, retain_graph=True)
        torch.testing.assert_close(slope[:2], torch.zeros(2), rtol=0, atol=1e-12)
        torch.testing.assert_close(slope[2:], want[2:], rtol=0, atol=1e-12)
