"""Fits a reward model to comparisons: the loop, and what a step of it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from groupwise.preferences.comparisons import Comparison
from groupwise.preferences.losses import Order, of_order
from groupwise.reward_models.model import RewardModel, batches


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a reward model is fitted."""

    learning_rate: float = 2e-5
    """Peak; it rises linearly over the first tenth of the steps and then falls linearly to 0."""
    epochs: int = 1
    """Passes over the comparisons. More than one soon learns them by heart. (arXiv 2203.02155)"""
    batch: int = 16
    """Comparisons in an optimizer step."""
    centring: float = 0.0
    """Weight of the square that holds scores around 0."""
    max_grad_norm: float = 1.0
    tokens_per_microbatch: int = 1024
    """Tokens, padding included, in one forward and backward pass; changes memory, not results."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or not self.max_grad_norm > 0 or self.centring < 0:
            raise ValueError(f"{self}: learning_rate and max_grad_norm are above 0, centring 0 or more")
        if self.epochs < 1 or self.batch < 1 or self.tokens_per_microbatch < 1:
            raise ValueError(f"{self}: epochs, batch and tokens_per_microbatch are 1 or more")

    def steps(self, n: int) -> int:
        """Optimizer steps on n comparisons."""
        return self.epochs * math.ceil(n / self.batch)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 1."""
        warmup = math.ceil(steps / 10)
        return self.learning_rate * min(step / warmup, (steps + 1 - step) / (steps + 1 - warmup))


@dataclass(frozen=True, slots=True)
class Item:
    """A comparison as the model reads it."""

    rows: tuple[tuple[int, ...], ...]
    """Token ids, the best first."""
    order: Order
    characters: tuple[int, ...]
    """Length of each text, whole even where only its end is read."""

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), max(map(len, self.rows))


def items(model: RewardModel, comparisons: Sequence[Comparison]) -> tuple[list[Item], Counter[str]]:
    """Comparisons in tokens; those whose texts are the same in what the model reads are left out, counted."""
    tokens = iter(model.tokens([text for c in comparisons for text in c.texts]))
    found: list[Item] = []
    excluded: Counter[str] = Counter()
    for c in comparisons:
        rows = tuple(tuple(next(tokens)) for _ in c.texts)
        if len(set(rows)) < len(rows):
            excluded[f"equal in their last {model.max_tokens} tokens"] += 1
        elif not all(rows):
            excluded["no tokens"] += 1
        else:
            found.append(Item(rows, c.order, tuple(map(len, c.texts))))
    return found, excluded


def fit(model: RewardModel, given: Sequence[Item], fitting: Fitting) -> Iterator[dict[str, float]]:
    """Move the model, one optimizer step for each value that is taken; what a step measured, before it.

    The texts of a comparison are always in one step and one micro-batch. Model, comparisons and seed fix
    everything: the order is drawn by seed and epoch.

    Raises:
        FloatingPointError: a loss or gradient is not finite; no weight has moved in that step.
    """
    weights = [p for p in model.module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        weights, lr=fitting.learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True
    )
    step, steps = 0, fitting.steps(len(given))
    for epoch in range(fitting.epochs):
        order = np.random.default_rng([fitting.seed, epoch]).permutation(len(given))
        for start in range(0, len(order), fitting.batch):
            step += 1
            rate = fitting.rate(step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            numbers = _gradient(model, [given[i] for i in order[start : start + fitting.batch]], fitting)
            norm = float(nn.utils.clip_grad_norm_(weights, fitting.max_grad_norm))
            if not math.isfinite(norm) or not math.isfinite(numbers["loss"]):
                raise FloatingPointError(
                    f"step {step}: loss {numbers['loss']}, gradient norm {norm}: not finite. "
                    "Set a lower --learning-rate."
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            yield {"step": step, **numbers, "grad_norm": norm, "learning_rate": rate}


def _gradient(model: RewardModel, batch: Sequence[Item], fitting: Fitting) -> dict[str, float]:
    """Leave the gradient of the mean loss in the weights."""
    loss, leads = 0.0, []
    for numbers in batches([item.shape for item in batch], fitting.tokens_per_microbatch):
        members = [batch[i] for i in numbers]
        scores = model.scores([row for item in members for row in item.rows])
        parts: list[Tensor] = []
        for item, own in zip(members, scores.split([len(item.rows) for item in members]), strict=True):
            parts.append(of_order(own, item.order, fitting.centring))
            told = own.detach()
            leads += [float(told[i] - told[j]) for i, j in item.order.pairs]
        value = torch.stack(parts).sum() / len(batch)
        value.backward()
        loss += float(value.detach())
    right = [0.5 * ((lead > 0) + (lead >= 0)) for lead in leads]
    return {"loss": loss, "accuracy": float(np.mean(right)), "margin": float(np.mean(leads))}
