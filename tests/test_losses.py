"""The maths of the update: values and gradients against hand numbers and exact enumeration."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groupwise import losses
from groupwise.losses import (
    Decisions,
    cispo,
    clipped,
    constant,
    per_token_mean,
    per_trajectory,
    per_trajectory_mean,
)
from groupwise.recipes import RECIPES, objective


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def having(advantage: Tensor, ids: Tensor | None = None) -> Decisions:
    """Decisions of which only the advantages, and whose they are, matter."""
    zero = torch.zeros_like(advantage)
    ids = torch.arange(len(advantage)) if ids is None else ids
    return Decisions(advantage, ids, zero, zero, zero)


def value_and_slope(surrogate: losses.Surrogate, ratio: float, advantage: float) -> tuple[float, float]:
    """What is maximised (the term, negated) and its derivative by log pi."""
    log_ratio = torch.tensor([math.log(ratio)], requires_grad=True)
    gain = -surrogate(log_ratio, having(torch.tensor([advantage])))
    (slope,) = torch.autograd.grad(gain.sum(), log_ratio)
    return gain.item(), slope.item()


# ---------------------------------------------------------------- surrogates


@pytest.mark.parametrize(
    ("bound", "advantage", "ratio", "value", "slope"),
    [
        (None, 1, 0.5, 0.5, 0.5),
        (None, 1, 1.0, 1.0, 1.0),
        (None, 1, 1.25, 1.25, 1.25),
        (None, 1, 1.5, 1.28, 0.0),
        (None, 1, 10.0, 1.28, 0.0),
        (None, -1, 0.5, -0.8, 0.0),
        (None, -1, 0.9, -0.9, -0.9),
        (None, -1, 1.0, -1.0, -1.0),
        (None, -1, 1.5, -1.5, -1.5),
        (None, -1, 10.0, -10.0, -10.0),
        (None, -2, 0.5, -1.6, 0.0),
        (None, 0, 1.5, 0.0, 0.0),
        (3.0, -1, 10.0, -3.0, 0.0),
        (3.0, -2, 10.0, -6.0, 0.0),
        (3.0, -1, 2.0, -2.0, -2.0),
        (3.0, -1, 0.5, -0.8, 0.0),
        (3.0, 1, 10.0, 1.28, 0.0),
        (3.0, 1, 0.5, 0.5, 0.5),
    ],
)
def test_the_clip_gates_value_and_gradient(
    bound: float | None, advantage: float, ratio: float, value: float, slope: float
) -> None:
    """Zero gradient iff A > 0 above 1 + high, or A < 0 below 1 - low or above the bound; else rho A."""
    got = value_and_slope(clipped(0.2, 0.28, bound), ratio, advantage)
    assert got == pytest.approx((value, slope), abs=1e-12)


def test_the_bound_is_dual_clip() -> None:
    """min(min(rho, c) A, clip(rho) A) = max(min(rho A, clip(rho) A), c A) for A < 0."""
    ratio, c = torch.linspace(0.01, 12, 500), 3.0
    advantage = torch.full_like(ratio, -0.7)
    plain_clip = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    dual = torch.maximum(plain_clip, c * advantage)
    torch.testing.assert_close(-clipped(0.2, 0.2, bound=c)(ratio.log(), having(advantage)), dual)


@pytest.mark.parametrize("arguments", [(0.0, 0.2), (-0.1, 0.2), (1.1, 0.2), (0.2, 0.0), (0.2, -1.0)])
def test_a_clip_range_that_is_no_range_is_refused(arguments: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="clip range"):
        clipped(*arguments)


@pytest.mark.parametrize("bound", [1.28, 1.0, -3.0])
def test_a_bound_inside_the_clip_range_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="must exceed 1 \\+ high"):
        clipped(0.2, 0.28, bound)


@pytest.mark.parametrize("advantage", [1.0, -2.0])
@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0, 1.5, 4.9, 5.1, 100.0])
def test_cispo_never_loses_a_gradient(ratio: float, advantage: float) -> None:
    """Gradient min(rho, high) A everywhere: a clip of the value would zero it above `high`."""
    _, slope = value_and_slope(cispo(5.0), ratio, advantage)
    assert slope == pytest.approx(min(ratio, 5.0) * advantage, rel=1e-12)


def test_cispo_starts_at_zero() -> None:
    assert value_and_slope(cispo(5.0), 1.0, 3.0) == (0.0, 3.0)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 7.0])
def test_plain_is_the_importance_weighted_gradient(ratio: float) -> None:
    assert value_and_slope(losses.plain, ratio, -2.0) == pytest.approx((-2 * ratio, -2 * ratio), rel=1e-12)


# ---------------------------------------------------------------- ratios


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


# ---------------------------------------------------------------- divergence, by enumeration

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


# ---------------------------------------------------------------- weights

T26 = torch.tensor([0] * 2 + [1] * 6)
FIRST_ONLY = (T26 == 0).to(torch.float64)


@pytest.mark.parametrize(
    ("weigh", "of_ones", "of_first"),
    [(per_trajectory_mean, 1.0, 0.5), (per_token_mean, 1.0, 0.25), (constant(10), 0.4, 0.1)],
)
def test_weightings_of_lengths_2_and_6_meet_the_table(
    weigh: losses.Weigh, of_ones: float, of_first: float
) -> None:
    assert weigh(T26, T26).sum().item() == pytest.approx(of_ones, abs=1e-12)
    assert torch.dot(weigh(T26, T26), FIRST_ONLY).item() == pytest.approx(of_first, abs=1e-12)


@pytest.mark.parametrize("ids", [[3, 3, 900, 900, 900], [9, 9, 1, 1, 1], [4, 7, 4, 7, 7], [-5, 2, -5, 2, 2]])
@pytest.mark.parametrize("weigh", [per_trajectory_mean, per_token_mean, constant(10)])
def test_weights_depend_on_which_ids_are_equal_and_on_nothing_else(
    weigh: losses.Weigh, ids: list[int]
) -> None:
    got = weigh(torch.tensor(ids), torch.tensor(ids))
    first = torch.tensor(ids) == ids[0]
    dense = weigh(torch.tensor([0, 0, 1, 1, 1]), torch.zeros(5, dtype=torch.int64))
    torch.testing.assert_close(got[first], dense[:2], rtol=1e-12, atol=0)
    torch.testing.assert_close(got[~first], dense[2:], rtol=1e-12, atol=0)


@pytest.mark.parametrize("ids", [[3, 3, 900, 900, 900], [9, 9, 1, 1, 1], [4, 7, 4, 7, 7], [-5, 2, -5, 2, 2]])
def test_the_trajectory_ratio_depends_on_which_ids_are_equal_and_on_nothing_else(ids: list[int]) -> None:
    """Sizing the sums by the last id, not the largest, is out of range when ids fall."""
    log_ratio, index = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]), torch.tensor(ids)
    by_hand = torch.stack([log_ratio[index == i].mean() for i in index])
    torch.testing.assert_close(
        per_trajectory(log_ratio, having(log_ratio, index)), by_hand, rtol=1e-12, atol=0
    )


def test_no_decisions_have_no_weights_and_no_ratios() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    for weigh in (per_trajectory_mean, per_token_mean, constant(10)):
        assert weigh(none, none).shape == (0,)
    assert per_trajectory(torch.zeros(0), having(torch.zeros(0), none)).shape == (0,)


# ---------------------------------------------------------------- cuts


@st.composite
def steps(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=7))
    cuts = draw(st.sets(st.integers(1, len(lengths)), max_size=len(lengths)))
    return lengths, sorted(cuts | {len(lengths)}), draw(st.integers(0, 2**31))


@pytest.mark.parametrize("name", RECIPES)
@given(step=steps())
@settings(max_examples=30, deadline=None)
def test_cutting_anywhere_between_trajectories_leaves_loss_and_gradient(
    name: str, step: tuple[list[int], list[int], int]
) -> None:
    """Averages taken within a cut would make the update depend on the size of the micro-batch."""
    lengths, cuts, seed = step
    ids = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    draw = torch.Generator().manual_seed(seed)
    behaviour, reference, noise = torch.randn(3, len(ids), generator=draw)
    advantage = torch.randn(len(lengths), generator=draw)[ids]
    new = (behaviour + 0.2 * noise).requires_grad_()
    recipe = RECIPES[name]
    weight = recipe.weigh(ids, torch.zeros_like(ids))

    def total(parts: list[slice]) -> tuple[Tensor, Tensor]:
        value = torch.zeros(())
        for p in parts:
            vectors = (new[p], behaviour[p], advantage[p], ids[p], reference[p])
            value = value + objective(recipe, *vectors, weight=weight[p]).value
        return value.detach(), torch.autograd.grad(value, new)[0]

    ends = torch.tensor(lengths).cumsum(0)
    stops = [int(ends[c - 1]) for c in cuts]
    pieces = [slice(a, b) for a, b in zip([0, *stops], stops, strict=False)]
    whole, cut = total([slice(None)]), total(pieces)
    torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------- overflow


@pytest.mark.parametrize("log_ratio", [-1000.0, 1000.0])
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
@pytest.mark.parametrize("surrogate", [clipped(), clipped(bound=3.0), cispo(), losses.plain])
def test_a_log_ratio_of_a_thousand_is_finite(
    surrogate: losses.Surrogate, advantage: float, log_ratio: float
) -> None:
    x = torch.tensor([log_ratio], dtype=torch.float32, requires_grad=True)
    term = surrogate(x, having(torch.tensor([advantage], dtype=torch.float32)))
    (slope,) = torch.autograd.grad(term.sum(), x)
    assert term.isfinite().all()
    assert slope.isfinite().all()


@pytest.mark.parametrize("gap", [-1000.0, 1000.0])
@pytest.mark.parametrize("log_ratio", [-1000.0, 1000.0])
@pytest.mark.parametrize("estimator", [losses.k1, losses.k2, losses.k3, losses.k3_corrected])
def test_a_divergence_of_a_thousand_nats_is_finite(
    estimator: losses.Divergence, log_ratio: float, gap: float
) -> None:
    new = torch.tensor([-1500.0], dtype=torch.float32, requires_grad=True)
    term = estimator(new, new.detach() + gap, new - (new.detach() - log_ratio))
    (slope,) = torch.autograd.grad(term.sum(), new)
    assert term.isfinite().all()
    assert slope.isfinite().all()
