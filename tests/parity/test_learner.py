"""What the learner computes from packed, shared, cut-up tokens is what plain autograd computes.

The oracle is a separate copy of the model that reads one whole sequence at a time, and losses written
out here from the papers, decision by decision, with nothing of the package in them.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from groupwise.advantages import assign
from groupwise.engine import scoring
from groupwise.engine.model import CausalLM
from groupwise.engine.sampling import Sampling
from groupwise.groups import Order
from groupwise.learner import Learner, Optimization
from groupwise.packing import BudgetError, pack
from groupwise.policies import LanguagePolicy, Reference
from groupwise.recipes import DAPO, GRPO, GSPO, Recipe
from groupwise.rollouts import TextSampler
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

HUGE = 1 << 20
Answer = Sequence[Sequence[int]]
"""Tokens chosen, read, chosen, read, ..., chosen: an odd number of runs."""

# two groups; prompts and answers below and far above the windows of 5 and 6; one token, many turns
PROMPTS = (tiny.prompt(11), tiny.prompt(3))
ANSWERS: tuple[tuple[Answer, ...], ...] = (
    (
        [tiny.prompt(17, 1)],
        [tiny.prompt(1, 2)],
        [tiny.prompt(4, 3), tiny.prompt(3, 4), tiny.prompt(5, 5)],
        [tiny.prompt(6, 6)],
    ),
    (
        [tiny.prompt(2, 7)],
        [tiny.prompt(3, 8), tiny.prompt(1, 9), tiny.prompt(1, 10), tiny.prompt(8, 11), tiny.prompt(2, 12)],
        [tiny.prompt(20, 13)],
    ),
)
REWARDS = ((1.0, 0.0, 0.3, 0.5), (0.0, 2.0, 0.5))


@functools.cache
def served(name: str) -> CausalLM:
    return CausalLM(tiny.plain(name))


def policy(name: str, temperature: float = 1.0, dtype: torch.dtype = torch.float32) -> LanguagePolicy:
    """A policy over weights of its own, so that a test may train it."""
    model = served(name)
    return LanguagePolicy(model.around(copy.deepcopy(model.model).to(dtype)), temperature)


# ---------------------------------------------------------------- the oracle


def sequence(trajectory: Trajectory) -> tuple[list[int], list[int]]:
    """Every token in order, and the places of those that were decided."""
    tokens: list[int] = []
    decided: list[int] = []
    for turn in trajectory.turns:
        tokens += turn.observation.tolist()
        decided += range(len(tokens), len(tokens) + len(turn.decisions))
        tokens += turn.decisions.tolist()
    return tokens, decided


def plain_scores(model: Any, trajectory: Trajectory, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """[n] log-probs and entropies of a trajectory's decisions, alone in its forward pass."""
    tokens, decided = sequence(trajectory)
    every = (tiny.logits(model, tokens) / temperature).log_softmax(-1)
    before = every[torch.tensor(decided) - 1]
    logp = torch.stack([row[tokens[i]] for row, i in zip(before, decided, strict=True)])
    return logp, -(before.exp() * before).sum(-1)


def plain_loss(
    model: Any,
    cohort: Sequence[Group],
    high: float,
    per_token: bool,
    kl_scale: float = 0.0,
    reference: Any = None,
    entropy_scale: float = 0.0,
    temperature: float = 1.0,
) -> Tensor:
    """DAPO (per_token) or GRPO's loss, written out one decision at a time."""
    scored = [t for g in cohort for t in g.trajectories if t.reward is not None]
    total = sum(t.n_decisions for t in scored)
    loss = torch.zeros((), dtype=torch.float64)
    for t in scored:
        logp, entropy = plain_scores(model, t, temperature)
        ratio = (logp - torch.from_numpy(t.behaviour_logp)).exp()
        a = torch.from_numpy(t.advantage)
        term = -torch.minimum(ratio * a, ratio.clamp(0.8, 1 + high) * a)
        if reference is not None:
            with torch.no_grad():
                ref, _ = plain_scores(reference, t, temperature)
            term = term + kl_scale * ((ref - logp).exp() - (ref - logp) - 1)
        term = term - entropy_scale * entropy
        loss = loss + term.double().sum() / (total if per_token else len(scored) * t.n_decisions)
    return loss


def gradients(model: Any) -> dict[str, Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def gradients_of_step(learner: Learner, module: Any) -> dict[str, Tensor]:
    """A dict that fills at the learner's next step: it frees its gradients afterwards."""
    found: dict[str, Tensor] = {}
    learner.optimizer.register_step_pre_hook(lambda *_: found.update(gradients(module)))
    return found


def trained(
    cohort: Sequence[Group],
    recipe: Recipe,
    of: LanguagePolicy,
    budget: int = HUGE,
    reference: Reference | None = None,
) -> tuple[dict[str, Tensor], Mapping[str, float]]:
    """Gradients and metrics of one whole optimizer step, packing to publishing."""
    batch = pack(cohort, recipe, of, budget, reference)
    learner = Learner(of, Optimization(learning_rate=1e-9, max_grad_norm=1e9))
    gradient = gradients_of_step(learner, of.module)
    update = learner.step(batch, recipe, step=1)
    return gradient, update.metrics


def close(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], tolerance: float) -> None:
    """Equal up to `tolerance` times the largest entry of the whole gradient."""
    assert ours.keys() == theirs.keys()
    scale = max(float(g.abs().max()) for g in theirs.values())
    assert scale > 1e-3, "a gradient to compare"
    for name, gradient in theirs.items():
        assert float((ours[name] - gradient).abs().max()) <= tolerance * scale, name


# ---------------------------------------------------------------- the cohort


def trajectory(prompt: Sequence[int], runs: Answer, reward: float | None, seed: int) -> Trajectory:
    """With made-up behaviour log-probs; `behaved` puts in ones that fit a model."""
    observations, decisions = [prompt, *runs[1::2]], runs[::2]
    turns = tuple(
        Turn(np.array(o), np.array(d), np.zeros(len(d), np.float32))
        for o, d in zip(observations, decisions, strict=True)
    )
    return Trajectory(turns, PolicyTag(), StopReason.FINISHED, reward=reward)


def behaved(t: Trajectory, model: Any, spread: float, seed: int, temperature: float = 1.0) -> Trajectory:
    """Chosen by a policy whose log-probs differ from the model's by about `spread`."""
    with torch.no_grad():
        logp = plain_scores(model, t, temperature)[0].double().numpy()
    noise = spread * np.random.default_rng(seed).standard_normal(len(logp))
    cuts = np.cumsum([len(turn.decisions) for turn in t.turns])[:-1]
    parts = np.split((logp + noise).astype(np.float32), cuts)
    turns = tuple(replace(turn, behaviour_logp=p) for turn, p in zip(t.turns, parts, strict=True))
    return replace(t, turns=turns)


def cohort_of(name: str, recipe: Recipe, rewards: Any = REWARDS, temperature: float = 1.0) -> list[Group]:
    """Off-policy: ratios spread around 1 far enough to be clipped on both sides."""
    model = tiny.plain(name)
    groups = []
    for i, (prompt, answers, values) in enumerate(zip(PROMPTS, ANSWERS, rewards, strict=True)):
        members = [
            behaved(trajectory(prompt, a, r, 0), model, 0.3, 10 * i + j, temperature)
            for j, (a, r) in enumerate(zip(answers, values, strict=True))
        ]
        groups.append(Group(Prompt(i, "made up"), tuple(members)))
    return assign(groups, recipe.advantage)


# ---------------------------------------------------------------- log-probs, entropies, gradients


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_packed_scores_are_those_of_each_sequence_alone(name: str, temperature: float) -> None:
    ours = policy(name, temperature)
    members = [(i, t) for i, g in enumerate(cohort_of(name, DAPO)) for t in g.trajectories]
    inputs = ours.inputs(members)
    forwarded = sum(len(p) for p in PROMPTS) + sum(
        sum(map(len, answer)) - 1 for answers in ANSWERS for answer in answers
    )
    assert len(inputs.tokens) == forwarded, "each prompt once, each answer without its last token"
    scores = ours.score(inputs)
    assert not scores.entropy.requires_grad
    plain = [plain_scores(tiny.plain(name), t, temperature) for _, t in members]
    logp, entropy = (torch.cat(x) for x in zip(*plain, strict=True))
    torch.testing.assert_close(scores.logp, logp, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores.entropy, entropy, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_dapo_gradient_is_that_of_plain_autograd(name: str) -> None:
    cohort = cohort_of(name, DAPO)
    ours, metrics = trained(cohort, DAPO, policy(name))
    plain = tiny.plain(name)
    loss = plain_loss(plain, cohort, high=0.28, per_token=True)
    loss.backward()
    assert metrics["loss"] == pytest.approx(float(loss.detach()), abs=1e-5)
    assert metrics["clip_ratio/low_mean"] > 0, "the case clips below"
    assert metrics["clip_ratio/high_mean"] > 0, "the case clips above"
    close(ours, gradients(plain), 1e-5)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_grpo_gradient_with_its_reference_is_that_of_plain_autograd(name: str) -> None:
    """The reference is frozen before the policy moves: here its weights differ from the policy's."""
    cohort = cohort_of(name, GRPO)
    ours = policy(name)
    reference = ours.frozen()
    plain, plain_reference = tiny.plain(name), tiny.plain(name)
    for model in (ours.module, plain):
        nudge(model)
    gradient, metrics = trained(cohort, GRPO, ours, reference=reference)
    assert metrics["kl"] > 1e-3, "the reference is not the policy"
    loss = plain_loss(plain, cohort, high=0.2, per_token=False, kl_scale=0.04, reference=plain_reference)
    loss.backward()
    assert metrics["loss"] == pytest.approx(float(loss.detach()), abs=1e-5)
    close(gradient, gradients(plain), 1e-5)


def nudge(model: Any) -> None:
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_entropy_bonus_has_its_gradient_at_a_temperature(name: str) -> None:
    recipe = replace(DAPO, entropy_scale=0.1)
    cohort = cohort_of(name, recipe, temperature=0.7)
    ours, _ = trained(cohort, recipe, policy(name, 0.7))
    plain = tiny.plain(name)
    plain_loss(plain, cohort, 0.28, per_token=True, entropy_scale=0.1, temperature=0.7).backward()
    close(ours, gradients(plain), 1e-5)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_long_answer_beside_a_short_one_has_a_finite_gradient(name: str) -> None:
    """A short answer is padded to its longest sibling; beyond the window a padding token sees nothing."""
    answers = [[tiny.prompt(40, 1)], [tiny.prompt(2, 2)], [tiny.prompt(1, 3)]]
    members = [trajectory(tiny.prompt(2), a, r, 0) for a, r in zip(answers, (0.0, 1.0, 0.5), strict=True)]
    members = [behaved(t, tiny.plain(name), 0.1, i) for i, t in enumerate(members)]
    cohort = assign([Group(Prompt(0, ""), tuple(members))], DAPO.advantage)
    ours, _ = trained(cohort, DAPO, policy(name))
    plain = tiny.plain(name)
    plain_loss(plain, cohort, 0.28, per_token=True).backward()
    close(ours, gradients(plain), 1e-5)


# ---------------------------------------------------------------- multi-turn


def test_what_the_world_replies_is_read_and_never_learned() -> None:
    """Only decided tokens carry loss: packing and plain agree, and the replies are not among them."""
    (_, group) = cohort_of("llama", DAPO)
    turns = group.trajectories[1]
    inputs = policy("llama").inputs([(0, turns)])
    assert inputs.decisions.tolist() == [t for run in ANSWERS[1][1][::2] for t in run]
    tokens, decided = sequence(turns)
    assert [tokens[i] for i in decided] == inputs.decisions.tolist()
    assert inputs.at.tolist() == [i - 1 for i in decided], "each is scored after the token before it"


def test_a_reply_changes_the_decisions_after_it_and_none_before() -> None:
    ours = policy("llama")
    runs = [tiny.prompt(4, 1), tiny.prompt(3, 2), tiny.prompt(5, 3)]
    other = [runs[0], tiny.prompt(3, 99), runs[2]]
    one, two = (
        ours.score(ours.inputs([(0, trajectory(tiny.prompt(6), r, 1.0, 0))])).logp for r in (runs, other)
    )
    torch.testing.assert_close(one[:4], two[:4], rtol=0, atol=1e-6)
    assert ((one[4:] - two[4:]).abs() > 1e-3).all()


# ---------------------------------------------------------------- cuts


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt-oss"])
@pytest.mark.parametrize("recipe", [DAPO, GRPO, GSPO], ids=["dapo", "grpo", "gspo"])
def test_the_budget_never_changes_the_gradient(name: str, recipe: Recipe) -> None:
    cohort = cohort_of(name, recipe)
    pieces, found = [], []
    for budget in (28, 37, 60, HUGE):
        ours = policy(name)
        reference = ours.frozen() if recipe.needs_reference else None
        batch = pack(cohort, recipe, ours, budget, reference)
        assert batch is not None
        pieces.append(len(batch.pieces))
        assert max(len(p.inputs.tokens) for p in batch.pieces) <= budget
        learner = Learner(ours, Optimization(learning_rate=1e-9, max_grad_norm=1e9))
        gradient = gradients_of_step(learner, ours.module)
        found.append((learner.step(batch, recipe, 1).metrics, gradient))
    assert pieces[0] > 3, "the smallest budget cuts groups apart"
    assert pieces[-1] == 1
    for metrics, gradient in found[:-1]:
        assert metrics == pytest.approx(found[-1][0], abs=1e-5)
        close(gradient, found[-1][1], 5e-6)


def test_a_trajectory_beyond_the_budget_is_refused_with_the_numbers() -> None:
    cohort = cohort_of("llama", DAPO)
    longest = max(len(sequence(t)[0]) - 1 for g in cohort for t in g.trajectories)
    pack(cohort, DAPO, policy("llama"), longest)
    with pytest.raises(
        BudgetError, match=rf"takes {longest} tokens .* is {longest - 1}\. Set it to {longest}"
    ):
        pack(cohort, DAPO, policy("llama"), longest - 1)


def test_logits_in_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = cohort_of("gemma2", DAPO)
    whole, _ = trained(cohort, DAPO, policy("gemma2"))
    monkeypatch.setattr(scoring, "LOGIT_ROWS", 3)
    chunked, _ = trained(cohort, DAPO, policy("gemma2"))
    close(chunked, whole, 1e-6)


# ---------------------------------------------------------------- what is left out


def test_leaving_out_what_teaches_nothing_changes_no_gradient() -> None:
    """A whole flat group and one member at its group's mean: not forwarded, and still in the weights."""
    rewards = ((1.0, 1.0, 1.0, 1.0), (0.0, 1.0, 0.5))
    for recipe, high, per_token in ((DAPO, 0.28, True), (replace(GRPO, kl=None, kl_scale=0.0), 0.2, False)):
        cohort = cohort_of("llama", recipe, rewards)
        batch = pack(cohort, recipe, policy("llama"), HUGE)
        assert batch is not None
        taught = [t for g in cohort for t in g.trajectories if t.advantage is not None and t.advantage.any()]
        assert len(taught) == 2
        assert len(batch) == sum(t.n_decisions for t in taught)
        ours, _ = trained(cohort, recipe, policy("llama"))
        plain = tiny.plain("llama")
        plain_loss(plain, cohort, high, per_token).backward()
        close(ours, gradients(plain), 1e-5)


def test_with_a_divergence_or_an_entropy_bonus_nothing_is_left_out() -> None:
    for recipe in (GRPO, replace(DAPO, entropy_scale=0.01)):
        cohort = cohort_of("llama", recipe, ((1.0,) * 4, (1.0,) * 3))
        batch = pack(cohort, recipe, policy("llama"), HUGE)
        assert batch is not None
        assert len(batch) == sum(t.n_decisions for g in cohort for t in g.trajectories)


def test_a_cohort_without_a_lesson_packs_to_nothing() -> None:
    flat = cohort_of("llama", DAPO, ((1.0,) * 4, (0.0,) * 3))
    assert pack(flat, DAPO, policy("llama"), HUGE) is None
    unscored = cohort_of("llama", DAPO, ((None,) * 4, (None,) * 3))
    assert pack(unscored, DAPO, policy("llama"), HUGE) is None
    assert pack(unscored, GRPO, policy("llama"), HUGE) is None
    assert pack([], DAPO, policy("llama"), HUGE) is None


def test_the_unscored_count_neither_in_the_weights_nor_in_the_baseline() -> None:
    """A failed reward must not dilute the others: as if the answer had never been written."""
    rewards = ((1.0, None, 0.3, 0.5), (0.0, 2.0, None))
    for recipe in (DAPO, GRPO):
        cohort = cohort_of("llama", recipe, rewards)
        without = assign(
            [
                replace(g, trajectories=tuple(t for t in g.trajectories if t.reward is not None))
                for g in cohort_of("llama", recipe, rewards)
            ],
            recipe.advantage,
        )
        kw = []
        for groups in (cohort, without):
            ours = policy("llama")
            reference = ours.frozen() if recipe.needs_reference else None
            kw.append(trained(groups, recipe, ours, reference=reference))
        close(kw[0][0], kw[1][0], 1e-6)
        assert kw[0][1] == pytest.approx(kw[1][1], abs=1e-6)


def test_advantages_must_have_been_assigned() -> None:
    raw = [Group(Prompt(0, ""), (trajectory(PROMPTS[0], ANSWERS[0][0], 1.0, 0),))]
    with pytest.raises(ValueError, match="assign"):
        pack(raw, DAPO, policy("llama"), HUGE)


# ---------------------------------------------------------------- on policy


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_on_policy_the_ratio_is_one(name: str, temperature: float) -> None:
    """What the sampler recorded is what the learner computes: no second old-log-prob forward is needed."""
    ours = policy(name, temperature)
    cohort = sampled(ours, temperature)
    _, metrics = trained(cohort, DAPO, ours, budget=70)
    assert metrics["sampling/logp_difference/max"] < 1e-5
    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["clip_ratio/region_mean"] == 0.0


def sampled(of: LanguagePolicy, temperature: float = 1.0) -> list[Group]:
    """Written by the policy itself, through tokenizer and sampler, with made-up rewards."""
    words = tiny.tokenizer()
    sampler = TextSampler(of, words, Sampling(16, temperature, max_rows=5), seed=4)
    prompts = [Prompt(i, words.decode(tiny.prompt(n))) for i, n in enumerate((5, 12, 20))]
    groups = [
        replace(g, trajectories=tuple(replace(t, reward=float(j % 2)) for j, t in enumerate(g.trajectories)))
        for g in sampler.collect([Order(prompt, 4) for prompt in prompts])
    ]
    return assign(groups, DAPO.advantage)


def test_the_sampling_gap_is_that_of_the_first_epoch() -> None:
    """Later epochs have moved: their gap would be learning, not a mismatch of sampler and learner."""
    ours = policy("llama")
    batch = pack(sampled(ours), DAPO, ours, HUGE)
    update = Learner(ours, Optimization(learning_rate=1e-2, warmup_steps=0, epochs=3)).step(batch, DAPO, 1)
    assert update.metrics["sampling/logp_difference/max"] < 1e-5
    assert abs(update.metrics["ratio"] - 1) > 1e-3


def test_a_wrong_temperature_shows_in_the_sampling_gap() -> None:
    """The metric can fail: sampled at 0.7 and scored at 1 it is large."""
    cohort = sampled(policy("llama", 0.7), 0.7)
    _, metrics = trained(cohort, DAPO, policy("llama", 1.0))
    assert metrics["sampling/logp_difference/max"] > 0.1


# ---------------------------------------------------------------- LoRA


PEFT_ASKS_THE_OLD_WAY = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is:FutureWarning")


@functools.cache
def _adapted() -> Any:
    peft = pytest.importorskip("peft")
    options = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear"}
    model = peft.get_peft_model(tiny.plain("llama"), peft.LoraConfig(**options, task_type="CAUSAL_LM")).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero at birth: an adapter that does nothing would prove nothing
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def adapted() -> tuple[LanguagePolicy, Any]:
    """A policy with an adapter, and a plain peft model with the same weights."""
    return LanguagePolicy(CausalLM(copy.deepcopy(_adapted()))), copy.deepcopy(_adapted())


@PEFT_ASKS_THE_OLD_WAY
def test_an_adapters_scores_and_gradient_are_those_of_plain_peft() -> None:
    ours, plain = adapted()
    cohort = cohort_of("llama", GRPO)
    members = [(i, t) for i, g in enumerate(cohort) for t in g.trajectories]
    expected = torch.cat([plain_scores(plain, t)[0] for _, t in members])
    torch.testing.assert_close(ours.score(ours.inputs(members)).logp, expected, rtol=1e-5, atol=1e-5)
    base = torch.cat([plain_scores(tiny.plain("llama"), t)[0] for _, t in members])
    assert (expected - base).abs().max() > 0.01, "the adapter does something"
    reference = ours.frozen()
    torch.testing.assert_close(reference.logp(ours.inputs(members)), base, rtol=1e-5, atol=1e-5)
    gradient, _ = trained(cohort, GRPO, ours, reference=reference)
    loss = plain_loss(plain, cohort, 0.2, per_token=False, kl_scale=0.04, reference=tiny.plain("llama"))
    loss.backward()
    assert gradient.keys() == gradients(plain).keys()
    close(gradient, gradients(plain), 1e-5)


@PEFT_ASKS_THE_OLD_WAY
def test_only_the_adapter_learns_and_its_reference_stays_the_base_model() -> None:
    ours, _ = adapted()
    cohort = cohort_of("llama", GRPO)
    reference = ours.frozen()
    batch = pack(cohort, GRPO, ours, HUGE, reference)
    assert batch is not None
    before = {n: p.detach().clone() for n, p in ours.module.named_parameters()}
    Learner(ours, Optimization(learning_rate=1e-2, warmup_steps=0, epochs=2)).step(batch, GRPO, 1)
    moved = {n for n, p in ours.module.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if "lora_" in n}
    assert batch.reference_logp is not None
    again = reference.logp(batch.pieces[0].inputs)
    torch.testing.assert_close(again, batch.reference_logp, rtol=0, atol=1e-6)


@PEFT_ASKS_THE_OLD_WAY
def test_an_adapter_is_on_again_after_the_reference_was_asked() -> None:
    ours, _ = adapted()
    inputs = ours.inputs([(0, trajectory(PROMPTS[0], ANSWERS[0][0], 1.0, 0))])
    before = ours.score(inputs).logp
    ours.frozen().logp(inputs)
    assert torch.equal(ours.score(inputs).logp, before)
