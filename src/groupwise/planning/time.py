"""How long a step will take, from counts of operations and two measured rates of the machine.

The answers are taken to have their full length, so that a run whose answers end early is faster. The
efficiencies are fitted to bench/plan_check.py; machines shared with others vary by a factor of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from groupwise.hardware import Rates
from groupwise.planning.memory import microbatches
from groupwise.planning.sizes import Shape, Workload


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What of the measured rates a phase reaches."""

    learning: float = 0.6
    """Of the rate of a large matrix product, in forward and backward passes."""
    reading: float = 0.6
    """The same, when prompts are read."""
    writing: float = 0.45
    """The same, when a token of every row is written: the products are flat."""
    bandwidth: float = 0.8
    """Of the memory's rate, when weights, keys and values are read for a token of every row."""
    layer_seconds: float = 1.5e-3
    """A layer's share of a decoding step that is not arithmetic."""


EFFICIENCY = Efficiency()
ADAM_BYTES = 28
"""Bytes a weight costs in the optimizer: weight, gradient and two moments read, three of them written."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Of one step with answers of full length."""

    generate: float
    learn: float
    evaluate: float
    """Of one held-out evaluation."""

    @property
    def step(self) -> float:
        return self.generate + self.learn


def seconds(shape: Shape, work: Workload, rates: Rates, efficiency: Efficiency = EFFICIENCY) -> Seconds:
    generate = _answers(shape, work, work.prompts, work.group_size, rates, efficiency)
    evaluate = _answers(shape, work, work.held_out, 1, rates, efficiency)
    return Seconds(generate, _learn(shape, work, rates, efficiency), evaluate)


def _answers(
    shape: Shape, work: Workload, prompts: int, count: int, rates: Rates, efficiency: Efficiency
) -> float:
    """Seconds to answer `prompts` prompts `count` times each."""
    answers = prompts * count
    read = prompts * work.prompt_tokens * (2 * shape.linear + _attention(shape, work.prompt_tokens / 2))
    rows = min(work.max_rows, answers)
    steps = math.ceil(answers / rows) * (work.max_new_tokens - 1)
    seen = work.prompt_tokens + work.max_new_tokens / 2
    head = shape.hidden * shape.vocabulary
    flops = rows * (2 * (shape.linear + head) + _attention(shape, seen))
    slots = math.ceil(rows / count)
    remembered = slots * work.prompt_tokens + rows * work.max_new_tokens / 2
    numbers = shape.linear + head + 2 * shape.layers * shape.kv_heads * shape.head_size * remembered
    by_arithmetic = flops / (efficiency.writing * rates.flops)
    by_memory = numbers * work.number_bytes / (efficiency.bandwidth * rates.bandwidth)
    step = max(by_arithmetic, by_memory) + shape.layers * efficiency.layer_seconds
    return read / (efficiency.reading * rates.flops) + steps * step


def _learn(shape: Shape, work: Workload, rates: Rates, efficiency: Efficiency) -> float:
    """Forward and backward once per epoch; frozen weights need no gradient of their own."""
    passes = 2 if work.lora_rank else 3
    tokens = sum(piece.tokens for piece in microbatches(work))
    seen = work.prompt_tokens / 2 + work.max_new_tokens / 2
    decisions = work.prompts * work.group_size * work.max_new_tokens
    flops = passes * tokens * (2 * shape.linear + _attention(shape, seen))
    flops += (6 if work.lora_rank else 8) * shape.hidden * shape.vocabulary * decisions
    if work.reference:
        flops += flops / (passes * work.epochs)
    trained = work.lora_rank * shape.adapted if work.lora_rank else shape.parameters
    update = trained * ADAM_BYTES / (efficiency.bandwidth * rates.bandwidth)
    return work.epochs * (flops / (efficiency.learning * rates.flops) + work.minibatches * update)


def _attention(shape: Shape, seen: float) -> float:
    """Operations of one token that sees `seen` others, in all layers: scores and weighted values."""
    return 4 * shape.layers * shape.heads * shape.head_size * seen
