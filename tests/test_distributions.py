"""Log-probs, entropies and draws of decisions against torch.distributions and closed forms, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
)
from torch.distributions import Categorical as TorchCategorical

from groupwise.distributions import Categorical, Categoricals, Distribution, Gaussian, Squashed
from groupwise.randomness import uniforms

HALF = (2.0, 0.5, 1.0)
KINDS: dict[str, tuple[Distribution, int]] = {
    "categorical": (Categorical(), 5),
    "categoricals": (Categoricals((2, 3, 4)), 9),
    "gaussian": (Gaussian(3), 6),
    "squashed": (Squashed(HALF), 6),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def outputs(kind: str, n: int = 7, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, KINDS[kind][1], generator=generator, dtype=torch.float64) * 0.7


def numbers(kind: str, n: int, seed: int = 0) -> Tensor:
    """[n, uniforms]."""
    k = KINDS[kind][0].uniforms
    return torch.from_numpy(uniforms(seed, np.zeros((n, 1)), np.arange(n)[:, None], np.arange(k)))


def of_torch(kind: str, given: Tensor) -> Any:
    mean, std = (given.chunk(2, -1)[0], given.chunk(2, -1)[1].exp()) if given.shape[-1] == 6 else (None, None)
    if kind == "categorical":
        return TorchCategorical(logits=given)
    if kind == "gaussian":
        return Independent(Normal(mean, std), 1)
    scale = AffineTransform(torch.tensor([1.0, -3.0, 0.0]).double(), torch.tensor(HALF).double())
    return Independent(TransformedDistribution(Normal(mean, std), [TanhTransform(), scale]), 1)


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_log_probs_and_entropies_are_those_of_torch(kind: str) -> None:
    one, given = KINDS[kind][0], outputs(kind)
    drawn = one.draw(given, numbers(kind, 7))
    assert torch.allclose(one.logp(given, drawn), of_torch(kind, given).log_prob(drawn), atol=1e-12)
    assert torch.allclose(one.entropy(given), of_torch(kind, given).entropy(), atol=1e-12)


def test_the_squashed_density_is_of_what_the_world_is_given() -> None:
    """A forgotten slope of the tanh, or of the bounds, and the density would not be of the action."""
    one, given = Squashed(HALF), outputs("squashed")
    u = one.draw(given, numbers("squashed", 7))
    action = torch.tensor([1.0, -3.0, 0.0]).double() + torch.tensor(HALF).double() * u.tanh()
    assert torch.allclose(one.logp(given, u), of_torch("squashed", given).log_prob(action), atol=1e-9)


def test_the_squashed_density_adds_up_to_one() -> None:
    """Over the actions between the bounds, by a fine sum."""
    given = torch.tensor([[0.4, -0.2]], dtype=torch.float64)
    actions = torch.linspace(-1.5, 1.5, 200_003, dtype=torch.float64)[1:-1, None]
    logp = Squashed((1.5,)).logp(given, (actions / 1.5).atanh())
    assert float(logp.exp().sum() * 3 / 200_002) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("u", [-400.0, -20.0, 20.0, 400.0])
def test_the_squashed_density_is_finite_where_the_tanh_has_rounded_to_one(u: float) -> None:
    """log(1 - tanh(u)^2) is -2 |u| + 2 log 2 out there, where 1 - tanh(u)^2 is 0 in floating point."""
    given = torch.tensor([[u, 0.0]])
    logp = float(Squashed((1.0,)).logp(given, torch.tensor([[u]])))
    assert logp == pytest.approx(-0.5 * math.log(2 * math.pi) + 2 * abs(u) - 2 * math.log(2), rel=1e-6)


@pytest.mark.parametrize(
    ("mean", "std", "error"),
    [(0, 0.1, 1e-9), (0, 1, 1e-5), (2, 0.5, 1e-9), (0.5, 1.5, 1e-4), (-1, 3, 0.01), (5, 1, 1e-9)],
)
def test_the_squashed_entropy_is_the_mean_of_minus_log_p(mean: float, std: float, error: float) -> None:
    """No closed form: the quadrature is held against a sum over 400,001 points."""
    given = torch.tensor([[float(mean), math.log(std)]], dtype=torch.float64)
    one = Squashed((2.5,))
    u = torch.linspace(mean - 12 * std, mean + 12 * std, 400_001, dtype=torch.float64)[:, None]
    weights = Gaussian(1).logp(given, u).exp() * (24 * std / 400_000)
    assert float(one.entropy(given)) == pytest.approx(float(-(weights * one.logp(given, u)).sum()), abs=error)


def test_several_choices_are_the_product_of_single_ones() -> None:
    """All 24 joint actions by enumeration: probabilities add up to 1, entropy is that of the joint."""
    one, given = Categoricals((2, 3, 4)), outputs("categoricals", 1)
    joint = torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4))
    logp = one.logp(given.expand(24, -1), joint)
    assert float(logp.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert float(-(logp.exp() * logp).sum()) == pytest.approx(float(one.entropy(given)), abs=1e-12)
    parts = zip(given.split((2, 3, 4), -1), (1, 0, 3), strict=True)
    by_hand = sum(part.log_softmax(-1)[0, a] for part, a in parts)
    assert float(one.logp(given, torch.tensor([[1, 0, 3]]))) == pytest.approx(float(by_hand), abs=1e-12)


@every_kind
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    one, given = KINDS[kind][0], outputs(kind, 3).requires_grad_()
    drawn = one.draw(given.detach(), numbers(kind, 3))
    assert torch.autograd.gradcheck(lambda x: one.logp(x, drawn), given)
    assert torch.autograd.gradcheck(one.entropy, given)


@every_kind
def test_the_likeliest_decision_has_no_chance_in_it(kind: str) -> None:
    one, given = KINDS[kind][0], outputs(kind)
    decided = one.draw(given, None)
    if kind == "categoricals":
        expected = torch.stack([p.argmax(-1) for p in given.split((2, 3, 4), -1)], -1)
    else:
        expected = given.argmax(-1) if kind == "categorical" else given[:, :3]
    assert torch.equal(decided, expected)
    if kind != "squashed":  # its mean is the mode of u, not of the density of the action
        others = one.logp(given[:1].expand(200, -1), one.draw(given[:1].expand(200, -1), numbers(kind, 200)))
        assert (one.logp(given[:1], decided[:1]) >= others - 1e-12).all()


def test_choices_are_drawn_as_often_as_their_probabilities_say() -> None:
    """100,000 draws; three standard deviations of a share are below 0.005."""
    n = 100_000
    given = outputs("categoricals", 1).expand(n, -1)
    drawn = Categoricals((2, 3, 4)).draw(given, numbers("categoricals", n))
    for j, logits in enumerate(given[0].split((2, 3, 4))):
        shares = torch.bincount(drawn[:, j], minlength=len(logits)) / n
        assert torch.allclose(shares.double(), logits.softmax(-1), atol=5e-3)
    assert abs(float(torch.corrcoef(drawn[:, 1:].T.double())[0, 1])) < 0.01


def test_real_decisions_are_distributed_as_their_density_says() -> None:
    """Kolmogorov and Smirnov's distance of 20,000 draws to the normal law: above 0.0115 once in 100."""
    n = 20_000
    given = outputs("gaussian", 1).expand(n, -1)
    drawn = Gaussian(3).draw(given, numbers("gaussian", n))
    mean, log_std = given[0].chunk(2)
    ideal = torch.arange(1, n + 1).double()[:, None] / n
    cdf = torch.special.ndtr((drawn - mean) / log_std.exp()).sort(0).values
    assert float((cdf - ideal).abs().max()) < 0.0115
    assert (torch.corrcoef(drawn.T) - torch.eye(3)).abs().max() < 0.02


@pytest.mark.parametrize("kind", ["gaussian", "squashed"])
def test_the_smallest_and_the_largest_random_number_give_finite_decisions(kind: str) -> None:
    """The quantile of 0 is minus infinity, and 0 is among the random numbers."""
    ends = torch.tensor([[0.0] * 3, [1 - 2.0**-53] * 3], dtype=torch.float64)
    drawn = KINDS[kind][0].draw(outputs(kind, 2).float(), ends)
    assert drawn.isfinite().all()
    assert drawn.dtype == torch.float32


@every_kind
def test_a_decision_depends_on_its_own_row_alone(kind: str) -> None:
    one, given, uniform = KINDS[kind][0], outputs(kind), numbers(kind, 7)
    together = one.draw(given, uniform)
    for i in range(7):
        assert torch.equal(one.draw(given[i : i + 1], uniform[i : i + 1])[0], together[i])


@every_kind
def test_float32_log_probs_are_close_to_exact_ones(kind: str) -> None:
    one, given = KINDS[kind][0], outputs(kind)
    drawn = one.draw(given, numbers(kind, 7))
    single = drawn.float() if drawn.is_floating_point() else drawn
    assert torch.allclose(one.logp(given.float(), single).double(), one.logp(given, drawn), atol=1e-5)
