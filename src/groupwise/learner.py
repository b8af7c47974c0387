"""Batch and recipe to one update: gradients over micro-batches, a check, and then the step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor, nn

from groupwise.policies import Policy, Reference
from groupwise.recipes import Recipe, Scales, adapted, objective, scaled
from groupwise.trajectory import Batch, Piece


@dataclass(frozen=True, slots=True)
class Optimization:
    """How the policy moves."""

    learning_rate: float = 1e-5
    warmup_steps: int = 5
    """The learning rate rises linearly over these steps."""
    decay_steps: int = 0
    """It falls linearly to a tenth until this step, and stays there; 0: it does not fall."""
    epochs: int = 1
    """Times that each batch is gone through."""
    minibatches: int = 1
    """Parts of a batch: an epoch takes an optimizer step on each."""
    max_grad_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 1. It depends on no total: a run can be extended."""
        rise = min(1.0, step / max(self.warmup_steps, 1))
        fall = 1 - 0.9 * min(1.0, step / self.decay_steps) if self.decay_steps else 1.0
        return self.learning_rate * rise * fall

    def __post_init__(self) -> None:
        if self.decay_steps < 0:
            raise ValueError(f"decay_steps {self.decay_steps}: 0 or more")
        if (
            not self.learning_rate > 0
            or min(self.epochs, self.minibatches) < 1
            or not self.max_grad_norm > 0
            or self.warmup_steps < 0
        ):
            raise ValueError(
                f"{self}: learning_rate and max_grad_norm are above 0, epochs and minibatches at least 1"
            )


class NonFiniteError(RuntimeError):
    """A loss or a gradient is not finite. Raised before the step: the weights are as they were."""


@dataclass(frozen=True, slots=True)
class Update:
    """What an update did, as numbers; empty when there was nothing to learn from."""

    metrics: Mapping[str, float] = field(default_factory=dict)


class Masters:
    """float32 weights that the optimizer moves, and the copy that computes.

    Where the policy computes in float32 the two are one and nothing is copied; else the module, given
    in float32, is converted to `dtype` in place once the masters have been taken.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        self._compute = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if not self._compute:
            raise ValueError("the policy has no trainable parameters")
        self.weights: dict[str, Tensor] = dict(self._compute)
        if dtype != torch.float32:
            self.weights = {n: p.detach().float().clone() for n, p in self._compute.items()}
            for parameter in module.parameters():  # not the buffers: rotary frequencies stay exact
                parameter.data = parameter.data.to(dtype)

    def collect(self) -> None:
        """Add the compute copy's gradients to the masters', in float32."""
        for name, parameter in self._compute.items():
            master = self.weights[name]
            if master is not parameter and parameter.grad is not None:
                gradient = parameter.grad.float()
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
                parameter.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the masters into the weights that compute."""
        for name, parameter in self._compute.items():
            if self.weights[name] is not parameter:
                parameter.copy_(self.weights[name])


class DeterministicWarning(UserWarning):
    """The policy's entropy fell below the recipe's floor: what it does not try, it cannot learn."""


class Learner:
    """Owns the optimizer of one policy, and what its recipe moves: scales and the reference."""

    scales: Scales
    """What the recipe's controls have come to; saved with the run."""
    reference: Reference | None
    """The one to move, where the recipe moves it."""
    reference_moved: bool
    """True once it is no longer the policy that the run began with; then it is saved too."""

    def __init__(
        self, policy: Policy, optimization: Optimization, dtype: torch.dtype = torch.float32
    ) -> None:
        self.policy, self.optimization = policy, optimization
        self.scales, self.reference, self.reference_moved = {}, None, False
        self._warned = False
        self.masters = Masters(policy.module, dtype)
        self.optimizer = torch.optim.AdamW(
            list(self.masters.weights.values()),
            lr=optimization.learning_rate,
            betas=(optimization.beta1, optimization.beta2),
            weight_decay=optimization.weight_decay,
            fused=True,
        )

    def step(self, batch: Batch | None, recipe: Recipe, step: int) -> Update:
        """Move the policy by one batch; `step` counts from 1 and sets the learning rate.

        Raises:
            NonFiniteError: before any weight changed in the optimizer step at fault.
        """
        recipe, rate = self.scaled(recipe), {"learning_rate": self.optimization.rate(step)}
        if batch is None or not batch.pieces:
            self._refresh(recipe, step)
            return Update({**({} if batch is None else batch.metrics), **rate})
        for group in self.optimizer.param_groups:
            group["lr"] = rate["learning_rate"]
        first: dict[str, float] = {}
        for _ in range(self.optimization.epochs):
            metrics = self._epoch(batch, recipe)
            first = first or metrics
        before = {name: value for name, value in first.items() if name.startswith("sampling/")}
        steered = self._steer(recipe, first)
        self._refresh(recipe, step)
        return Update({**metrics, **before, **batch.metrics, **steered, **rate})

    def scaled(self, recipe: Recipe) -> Recipe:
        """The recipe with the scales that its controls have come to."""
        return scaled(recipe, self.scales)

    def _steer(self, recipe: Recipe, first: Mapping[str, float]) -> dict[str, float]:
        """Set the next step's scales by what the first epoch measured; returns this step's, and alarms."""
        self.scales = adapted(recipe, self.scales, first)
        numbers: dict[str, float] = {name: getattr(recipe, name) for name in self.scales}
        if recipe.entropy_floor:
            low = first["entropy"] < recipe.entropy_floor
            numbers["entropy/below_floor"] = float(low)
            if low and not self._warned:
                self._warned = True
                warnings.warn(
                    f"entropy is {first['entropy']:.3g} nats a decision, below the floor of "
                    f"{recipe.entropy_floor:g}: the policy has become deterministic and tries nothing new. "
                    "Go back to an earlier checkpoint with an entropy bonus (--entropy-scale), an "
                    "entropy_control=EntropyTarget(...), or a lower --learning-rate.",
                    DeterministicWarning,
                    stacklevel=3,
                )
        return numbers

    @torch.no_grad()
    def _refresh(self, recipe: Recipe, step: int) -> None:
        """Move the reference, where the recipe says so and its time has come."""
        plan = recipe.refresh
        if plan is None or step % plan.every:
            return
        if self.reference is None or not self.reference.weights:
            raise ValueError(f"{plan}: this learner has no reference with weights of its own to move")
        for name, master in self.masters.weights.items():
            kept = self.reference.weights[name]
            kept.copy_(plan.alpha * master + (1 - plan.alpha) * kept.float())
        self.reference_moved = True
        if plan.new_optimizer:
            self.optimizer.state.clear()

    def _epoch(self, batch: Batch, recipe: Recipe) -> dict[str, float]:
        """An optimizer step on every part; metrics are over all of them."""
        parts = [list(pieces) for _, pieces in groupby(batch.pieces, key=lambda piece: piece.part)]
        found = [self._move(batch, pieces, recipe, len(parts)) for pieces in parts]
        numbers: dict[str, float] = {}
        for metrics, _ in found:  # each a share of the whole
            numbers = {name: numbers.get(name, 0.0) + value for name, value in metrics.items()}
        gap = found[0][1]  # before anything moved
        gap = gap[gap.isfinite()] if bool(gap.isfinite().any()) else torch.zeros(1)  # not known, not apart
        sampling = {
            "sampling/logp_difference/mean": float(gap.mean()),
            "sampling/logp_difference/max": float(gap.max()),
        }
        return {**numbers, **sampling}

    def _move(
        self, batch: Batch, pieces: Sequence[Piece], recipe: Recipe, parts: int
    ) -> tuple[dict[str, float], Tensor]:
        """One optimizer step. Returns its shares of the epoch's metrics, and how far log-probs were apart."""
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        gaps = []
        for piece in pieces:
            metrics, gap = self._backward(batch, piece, recipe, parts)
            for name, value in metrics.items():
                sums[name] = sums[name] + value if name in sums else value
            gaps.append(gap)
            self.masters.collect()
        norm = self._clip()
        numbers = {name: float(value) for name, value in sums.items()}
        if not math.isfinite(norm) or not math.isfinite(numbers["loss"]):
            raise NonFiniteError(
                f"loss {numbers['loss']}, gradient norm {norm}: not finite, so no step was taken. Look at "
                "the last answers in samples.jsonl, and start a new run with a lower --learning-rate."
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)  # sampling needs the memory
        self.masters.publish()
        return {**numbers, "grad_norm": norm / parts}, torch.cat(gaps)

    def _backward(
        self, batch: Batch, piece: Piece, recipe: Recipe, parts: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Add one micro-batch's share to the gradients. Weights are the step's: shares simply add up, and
        one of so many parts stands for all of them."""
        scores = self.policy.score(piece.inputs, entropy_gradient=recipe.entropy_scale != 0)
        at = slice(piece.start, piece.stop)
        device = scores.logp.device

        def cut(vector: Tensor | None) -> Tensor | None:
            return None if vector is None else vector[at].to(device)

        behaviour = batch.behaviour_logp[at].to(device)
        loss = objective(
            recipe,
            scores.logp,
            behaviour,
            batch.advantage[at].to(device),
            batch.trajectory_id[at].to(device),
            cut(batch.reference_logp),
            proximal_logp=cut(batch.proximal_logp),
            entropy=scores.entropy,
            selected=cut(batch.selected),
            foreign=cut(batch.foreign),
            weight=cut(batch.weight),
        )
        (loss.value * parts).backward()
        began = behaviour if batch.proximal_logp is None else batch.proximal_logp[at].to(device)
        gap = (scores.logp.detach() - began).abs()
        # a share of the step's mean: pieces add up to it whatever the weighting and whatever was left out
        share = batch.weight[at].sum() / batch.weight.sum()
        metrics = {name: value * share for name, value in loss.metrics.items()}
        return {"loss": loss.value.detach(), **metrics}, gap

    def _clip(self) -> float:
        """The gradient's norm before it is clipped. A non-finite one is left for the caller to refuse."""
        return float(nn.utils.clip_grad_norm_(self.masters.weights.values(), self.optimization.max_grad_norm))
