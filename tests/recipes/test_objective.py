"""`objective` against padded, masked implementations, and what each recipe promises."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import pytest
import torch
from torch import Tensor

from groupwise import advantages, losses
from groupwise.recipes import CISPO, DAPO, DR_GRPO, GRPO, RECIPES, RLOO, Loss, Recipe, objective
from padded import TWINS, Padded

every_recipe = pytest.mark.parametrize("name", RECIPES)


# ---------------------------------------------------------------- the same loss, padded [B, T]

LENGTHS = [3, 1, 6, 2, 4, 5]
PLAIN = {name: replace(recipe, entropy_scale=0.0) for name, recipe in RECIPES.items()}
"""Without the entropy bonus, which is the same for all and has tests of its own."""
READS = ("ratio", "surrogate", "weigh", "correction", "kl", "kl_scale")
"""The fields of a recipe that the rest of its loss is made of."""
FACTORS_HELD_FIXED = {"cispo", "gspo_token", "topr", "vespo"}
"""Their gradient is not that of their value: it is a formula, met by autograd through the twin."""


@dataclass(frozen=True)
class Step:
    """Flat decisions; some ratios and weights are beyond every clip."""

    new: Tensor
    """With gradient."""
    behaviour: Tensor
    began: Tensor
    advantage: Tensor
    ids: Tensor
    ref: Tensor
    selected: Tensor
    foreign: Tensor

    def loss(self, recipe: Recipe, new: Tensor | None = None, advantage: Tensor | None = None) -> Loss:
        """With what the recipe asks for, and nothing else."""
        extra: dict[str, Tensor] = {}
        if losses.reads_proximal(recipe.correction):
            extra["proximal_logp"] = self.began
        if recipe.select is not None:
            extra["selected"] = self.selected
        if isinstance(recipe.surrogate, losses.shaping_foreign):
            extra["foreign"] = self.foreign
        new = self.new if new is None else new
        advantage = self.advantage if advantage is None else advantage
        return objective(recipe, new, self.behaviour, advantage, self.ids, self.ref, **extra)


def made() -> Step:
    draw = torch.Generator().manual_seed(3)
    ids = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    behaviour, ref, noise, other = torch.randn(4, len(ids), generator=draw)
    behaviour, ref = behaviour - 1.5, ref - 1.5
    advantage = torch.tensor([1.5, -0.5, 0.7, -1.0, -2.0, 0.3])[ids]
    new = behaviour + 0.3 * noise
    new[0] = behaviour[0] + 2.5
    new[10:12] = behaviour[10:12] - 0.9  # an answer with A < 0 that the policy has left behind
    new[12] = behaviour[12] + 2.0  # A < 0, beyond the two-sided clip
    began = behaviour + 0.5 * other
    began[1], began[2] = behaviour[1] + 2.0, behaviour[2] - 2.0
    selected = torch.arange(len(ids)) % 3 == 0
    return Step(new.requires_grad_(), behaviour, began, advantage, ids, ref, selected, ids == 2)


def step() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """new (with gradient), old, advantage, trajectory_id, reference."""
    s = made()
    return s.new, s.behaviour, s.advantage, s.ids, s.ref


def pad(x: Tensor, filler: float = 7.0) -> Tensor:
    out = torch.full((len(LENGTHS), max(LENGTHS) + 2), filler, dtype=x.dtype)
    for i, part in enumerate(x.split(LENGTHS)):
        out[i, : len(part)] = part
    return out


def padded(s: Step) -> Padded:
    flat = (s.new, s.behaviour, s.began, s.advantage, s.ref)
    mask = pad(torch.ones(len(s.ids)), 0.0)
    return Padded(*map(pad, flat), mask, pad(s.selected), pad(s.foreign))


def twin_of(name: str) -> Callable[[Padded], Tensor]:
    """Its own, or that of a recipe with the same loss."""
    alike = [
        twin
        for other in TWINS
        if all(getattr(RECIPES[other], f) == getattr(PLAIN[name], f) for f in READS)
        for twin in [TWINS[other]]
    ]
    assert name in TWINS or alike, f"{name} has a loss of its own and no twin in tests/padded.py"
    return TWINS.get(name) or alike[0]


def test_every_twin_is_of_a_recipe() -> None:
    assert set(RECIPES) >= set(TWINS)


@every_recipe
def test_objective_equals_the_padded_and_masked_loss(name: str) -> None:
    s = made()
    loss, twin = s.loss(PLAIN[name]).value, twin_of(name)(padded(s))
    torch.testing.assert_close(loss, twin, rtol=1e-12, atol=1e-14)
    (slope,), (twin_slope,) = torch.autograd.grad(loss, s.new), torch.autograd.grad(twin, s.new)
    assert slope.abs().max() > 0
    torch.testing.assert_close(slope, twin_slope, rtol=1e-12, atol=1e-14)


@every_recipe
def test_the_gradient_is_that_of_the_value_by_finite_differences(name: str) -> None:
    s, recipe = made(), PLAIN[name]
    if name not in FACTORS_HELD_FIXED:
        assert torch.autograd.gradcheck(lambda x: s.loss(recipe, x).value, s.new, eps=1e-6, atol=1e-8)


@every_recipe
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_weights_follow_the_dtype_of_the_log_probabilities(name: str, dtype: torch.dtype) -> None:
    """Weights of torch's default dtype cannot be multiplied with float64 log-probabilities."""
    s = made()
    want = s.loss(PLAIN[name]).value
    torch.set_default_dtype(torch.float32)
    vectors = {f.name: getattr(s, f.name).detach() for f in fields(s)}
    low = Step(**{k: v.to(dtype) if v.is_floating_point() else v for k, v in vectors.items()})
    got = low.loss(PLAIN[name], low.new.requires_grad_()).value
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want.detach(), rtol=2e-5, atol=1e-6)


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


def test_a_clip_within_the_ratio_is_a_clip() -> None:
    """GMPO clips before its mean: the surrogate alone would show that nothing is ever cut."""
    new = torch.tensor([0.6, -2.0, 0.6, -0.6]).requires_grad_()
    advantage, ids = torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.tensor([0, 0, 1, 1])
    got = objective(RECIPES["gmpo"], new, torch.zeros(4), advantage, ids).metrics
    assert got["clip_ratio/high_mean"].item() == pytest.approx(1 / 4), "although the mean is below 1"
    assert got["clip_ratio/low_mean"].item() == pytest.approx(1 / 4)


@every_recipe
def test_on_policy_nothing_is_clipped_and_the_gradient_is_reinforce(name: str) -> None:
    """At ratio 1 every surrogate has the gradient -w A; a value near 0 says nothing of progress."""
    s, recipe = made(), PLAIN[name]
    picked = isinstance(recipe.surrogate, losses.only_selected)
    nobody = torch.zeros_like(s.foreign)
    old = s.behaviour
    s = replace(s, began=old, ref=old, selected=nobody | picked, foreign=nobody)
    new = old.clone().requires_grad_()
    got = s.loss(recipe, new)
    (slope,) = torch.autograd.grad(got.value, new)
    torch.testing.assert_close(slope, -recipe.weigh(s.ids, s.ids) * s.advantage, rtol=1e-12, atol=1e-15)
    assert got.metrics["clip_ratio/region_mean"].item() == 0
    assert got.metrics["ratio"].item() == pytest.approx(1, rel=1e-12), (
        "a mean, whatever the weights add up to"
    )
    assert got.metrics["kl"].item() == 0
    assert got.metrics.get("correction", torch.tensor(1.0)).item() == pytest.approx(1, rel=1e-12)


def test_a_surrogate_may_read_the_log_prob_itself() -> None:
    """-A log pi as the paper writes it: a few lines of a user, which the metrics differentiate again."""
    s = made()
    recipe = replace(DAPO, surrogate=lambda log_ratio, d: -d.advantage * d.new_logp)
    got = s.loss(recipe)
    (slope,) = torch.autograd.grad(got.value, s.new)
    torch.testing.assert_close(slope, -s.advantage / len(s.ids), rtol=1e-12, atol=0)
    assert got.metrics["clip_ratio/region_mean"].item() == 0


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


@pytest.mark.parametrize(
    ("piece", "wrong", "shape"),
    [
        ("surrogate", lambda log_ratio, d: -(log_ratio * d.advantage).mean(), r"\[\]"),
        ("surrogate", lambda log_ratio, d: -(log_ratio * d.advantage)[:, None], r"\[21, 1\]"),
        ("ratio", lambda log_ratio, d: log_ratio.mean(), r"\[\]"),
        ("correction", lambda d: d.log_weight.exp().mean(), r"\[\]"),
        ("kl", lambda new, ref, log_ratio: (new - ref).square().mean(), r"\[\]"),
        ("weigh", lambda ids, groups: torch.ones(6), r"\[6\]"),
    ],
)
def test_a_piece_that_gives_another_shape_is_named(
    piece: str, wrong: Callable[..., Tensor], shape: str
) -> None:
    """A mean of the surrogate times the factors of a correction would broadcast, and train on nonsense."""
    recipe = replace(RECIPES["tis"], kl=losses.k2, kl_scale=0.1)
    with pytest.raises(ValueError, match=rf"Recipe.{piece} gave {shape} for 21 decisions"):
        made().loss(replace(recipe, **{piece: wrong}))


def test_a_missing_reference_is_an_error() -> None:
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="pass reference_logp"):
        objective(GRPO, x, x, x, torch.arange(3))


def test_a_missing_entropy_is_an_error() -> None:
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="pass entropy"):
        objective(replace(RLOO, entropy_scale=0.1), x, x, x, torch.arange(3))


def test_a_correction_without_the_policy_that_the_step_began_with_is_an_error() -> None:
    """Every weight would be 1, in silence."""
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="pass proximal_logp"):
        objective(RECIPES["tis"], x, x, x, torch.arange(3))
    objective(
        RECIPES["deepseek_v3_2"], x.requires_grad_(), x.detach(), x.detach(), torch.arange(3), x.detach()
    )


# ---------------------------------------------------------------- log-probs that nobody knows


def test_decisions_of_unknown_log_prob_have_weight_zero_and_are_counted() -> None:
    """One NaN makes the loss NaN, its gradient too, and where() alone does not heal a gradient."""
    s, nan = made(), torch.tensor(float("nan"))
    unknown = torch.zeros(len(s.ids), dtype=torch.bool)
    unknown[[2, 5]] = True
    hidden = replace(s, behaviour=torch.where(unknown, nan, s.behaviour))
    weight = DAPO.weigh(s.ids, s.ids)
    got, known = hidden.loss(DAPO), ~unknown
    want = objective(
        DAPO, s.new[known], s.behaviour[known], s.advantage[known], s.ids[known], weight=weight[known]
    )
    torch.testing.assert_close(got.value, want.value, rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(got.value, s.new)
    assert slope.isfinite().all()
    assert not slope[unknown].any()
    assert got.metrics["sampling/unknown"].item() == pytest.approx(2 / len(s.ids))
    assert all(value.isfinite() for value in got.metrics.values())


def test_a_teacher_without_log_probs_is_learned_from_where_none_are_needed() -> None:
    """LUFFY asks the teacher for nothing; a correction does, and leaves out what it is not told."""
    s, luffy = made(), RECIPES["luffy"]
    behaviour = torch.where(s.foreign, torch.nan, s.behaviour)
    known = {"proximal_logp": s.began, "foreign": s.foreign}
    vectors = (s.new, behaviour, s.advantage, s.ids)
    free = objective(luffy, *vectors, **known)
    assert "sampling/unknown" not in free.metrics
    assert torch.autograd.grad(free.value, s.new)[0][s.foreign].abs().min() > 0
    for recipe in (replace(luffy, correction=losses.truncated()), RECIPES["topr"]):
        told = objective(recipe, *vectors, **known)
        assert told.metrics["sampling/unknown"].item() == pytest.approx(float(s.foreign.double().mean()))
        (slope,) = torch.autograd.grad(told.value, s.new)
        assert slope.isfinite().all()
        assert not slope[s.foreign].any()


def test_when_nothing_is_known_the_loss_is_zero() -> None:
    s = made()
    got = replace(s, behaviour=torch.full_like(s.behaviour, torch.nan)).loss(DAPO)
    assert got.value.item() == 0
    assert got.metrics["sampling/unknown"].item() == 1
    got.value.backward()


@every_recipe
def test_decisions_without_advantage_are_skipped_only_where_they_have_no_gradient(name: str) -> None:
    """Not skipped although they might be: where advantages are still to change, or the step is surveyed."""
    s, recipe = made(), PLAIN[name]
    (slope,) = torch.autograd.grad(s.loss(recipe, advantage=torch.zeros(len(s.ids))).value, s.new)
    surveyed = recipe.select is not None or recipe.entropy_control is not None or recipe.reward_kl != 0
    if recipe.skips_zero_advantage:
        assert slope.abs().max().item() == 0
    else:
        assert surveyed or slope.abs().max().item() > 0
    assert recipe.skips_zero_advantage != (surveyed or recipe.needs_reference)
    assert not replace(recipe, entropy_scale=0.1).skips_zero_advantage


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
