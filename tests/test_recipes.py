"""`objective` against padded, masked implementations, and what each recipe promises."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from groupwise import advantages, losses
from groupwise.recipes import CISPO, DAPO, DR_GRPO, GRPO, GSPO, RECIPES, RLOO, Recipe, objective

every_recipe = pytest.mark.parametrize("name", RECIPES)


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


# ---------------------------------------------------------------- the same loss, padded [B, T]


def clip(ratio: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    limit = torch.where(advantage > 0, torch.tensor(high), torch.tensor(-low))
    beyond = torch.where(advantage > 0, ratio > 1 + limit, ratio < 1 + limit)
    return torch.where(beyond, (1 + limit) * advantage, ratio * advantage)


def seq_mean_token_mean(x: Tensor, mask: Tensor) -> Tensor:
    return ((x * mask).sum(1) / mask.sum(1)).mean()


def grpo(new: Tensor, old: Tensor, advantage: Tensor, ref: Tensor, mask: Tensor) -> Tensor:
    kl = torch.exp(ref - new) - (ref - new) - 1
    return -seq_mean_token_mean(clip(torch.exp(new - old), advantage, 0.2, 0.2) - 0.04 * kl, mask)


def dr_grpo(new: Tensor, old: Tensor, advantage: Tensor, ref: Tensor, mask: Tensor) -> Tensor:
    return -(clip(torch.exp(new - old), advantage, 0.2, 0.2) * mask).sum() / (len(new) * 1024)


def dapo(new: Tensor, old: Tensor, advantage: Tensor, ref: Tensor, mask: Tensor) -> Tensor:
    return -(clip(torch.exp(new - old), advantage, 0.2, 0.28) * mask).sum() / mask.sum()


def gspo(new: Tensor, old: Tensor, advantage: Tensor, ref: Tensor, mask: Tensor) -> Tensor:
    s = torch.exp(((new - old) * mask).sum(1) / mask.sum(1))
    return -clip(s, advantage[:, 0], 3e-4, 4e-4).mean()


def cispo(new: Tensor, old: Tensor, advantage: Tensor, ref: Tensor, mask: Tensor) -> Tensor:
    factor = torch.minimum(torch.exp(new - old), torch.tensor(5.0)).detach()
    return -(factor * advantage * (new - old) * mask).sum() / mask.sum()


def rloo(new: Tensor, old: Tensor, advantage: Tensor, ref: Tensor, mask: Tensor) -> Tensor:
    return -seq_mean_token_mean(torch.exp(new - old) * advantage, mask)


PADDED: dict[str, Callable[..., Tensor]] = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "dapo": dapo,
    "gspo": gspo,
    "cispo": cispo,
    "rloo": rloo,
    "mixed": dapo,  # where the policy in training wrote everything, no weight is needed
}
LENGTHS = [3, 1, 6, 2, 4, 5]


def step() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """new (with gradient), old, advantage, trajectory_id, reference; some ratios beyond every clip."""
    draw = torch.Generator().manual_seed(3)
    ids = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    old, ref, noise = torch.randn(3, len(ids), generator=draw)
    advantage = torch.tensor([1.5, -0.5, 0.7, -1.0, -2.0, 0.3])[ids]
    new = old + 0.3 * noise
    new[0] = old[0] + 2.5
    return new.requires_grad_(), old, advantage, ids, ref


def pad(x: Tensor, filler: float = 7.0) -> Tensor:
    out = torch.full((len(LENGTHS), max(LENGTHS) + 2), filler)
    for i, part in enumerate(x.split(LENGTHS)):
        out[i, : len(part)] = part
    return out


def test_every_recipe_has_a_padded_twin() -> None:
    assert set(PADDED) == set(RECIPES)


@every_recipe
def test_objective_equals_the_padded_and_masked_loss(name: str) -> None:
    new, old, advantage, ids, ref = step()
    loss = objective(RECIPES[name], new, old, advantage, ids, ref).value
    mask = pad(torch.ones(len(ids)), 0.0)
    twin = PADDED[name](pad(new), pad(old), pad(advantage), pad(ref), mask)
    torch.testing.assert_close(loss, twin, rtol=1e-12, atol=1e-15)
    (slope,), (twin_slope,) = torch.autograd.grad(loss, new), torch.autograd.grad(twin, new)
    assert slope.abs().max() > 0
    torch.testing.assert_close(slope, twin_slope, rtol=1e-12, atol=1e-15)


@every_recipe
def test_the_gradient_is_that_of_the_value_by_finite_differences(name: str) -> None:
    """CISPO holds its factor fixed, so its gradient is a formula: -w min(rho, 5) A."""
    new, old, advantage, ids, ref = step()
    recipe = RECIPES[name]
    if name == "cispo":
        (slope,) = torch.autograd.grad(objective(recipe, new, old, advantage, ids).value, new)
        ratio = (new - old).detach().exp().clamp(max=5.0)
        torch.testing.assert_close(slope, -ratio * advantage / len(ids), rtol=1e-12, atol=0)
    else:
        assert torch.autograd.gradcheck(
            lambda x: objective(recipe, x, old, advantage, ids, ref).value, new, eps=1e-6, atol=1e-8
        )


@every_recipe
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_weights_follow_the_dtype_of_the_log_probabilities(name: str, dtype: torch.dtype) -> None:
    """Weights of torch's default dtype cannot be multiplied with float64 log-probabilities."""
    new, old, advantage, ids, ref = step()
    want = objective(RECIPES[name], new, old, advantage, ids, ref).value
    torch.set_default_dtype(torch.float32)
    vectors = [v.detach().to(dtype) for v in (new, old, advantage)]
    got = objective(RECIPES[name], *vectors, ids, ref.to(dtype)).value
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want.detach(), rtol=1e-5, atol=1e-7)


def test_entropy_lowers_the_loss_by_its_weighted_mean() -> None:
    new, old, advantage, ids, _ = step()
    entropy = torch.linspace(0.1, 2.0, len(ids)).requires_grad_()
    base = objective(DAPO, new, old, advantage, ids).value
    bonus = objective(replace(DAPO, entropy_scale=0.01), new, old, advantage, ids, entropy=entropy).value
    assert (base - bonus).item() == pytest.approx(0.01 * entropy.mean().item(), rel=1e-9)
    (slope,) = torch.autograd.grad(bonus, entropy)
    assert slope.tolist() == pytest.approx([-0.01 / len(ids)] * len(ids), rel=1e-12)


def test_given_weights_replace_the_recipes() -> None:
    new, old, advantage, ids, _ = step()
    weight = DAPO.weigh(ids, ids)
    got = objective(replace(DAPO, weigh=losses.constant(3)), new, old, advantage, ids, weight=weight)
    assert got.value.item() == objective(DAPO, new, old, advantage, ids).value.item()


# ---------------------------------------------------------------- in expectation


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize(
    ("recipe", "factor"),
    [
        (RLOO, lambda g: 1.0),
        (replace(DR_GRPO, weigh=losses.constant(1)), lambda g: 1 - 1 / g),
        (replace(CISPO, advantage=advantages.leave_one_out), lambda g: 1.0),
    ],
    ids=["rloo", "dr_grpo", "cispo with leave_one_out"],
)
def test_expected_gradient_of_a_bandit(recipe: Recipe, factor: Callable[[int], float], size: int) -> None:
    """All 3^G outcomes of a softmax bandit, weighed by their chance: RLOO is grad J itself."""
    logits = torch.tensor([0.5, 0.3, 0.2]).log().requires_grad_()
    rewards, grad_j = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.2, -0.18, -0.02])
    logp, ids = logits.log_softmax(0), torch.arange(size)
    mean = torch.zeros(3)
    for arms in itertools.product(range(3), repeat=size):
        new = logp[list(arms)]
        loss = objective(recipe, new, new.detach(), recipe.advantage(rewards[list(arms)], None), ids)
        (slope,) = torch.autograd.grad(-loss.value, logits, retain_graph=True)
        mean += new.detach().sum().exp() * slope
    torch.testing.assert_close(mean, factor(size) * grad_j, rtol=0, atol=1e-12)


# ---------------------------------------------------------------- metrics


def test_clip_metrics_are_the_shares_whose_gradient_was_cut() -> None:
    """A ratio outside the range whose gradient survives (A < 0 at 1.5, A > 0 at .5) is not clipped."""
    ratio = torch.tensor([0.5, 0.5, 1.5, 1.5, 1.0, 1.5, 0.5, 1.5])
    advantage = torch.tensor([-1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 0.0, 0.0])
    new = ratio.log().requires_grad_()
    got = objective(DAPO, new, torch.zeros(8), advantage, torch.zeros(8, dtype=torch.int64)).metrics
    assert got["clip_ratio/low_mean"].item() == pytest.approx(1 / 8)
    assert got["clip_ratio/high_mean"].item() == pytest.approx(2 / 8)
    assert got["clip_ratio/region_mean"].item() == pytest.approx(3 / 8)
    assert got["ratio"].item() == pytest.approx(8.5 / 8, rel=1e-12)


def test_metrics_are_means_under_the_weights_of_the_loss() -> None:
    ids, weight = torch.tensor([0, 1, 1, 1]), torch.tensor([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    new = torch.tensor([0.9, 0.0, 0.0, 0.0]).requires_grad_()
    ref, entropy = torch.tensor([0.9, 1.0, 0.0, 0.0]), torch.tensor([2.0, 1.0, 1.0, 1.0])
    advantage = torch.tensor([1.0, 1.0, 1.0, 1.0])
    got = objective(GRPO, new, torch.zeros(4), advantage, ids, ref, entropy=entropy).metrics
    assert got["clip_ratio/high_mean"].item() == pytest.approx(0.5)
    assert got["kl"].item() == pytest.approx((torch.e - 2) / 6, rel=1e-12)
    assert got["entropy"].item() == pytest.approx(torch.dot(weight, entropy).item(), rel=1e-12)
    assert not any(m.requires_grad for m in got.values())


@every_recipe
def test_on_policy_nothing_is_clipped_and_the_gradient_is_reinforce(name: str) -> None:
    """At ratio 1 every surrogate has the gradient -w A; a value near 0 says nothing of progress."""
    _, old, advantage, ids, _ = step()
    new = old.clone().requires_grad_()
    got = objective(RECIPES[name], new, old, advantage, ids, old)
    (slope,) = torch.autograd.grad(got.value, new)
    torch.testing.assert_close(slope, -RECIPES[name].weigh(ids, ids) * advantage, rtol=1e-12, atol=1e-15)
    assert got.metrics["clip_ratio/region_mean"].item() == 0
    assert got.metrics["ratio"].item() == pytest.approx(1, rel=1e-12), (
        "a mean, whatever the weights add up to"
    )
    assert got.metrics["kl"].item() == 0


def test_metrics_that_were_not_asked_for_are_absent() -> None:
    new, old, advantage, ids, _ = step()
    assert not {"kl", "entropy"} & set(objective(DAPO, new, old, advantage, ids).metrics)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "which", ["behaviour_logp", "advantage", "trajectory_id", "reference_logp", "entropy"]
)
def test_a_vector_of_another_length_is_named(which: str) -> None:
    """[1] would broadcast in silence."""
    vectors = {k: torch.zeros(4) for k in ("new_logp", "behaviour_logp", "advantage", "reference_logp")}
    vectors |= {"trajectory_id": torch.zeros(4, dtype=torch.int64), "entropy": torch.zeros(4)}
    vectors[which] = vectors[which][:1]
    with pytest.raises(ValueError, match=rf"{which} \[1\]"):
        objective(GRPO, **vectors)


def test_padded_matrices_are_refused() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"vectors of one length: new_logp \[2, 3\]"):
        objective(DAPO, x, x, x, x.long())


def test_a_missing_reference_is_an_error() -> None:
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="pass reference_logp"):
        objective(GRPO, x, x, x, torch.arange(3))


def test_a_missing_entropy_is_an_error() -> None:
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="pass entropy"):
        objective(replace(RLOO, entropy_scale=0.1), x, x, x, torch.arange(3))


def test_a_divergence_without_a_scale_or_a_scale_without_a_divergence_is_refused() -> None:
    """`replace(GRPO, kl=None)` alone would leave a scale that does nothing."""
    with pytest.raises(ValueError, match="a divergence needs a scale"):
        replace(GRPO, kl=None)
    with pytest.raises(ValueError, match="a divergence needs a scale"):
        replace(RLOO, kl=losses.k2)


# ---------------------------------------------------------------- constants


@pytest.mark.parametrize(
    ("recipe", "constants"),
    [
        (GRPO, (advantages.standardize, losses.clipped(0.2, 0.2), losses.per_trajectory_mean, 0.04)),
        (DR_GRPO, (advantages.center, losses.clipped(0.2, 0.2), losses.constant(1024), 0.0)),
        (DAPO, (advantages.standardize, losses.clipped(0.2, 0.28), losses.per_token_mean, 0.0)),
        (GSPO, (advantages.standardize, losses.clipped(3e-4, 4e-4), losses.per_trajectory_mean, 0.0)),
        (CISPO, (advantages.standardize, losses.cispo(5.0), losses.per_token_mean, 0.0)),
        (RLOO, (advantages.leave_one_out, losses.plain, losses.per_trajectory_mean, 0.0)),
    ],
    ids=["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo"],
)
def test_recipes_have_the_constants_of_their_papers(recipe: Recipe, constants: tuple[object, ...]) -> None:
    assert (recipe.advantage, recipe.surrogate, recipe.weigh, recipe.kl_scale) == constants
    assert recipe.ratio is (losses.per_trajectory if recipe is GSPO else losses.per_decision)
    assert recipe.needs_reference is (recipe is GRPO)
    assert recipe.entropy_scale == 0
    assert recipe.rescale is None


@every_recipe
def test_decisions_without_advantage_are_skipped_only_where_they_have_no_gradient(name: str) -> None:
    new, old, _, ids, ref = step()
    (slope,) = torch.autograd.grad(
        objective(RECIPES[name], new, old, torch.zeros(len(ids)), ids, ref).value, new
    )
    assert RECIPES[name].skips_zero_advantage == (slope.abs().max().item() == 0)
    assert not replace(RECIPES[name], entropy_scale=0.1).skips_zero_advantage


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_inputs_of_other_precisions_are_brought_together(low: torch.dtype) -> None:
    """numpy's advantages are float64 and a model's log-probs may be 16-bit: the ratio is float32."""
    ids = torch.tensor([0, 0, 1])
    logp = torch.tensor([-0.5, -1.0, -2.0], dtype=low, requires_grad=True)
    loss = objective(DAPO, logp, logp.detach().float(), torch.tensor([1.0, 1.0, -1.0]).double(), ids)
    loss.value.backward()
    assert loss.value.dtype == torch.float32
    assert logp.grad is not None
    torch.testing.assert_close(
        logp.grad.float(), torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float32) / 3, atol=2e-3, rtol=0
    )
