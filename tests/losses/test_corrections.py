"""Corrections for decisions of another policy: weights, masks, and how far that policy is."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from decisions import having
from groupwise import losses
from groupwise.losses import Decisions, both, masked, mismatch, per_trajectory, strayed, truncated

IDS = torch.tensor([0, 0, 1, 1, 1])
LOG_W = torch.tensor(
    [math.log(3), math.log(0.5), math.log(0.1), math.log(4), math.log(6)], dtype=torch.float64
)
EVERY = [truncated(), masked(), masked(0.5, 5.0), strayed(), both(truncated(), strayed())]


def apart(log_w: Tensor, advantage: Tensor | None = None, ids: Tensor = IDS) -> Decisions:
    """proximal / behaviour = exp(log_w)."""
    return having(torch.ones(len(log_w)) if advantage is None else advantage, ids, behaviour_logp=-log_w)


@pytest.mark.parametrize("correction", EVERY)
def test_where_the_policies_agree_every_factor_is_one(correction: losses.Correction) -> None:
    advantage = torch.tensor([1.0, -1.0, 2.0, -2.0, 0.0])
    assert correction(apart(torch.zeros(5), advantage)).tolist() == [1] * 5


PRODUCTS = [1.5, 1.5, 2.4, 2.4, 2.4]
MEANS = [1.5 ** (1 / 2)] * 2 + [2.4 ** (1 / 3)] * 3


@pytest.mark.parametrize(
    ("correction", "factors"),
    [
        (truncated(2.0), [2, 0.5, 0.1, 2, 2]),
        (truncated(math.inf), [3, 0.5, 0.1, 4, 6]),
        (truncated(2.0, losses.per_trajectory_product), [1.5, 1.5, 2, 2, 2]),
        (truncated(9.0, per_trajectory), MEANS),
        (masked(0.0, 3.5), [3, 0.5, 0.1, 0, 0]),
        (masked(0.4, 5.0), [3, 0.5, 0, 4, 0]),
        (masked(0.0, 2.0, losses.per_trajectory_product), [1.5, 1.5, 0, 0, 0]),
        (masked(0.0, 3.0, losses.per_trajectory_product), PRODUCTS),
        (both(truncated(2.0), masked(0.4, 5.0)), [6, 0.25, 0, 8, 0]),
    ],
)
def test_factors_meet_hand_numbers(correction: losses.Correction, factors: list[float]) -> None:
    """(3, .5) and (.1, 4, 6): products 1.5 and 2.4. A mask drops where a truncation caps."""
    assert correction(apart(LOG_W)).tolist() == pytest.approx(factors, rel=1e-12)


@pytest.mark.parametrize(
    ("advantage", "gap", "factor"),
    [(-1, 0.6, 0), (-1, 0.4, 1), (1, 0.6, 1), (0, 0.6, 1), (-1, -0.6, 1)],
)
def test_only_bad_answers_that_the_policy_left_behind_are_dropped(
    advantage: float, gap: float, factor: float
) -> None:
    """Dropped iff A < 0 and mean(log behaviour - log new) > 0.5; the mean, not each decision or the sum."""
    behaviour = torch.tensor([2 * gap, 0.0])
    d = having(
        torch.full((2,), float(advantage)), torch.zeros(2, dtype=torch.int64), behaviour_logp=behaviour
    )
    assert strayed(0.5)(d).tolist() == [factor, factor]


def test_straying_is_measured_from_the_policy_in_training() -> None:
    """It may happen within the step: behaviour and proximal agree, the new policy has moved away."""
    d = having(-torch.ones(1), new_logp=torch.tensor([-0.6], requires_grad=True))
    factor = strayed(0.5)(d)
    assert factor.tolist() == [0]
    assert not factor.requires_grad


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: truncated(0.5),
        lambda: truncated(math.nan),
        lambda: masked(1.5, 3.0),
        lambda: masked(0.5, 0.9),
        lambda: masked(-1.0, 2.0),
        lambda: strayed(0.0),
    ],
)
def test_limits_that_would_touch_on_policy_decisions_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=r"most="):
        wrong()


def test_what_a_correction_reads_decides_whether_a_first_pass_is_needed() -> None:
    assert losses.reads_proximal(truncated())
    assert losses.reads_proximal(both(strayed(), masked()))
    assert losses.reads_proximal(lambda d: d.log_weight), "unknown: to be safe"
    assert not losses.reads_proximal(strayed())
    assert not losses.reads_proximal(None)


# ---------------------------------------------------------------- in expectation

PI, REWARDS, GRAD_J = (0.5, 0.3, 0.2), (1.0, 0.0, 0.5), (0.2, -0.18, -0.02)
OTHER = (0.2, 0.5, 0.3)


def mean_gradient(correction: losses.Correction) -> list[float]:
    """Of one decision by OTHER, pi in training: proximal = pi."""
    logits = torch.tensor(PI).log().requires_grad_()
    new, behaviour = logits.log_softmax(0), torch.tensor(OTHER).log()
    d = having(torch.tensor(REWARDS), proximal_logp=new.detach(), behaviour_logp=behaviour)
    gain = torch.dot(torch.tensor(OTHER), -correction(d) * losses.plain(new - new.detach(), d))
    return torch.autograd.grad(gain, logits)[0].tolist()


def test_without_a_bound_the_correction_gives_the_gradient_of_the_policy_in_training() -> None:
    """w = (2.5, .6, .667): a bound of 2 is biased; none is exact; no correction is the other's gradient."""
    assert mean_gradient(truncated(math.inf)) == pytest.approx(GRAD_J, abs=1e-12)
    assert mean_gradient(truncated(2.5)) == pytest.approx(GRAD_J, abs=1e-12)
    assert mean_gradient(truncated(2.0)) != pytest.approx(GRAD_J, abs=1e-2)


def test_for_two_decisions_only_the_product_is_exact() -> None:
    """A reward for choosing arm 0 twice: token weights miss the other decision's part of the ratio."""
    found = {}
    for level in (losses.per_decision, losses.per_trajectory_product):
        logits = torch.tensor(PI).log().requires_grad_()
        new, behaviour = logits.log_softmax(0), torch.tensor(OTHER).log()
        gain = torch.zeros(())
        for a, b in itertools.product(range(3), repeat=2):
            path, ids = torch.tensor([a, b]), torch.zeros(2, dtype=torch.int64)
            reward = torch.full((2,), float(a == b == 0))
            d = having(reward, ids, proximal_logp=new[path].detach(), behaviour_logp=behaviour[path])
            term = truncated(math.inf, level)(d) * losses.plain((new - new.detach())[path], d)
            gain = gain - behaviour[path].sum().exp() * term.sum()
        (found[level],) = torch.autograd.grad(gain, logits, retain_graph=True)
        (want,) = torch.autograd.grad(new[0].exp() ** 2, logits)
    torch.testing.assert_close(found[losses.per_trajectory_product], want, rtol=0, atol=1e-12)
    assert (found[losses.per_decision] - want).abs().max() > 0.05


# ---------------------------------------------------------------- how far


def test_mismatch_meets_hand_numbers() -> None:
    w = LOG_W.exp()
    got = mismatch(apart(LOG_W))
    assert got["mean"] == pytest.approx(float(LOG_W.abs().mean()))
    assert got["max"] == pytest.approx(math.log(10))
    assert got["chi2"] == pytest.approx((9 + 0.25 + 0.01 + 16 + 36) / 5 - 1)
    assert got["k3"] == pytest.approx(float((w - 1 - LOG_W).mean()))
    assert got["ess"] == pytest.approx(13.6**2 / (5 * 61.26))
    assert got["ess_trajectories"] == pytest.approx(3.9**2 / (2 * (1.5**2 + 2.4**2)))
    assert got["unknown"] == 0


def test_policies_that_agree_are_a_full_sample() -> None:
    got = mismatch(apart(torch.zeros(5)))
    assert got == {"unknown": 0, "mean": 0, "max": 0, "chi2": 0, "k3": 0, "ess": 1, "ess_trajectories": 1}


def test_the_effective_sample_size_is_one_over_one_plus_chi_squared() -> None:
    """In the population: sum over arms of pi^2 / q. pi = (.5, .3, .2), q1 = (.2, .5, .3): .63966."""
    counts = torch.tensor([2, 5, 3])
    log_w = (torch.tensor(PI) / torch.tensor(OTHER)).log().repeat_interleave(counts)
    got = mismatch(apart(log_w, ids=torch.arange(10)))
    assert got["ess"] == pytest.approx(0.63966, abs=1e-5)
    assert got["ess"] == pytest.approx(1 / (1 + got["chi2"]), rel=1e-12)


def test_a_thousand_decisions_have_an_effective_sample_size() -> None:
    """The product of a thousand ratios is no float; its logarithm is."""
    ids = torch.arange(3).repeat_interleave(1000)
    got = mismatch(apart(torch.tensor([-1.0, 0.9, 1.0]).repeat_interleave(1000), ids=ids))
    assert got["ess_trajectories"] == pytest.approx(1 / 3, rel=1e-6)


def test_decisions_that_nobody_knows_are_counted_and_left_out() -> None:
    log_w = LOG_W.clone()
    log_w[3] = math.nan
    got, rest = mismatch(apart(log_w)), [0, 1, 2, 4]
    assert got.pop("unknown") == pytest.approx(1 / 5)
    want = mismatch(apart(LOG_W[rest], ids=IDS[rest]))
    del want["unknown"]
    assert got == pytest.approx(want)
    assert mismatch(apart(torch.full((5,), math.nan))) == {"unknown": 1}
