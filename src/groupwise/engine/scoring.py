"""Log-probability and entropy of decisions from hidden states, without ever holding [N, V] logits.

Forward and backward run over chunks of rows. The backward pass recomputes a chunk's logits and writes
the gradient of the softmax in place: one matrix product more than keeping the logits, and memory for
one chunk instead of N x V.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

LOGIT_ROWS = 256
"""Decisions whose logits exist at the same time."""


@dataclass(frozen=True, slots=True)
class LogitShape:
    """What some families do to logits after the head: y = cap tanh(scale x / cap)."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """[n, V] -> [n, V]; may change its argument."""
        if self.scale != 1.0:
            logits = logits.mul_(self.scale)
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)

    def slope(self, gradient: Tensor, shaped: Tensor) -> Tensor:
        """Gradient before the shape, from the one after it and the shaped logits; changes both."""
        if self.cap is not None:
            gradient = gradient.mul_(1 - shaped.div_(self.cap).square_())
        return gradient if self.scale == 1.0 else gradient.mul_(self.scale)


def score(
    hidden: Tensor,
    head: torch.nn.Linear,
    decisions: Tensor,
    temperature: float = 1.0,
    shape: LogitShape | None = None,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """hidden [n, width], decisions [n] int64 -> log-probs [n], entropies [n], both float32.

    The distribution is softmax(shape(head(hidden)) / temperature), in float32.
    """
    shape = shape or LogitShape()
    return _Score.apply(hidden, head.weight, head.bias, decisions, temperature, shape, entropy_gradient)


class _Score(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        decisions: Tensor,
        temperature: float,
        shape: LogitShape,
        entropy_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        logp, entropy, normaliser = (hidden.new_empty(len(hidden), dtype=torch.float32) for _ in range(3))
        for rows in _chunks(len(hidden)):
            scaled = _shaped(hidden[rows], weight, bias, shape).div_(temperature)
            peak = scaled.amax(-1, keepdim=True)
            scaled.sub_(peak)
            chosen = scaled.gather(-1, decisions[rows, None])[:, 0]
            mass = scaled.exp()
            total = mass.sum(-1)
            logp[rows] = chosen - total.log()
            entropy[rows] = total.log() - mass.mul_(scaled).sum(-1) / total
            normaliser[rows] = peak[:, 0] + total.log()
        ctx.save_for_backward(hidden, weight, bias, decisions, entropy, normaliser)
        ctx.temperature, ctx.shape, ctx.entropy_gradient = temperature, shape, entropy_gradient
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, decisions, entropy, normaliser = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.empty_like(hidden) if wants_hidden else None
        to_weight = torch.zeros_like(weight) if wants_weight else None
        to_bias = torch.zeros_like(bias) if bias is not None and wants_bias else None
        for rows in _chunks(len(hidden)):
            shaped = _shaped(hidden[rows], weight, bias, ctx.shape)
            slope = _slope(ctx, rows, shaped, decisions, entropy, normaliser, gradients)
            slope = ctx.shape.slope(slope, shaped).to(weight.dtype)
            if to_hidden is not None:
                torch.mm(slope, weight, out=to_hidden[rows])
            if to_weight is not None:
                to_weight.addmm_(slope.t(), hidden[rows])
            if to_bias is not None:
                to_bias += slope.sum(0)
        return to_hidden, to_weight, to_bias, None, None, None, None


def _slope(
    ctx: Any,
    rows: slice,
    shaped: Tensor,
    decisions: Tensor,
    entropy: Tensor,
    normaliser: Tensor,
    gradients: tuple[Tensor, ...],
) -> Tensor:
    """[c, V]: gradient with respect to the shaped logits.

    d logp / d z = onehot - p;  d H / d z = -p (log p + H);  z = shaped / temperature.
    """
    by_logp = gradients[0][rows, None]
    # a capped shape needs its output again for its own slope; any other gives its memory away
    log_p = shaped / ctx.temperature if ctx.shape.cap is not None else shaped.div_(ctx.temperature)
    log_p.sub_(normaliser[rows, None])
    slope = log_p.exp() if ctx.entropy_gradient else log_p.exp_()
    if ctx.entropy_gradient:
        by_entropy = gradients[1][rows, None]
        slope.mul_(log_p.add_(entropy[rows, None]).mul_(by_entropy).add_(by_logp)).neg_()
    else:
        slope.mul_(-by_logp)
    slope.scatter_add_(-1, decisions[rows, None], by_logp)
    return slope.div_(ctx.temperature)


def _shaped(hidden: Tensor, weight: Tensor, bias: Tensor | None, shape: LogitShape) -> Tensor:
    return shape(linear(hidden, weight, bias).float())


def _chunks(n: int) -> Iterator[slice]:
    return (slice(at, min(at + LOGIT_ROWS, n)) for at in range(0, n, LOGIT_ROWS))
