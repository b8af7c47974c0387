"""One optimizer step is AdamW on float32 masters, or it is nothing at all."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tiny
from groupwise.advantages import assign
from groupwise.engine.model import CausalLM
from groupwise.learner import Learner, Masters, NonFiniteError, Optimization
from groupwise.packing import pack
from groupwise.policies import CategoricalPolicy, LanguagePolicy
from groupwise.recipes import DAPO
from groupwise.trajectory import Batch, Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

HUGE = 1 << 20
DTYPES = [torch.float32, torch.bfloat16]


class Network(nn.Module):
    """3 numbers in, 4 logits out; computes in its weights' precision, a layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.frozen = nn.Parameter(torch.randn((3, 3), generator=generator), requires_grad=False)
        self.weight = nn.Parameter(0.7 + 0.2 * torch.rand((4, 3), generator=generator))
        self.bias = nn.Parameter(0.1 * torch.randn(4, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype) @ self.frozen
        return nn.functional.linear(x, self.weight, self.bias).float()


def batch_of(network: nn.Module, minibatches: int = 1) -> Batch:
    """Four episodes of a policy that chose a little differently, in two micro-batches at least."""
    policy, generator = CategoricalPolicy(network), np.random.default_rng(0)
    members = []
    for reward in (1.0, 0.0, 0.2, 0.9):
        observations = generator.standard_normal((5, 3)).astype(np.float32)
        actions, logp = policy.act(observations, generator.random(5))
        noise = 0.05 * generator.standard_normal(5).astype(np.float32)
        turn = Turn(observations, actions, logp + noise)
        members.append(Trajectory((turn,), PolicyTag(), StopReason.FINISHED, reward=reward))
    cohort = assign([Group(Prompt(0, 0), tuple(members))], DAPO.advantage)
    batch = pack(cohort, DAPO, policy, 10, minibatches=minibatches)
    assert batch is not None
    assert len(batch.pieces) == max(2, minibatches)
    return batch


def learner_of(network: nn.Module, dtype: torch.dtype = torch.float32, **options: Any) -> Learner:
    return Learner(CategoricalPolicy(network), Optimization(**options), dtype)


def everything(learner: Learner) -> dict[str, Tensor]:
    """Every tensor that a step may change: compute weights, masters, the optimizer's state."""
    found = {f"module.{k}": v for k, v in learner.policy.module.state_dict().items()}
    found |= {f"master.{k}": v for k, v in learner.masters.weights.items()}
    for i, state in learner.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
    return {k: v.detach().clone() for k, v in found.items()}


def unchanged(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    assert before.keys() == after.keys()
    assert all(torch.equal(v, before[k]) for k, v in after.items())


# ---------------------------------------------------------------- the step


def by_hand(network: Network, batch: Batch, o: Optimization, rates: list[float]) -> tuple[dict, list[float]]:
    """AdamW with clipping as in the papers, in float64; the loss is DAPO's, written out. Where the batch has
    parts, each step is on the next of them, which stands for all."""
    weights = {n: p.detach().double() for n, p in network.named_parameters() if n != "frozen"}
    mean = {n: torch.zeros_like(w) for n, w in weights.items()}
    square = {n: torch.zeros_like(w) for n, w in weights.items()}
    observations = torch.cat([p.inputs.observations for p in batch.pieces]).double()
    actions = torch.cat([p.inputs.actions for p in batch.pieces])
    norms = []
    parts = torch.cat([torch.full((p.stop - p.start,), p.part) for p in batch.pieces])
    count = len(parts.unique())
    for t, rate in enumerate(rates, start=1):
        own = (parts == (t - 1) % count) * count
        leaves = {n: w.clone().requires_grad_() for n, w in weights.items()}
        logits = observations @ network.frozen.double() @ leaves["weight"].T + leaves["bias"]
        logp = logits.log_softmax(-1)[torch.arange(len(actions)), actions]
        ratio = (logp - batch.behaviour_logp.double()).exp()
        a = batch.advantage.double()
        loss = -(own * torch.minimum(ratio * a, ratio.clamp(0.8, 1.28) * a)).sum() / len(actions)
        gradient = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        norms.append(math.sqrt(sum(float((g**2).sum()) for g in gradient.values())))
        for n, g in gradient.items():
            g = g * min(1.0, o.max_grad_norm / norms[-1])
            mean[n] = o.beta1 * mean[n] + (1 - o.beta1) * g
            square[n] = o.beta2 * square[n] + (1 - o.beta2) * g**2
            step = (mean[n] / (1 - o.beta1**t)) / ((square[n] / (1 - o.beta2**t)).sqrt() + 1e-8)
            weights[n] = weights[n] * (1 - rate * o.weight_decay) - rate * step
    return weights, norms


@pytest.mark.parametrize("max_grad_norm", [0.05, 1e9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("epochs", [1, 3])
def test_steps_are_adamw_by_hand(max_grad_norm: float, weight_decay: float, epochs: int) -> None:
    """Two steps, warm-up included: each epoch is one optimizer step on the same batch."""
    options = {"max_grad_norm": max_grad_norm, "weight_decay": weight_decay, "epochs": epochs}
    network = Network()
    batch = batch_of(network)
    learner = learner_of(network, learning_rate=0.02, warmup_steps=4, **options)
    expected, norms = by_hand(network, batch, learner.optimization, [0.005] * epochs + [0.01] * epochs)
    assert min(norms) > 0.05, "the smaller bound clips"
    for step in (1, 2):
        update = learner.step(batch, DAPO, step)
        assert update.metrics["grad_norm"] == pytest.approx(norms[step * epochs - 1], rel=1e-4), "unclipped"
    for name, weight in expected.items():
        torch.testing.assert_close(learner.masters.weights[name].double(), weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("minibatches", [2, 4])
def test_minibatches_are_optimizer_steps_of_their_own(minibatches: int) -> None:
    """Two epochs: every part in its turn, from where the last has led, as long a gradient as of the whole."""
    network = Network()
    batch = batch_of(network, minibatches)
    learner = learner_of(network, learning_rate=0.02, warmup_steps=0, epochs=2, minibatches=minibatches)
    expected, norms = by_hand(network, batch, learner.optimization, [0.02] * 2 * minibatches)
    update = learner.step(batch, DAPO, 1)
    assert update.metrics["grad_norm"] == pytest.approx(sum(norms[minibatches:]) / minibatches, rel=1e-4)
    for name, weight in expected.items():
        torch.testing.assert_close(learner.masters.weights[name].double(), weight, rtol=1e-5, atol=1e-6)


def test_metrics_of_minibatches_are_of_the_whole_batch() -> None:
    """With a rate too small to move anything they are those of one optimizer step. How far the sampler was
    is asked before anything moves: with a high rate the first part alone can tell."""
    found = [
        learner_of(network, learning_rate=1e-12, minibatches=parts)
        .step(batch_of(network, parts), DAPO, 1)
        .metrics
        for parts, network in ((1, Network()), (4, Network()))
    ]
    for name in ("loss", "ratio", "entropy", "clip_ratio/region_mean"):
        assert found[1][name] == pytest.approx(found[0][name], rel=1e-4, abs=1e-7), name
    network = Network()
    batch = batch_of(network, 4)
    with torch.no_grad():
        first = batch.pieces[0]
        logp = CategoricalPolicy(network).score(first.inputs).logp
        apart = (logp - batch.behaviour_logp[: first.stop]).abs()
    update = learner_of(network, learning_rate=1.0, warmup_steps=0, minibatches=4).step(batch, DAPO, 1)
    assert update.metrics["sampling/logp_difference/max"] == pytest.approx(float(apart.max()), rel=1e-5)


def test_a_long_gradient_is_shortened_to_the_bound_and_a_short_one_is_left() -> None:
    for bound in (0.01, 1e9):
        network = Network()
        learner, seen = learner_of(network, max_grad_norm=bound), []
        learner.optimizer.register_step_pre_hook(
            lambda *_, of=network, seen=seen: seen.append(
                sum(float((p.grad**2).sum()) for p in of.parameters() if p.grad is not None)
            )
        )
        update = learner.step(batch_of(network), DAPO, 1)
        assert all(p.grad is None for p in network.parameters()), "sampling has their memory"
        norm = math.sqrt(seen[0])
        assert norm == pytest.approx(min(bound, update.metrics["grad_norm"]), rel=1e-4)


def test_the_learning_rate_warms_up_and_then_stays() -> None:
    network = Network()
    batch = batch_of(network)
    learner = learner_of(network, learning_rate=1e-3, warmup_steps=4)
    rates = [learner.step(batch, DAPO, step).metrics["learning_rate"] for step in range(1, 7)]
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3])
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)
    cold = learner_of(Network(), learning_rate=1e-3, warmup_steps=0)
    assert cold.step(None, DAPO, 1).metrics["learning_rate"] == pytest.approx(1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_batch_nothing_moves(dtype: torch.dtype) -> None:
    """Weight decay and momentum too: a step without a lesson is not a step of the optimizer."""
    network = Network()
    batch = batch_of(network)
    learner = learner_of(network, dtype, learning_rate=0.01, weight_decay=0.1)
    learner.step(batch, DAPO, 1)
    before = everything(learner)
    update = learner.step(None, DAPO, 2)
    assert set(update.metrics) == {"learning_rate"}
    unchanged(before, everything(learner))


def test_what_is_frozen_stays() -> None:
    network = Network()
    before = network.frozen.clone()
    batch = batch_of(network)
    learner = learner_of(network, learning_rate=0.1, weight_decay=0.1)
    learner.step(batch, DAPO, 1)
    assert torch.equal(network.frozen, before)
    assert set(learner.masters.weights) == {"weight", "bias"}


def test_a_module_without_anything_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="no trainable parameters"):
        Masters(Network().requires_grad_(False))


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": 0.0}, {"epochs": 0}, {"max_grad_norm": 0.0}, {"warmup_steps": -1}]
)
def test_settings_without_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="Optimization"):
        Optimization(**wrong)


# ---------------------------------------------------------------- not finite


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_what_is_not_finite_is_refused_before_anything_changed(dtype: torch.dtype, fault: str) -> None:
    network = Network()
    batch = batch_of(network)
    learner = learner_of(network, dtype, learning_rate=0.01, weight_decay=0.1)
    learner.step(batch, DAPO, 1)
    twin = copy.deepcopy(learner)
    before = everything(learner)
    if fault == "loss":
        advantage = batch.advantage.clone()
        advantage[-1] = torch.inf
        with pytest.raises(NonFiniteError, match="no step was taken"):
            learner.step(replace(batch, advantage=advantage), DAPO, 2)
    else:
        handle = network.bias.register_hook(lambda g: g * torch.nan)
        with pytest.raises(NonFiniteError, match="gradient norm nan"):
            learner.step(batch, DAPO, 2)
        handle.remove()
    unchanged(before, everything(learner))
    learner.step(batch, DAPO, 2)
    twin.step(batch, DAPO, 2)
    unchanged(everything(twin), everything(learner))


# ---------------------------------------------------------------- masters


def test_masters_are_the_weights_as_they_were_given() -> None:
    """Not the rounded copy: rounding first would throw away 16 of 24 bits for good."""
    network = Network()
    original = {n: p.detach().clone() for n, p in network.named_parameters()}
    assert not torch.equal(original["weight"], original["weight"].bfloat16().float())
    masters = Masters(network, torch.bfloat16)
    assert masters.weights.keys() == {"weight", "bias"}
    for name, master in masters.weights.items():
        assert master.dtype == torch.float32
        assert torch.equal(master, original[name])
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, original[name].bfloat16()), "also what is frozen"


def test_in_float32_masters_and_weights_are_one() -> None:
    network = Network()
    masters = Masters(network)
    assert masters.weights["weight"] is network.weight


def test_updates_below_bfloat16_resolution_add_up() -> None:
    """Weights near 1 lie 1/256 apart in bfloat16: a step of 2e-5 alone would be lost every time."""
    network = Network()
    batch = batch_of(network)
    learner = learner_of(network, torch.bfloat16, learning_rate=2e-5, warmup_steps=0)
    compute, master = network.weight.detach().clone(), learner.masters.weights["weight"].clone()
    learner.step(batch, DAPO, 1)
    moved = learner.masters.weights["weight"] - master
    assert float(moved.abs().max()) == pytest.approx(2e-5, rel=0.01), "Adam's first step is the rate"
    lost = (compute.float() + moved).bfloat16()
    assert torch.equal(lost, compute), "the case: added to the compute copy the step would vanish"
    for step in range(2, 401):
        learner.step(batch, DAPO, step)
    assert (network.weight != compute).sum() >= 6, "about 8e-3 in 400 steps: two units of bfloat16"
    assert torch.equal(network.weight, learner.masters.weights["weight"].bfloat16())


def test_micro_batches_add_up_in_float32() -> None:
    """A sum of many small bfloat16 gradients in bfloat16 would stop growing."""
    network = Network()
    masters = Masters(network, torch.bfloat16)
    for _ in range(1000):
        network.weight.grad = torch.full_like(network.weight, 0.01)
        masters.collect()
    assert network.weight.grad is None
    total = masters.weights["weight"].grad
    assert total is not None
    torch.testing.assert_close(total, torch.full((4, 3), 1000 * float(torch.tensor(0.01).bfloat16())))


def test_publishing_rounds_the_masters_into_the_weights_that_compute() -> None:
    network = Network()
    parameter = network.weight
    masters = Masters(network, torch.bfloat16)
    with torch.no_grad():
        masters.weights["weight"].add_(0.123)
    masters.publish()
    assert network.weight is parameter, "in place: whoever holds the weights sees them"
    assert torch.equal(network.weight, masters.weights["weight"].bfloat16())


# ---------------------------------------------------------------- a language model in bfloat16


def language_scores(policy: LanguagePolicy, prompt: int, answer: int) -> Tensor:
    tokens = np.array(tiny.prompt(prompt)), np.array(tiny.prompt(answer, 1))
    turn = Turn(*tokens, np.zeros(answer, np.float32))
    trajectory = Trajectory((turn,), PolicyTag(), StopReason.FINISHED)
    with torch.no_grad():
        return policy.score(policy.inputs([(0, trajectory)])).logp


def test_the_bfloat16_copy_is_the_model_that_others_load_in_bfloat16(tmp_path: Path) -> None:
    """Rotary frequencies stay float32, as transformers loads them: rounded, far positions would turn."""
    model = tiny.plain("llama")
    model.save_pretrained(tmp_path)
    ours = LanguagePolicy(CausalLM(model))
    Learner(ours, Optimization(), torch.bfloat16)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    theirs = LanguagePolicy(CausalLM(loaded))
    assert {p.dtype for p in ours.module.parameters()} == {torch.bfloat16}
    buffers = dict(ours.module.named_buffers())
    for name, buffer in loaded.named_buffers():
        assert buffers[name].dtype == buffer.dtype, name
    assert torch.equal(language_scores(ours, 90, 30), language_scores(theirs, 90, 30))


def test_tied_weights_stay_tied_through_masters_and_a_step() -> None:
    """The head is the embedding: one master, one gradient, one published weight."""
    policy = LanguagePolicy(CausalLM(tiny.plain("llama-tied")))
    learner = Learner(policy, Optimization(learning_rate=1e-2, warmup_steps=0), torch.bfloat16)
    module = policy.module
    assert "lm_head.weight" not in learner.masters.weights
    members = [
        Trajectory(
            (Turn(np.array(tiny.prompt(5)), np.array(tiny.prompt(6, i)), np.full(6, -4.0, np.float32)),),
            PolicyTag(),
            StopReason.FINISHED,
            reward=float(i),
        )
        for i in range(2)
    ]
    cohort = assign([Group(Prompt(0, ""), tuple(members))], DAPO.advantage)
    before = module.lm_head.weight.detach().clone()
    learner.step(pack(cohort, DAPO, policy, HUGE), DAPO, 1)
    assert not torch.equal(module.lm_head.weight, before)
    assert module.lm_head.weight is module.model.embed_tokens.weight


def test_the_rate_rises_then_falls_to_a_tenth_and_stays() -> None:
    optimization = Optimization(learning_rate=1.0, warmup_steps=4, decay_steps=10)
    rates = [optimization.rate(step) for step in (1, 2, 4, 5, 10, 11, 100)]
    assert rates == pytest.approx([0.25 * 0.91, 0.5 * 0.82, 0.64, 0.55, 0.1, 0.1, 0.1])


def test_without_decay_the_rate_stays() -> None:
    optimization = Optimization(learning_rate=2.0, warmup_steps=0)
    assert [optimization.rate(step) for step in (1, 50, 5000)] == [2.0, 2.0, 2.0]
