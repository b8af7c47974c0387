"""Leaner forms of two modules that most families share: the RMS norm and the gated MLP.

They compute what transformers computes and keep less of it for the backward pass: a norm keeps its
input and one number a row, an MLP the two products before its gate. A module is replaced only if its
own output on a random input is met (`install`); every other module is left as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, silu

TOLERANCE = 1e-5
"""Largest difference to a module's own output, relative to its largest value (float32)."""


def install(model: nn.Module) -> None:
    """Give every norm and MLP of `model` that has a leaner equal its leaner class."""
    for module in list(model.modules()):
        lean = _norm(module) or _mlp(module)
        if lean is not None and not isinstance(module, lean):
            _replace(module, lean)


def _replace(module: nn.Module, lean: type) -> None:
    """Make it an instance of both classes: it keeps its name, its weights and its state dict."""
    own = _output(module)
    plain = module.__class__
    module.__class__ = type(plain.__name__, (lean, plain), {})
    ours = _output(module)
    tolerance = TOLERANCE if own.dtype == torch.float32 else 1e-2
    if own.dtype != ours.dtype or (own - ours).abs().max() > tolerance * own.abs().max().clamp(min=1):
        module.__class__ = plain


@torch.no_grad()
def _output(module: nn.Module) -> Tensor:
    """Of a fixed input with no symmetry."""
    weight = next(module.parameters())
    width = weight.shape[-1]
    probe = torch.linspace(-3, 3, 2 * width, device=weight.device).cos().view(1, 2, width)
    return module(probe.to(weight.dtype))


# ---------------------------------------------------------------- norms


def _norm(module: nn.Module) -> type | None:
    """The lean class of x / rms(x) * weight, or * (1 + weight) as Gemma writes it."""
    weight = getattr(module, "weight", None)
    if not type(module).__name__.endswith("RMSNorm") or weight is None or _eps(module) is None:
        return None
    return _GemmaNorm if type(module).__name__.startswith("Gemma") else _Norm


def _eps(module: nn.Module) -> float | None:
    return getattr(module, "variance_epsilon", getattr(module, "eps", None))


class _Norm(nn.Module):
    offset = 0.0
    weight: nn.Parameter

    def forward(self, x: Tensor) -> Tensor:
        eps = _eps(self)
        assert eps is not None
        if not torch.is_grad_enabled():
            return _normed(x, self.weight, eps, self.offset)[0]
        return _RMSNorm.apply(x, self.weight, eps, self.offset)


class _GemmaNorm(_Norm):
    offset = 1.0


def _normed(x: Tensor, weight: Tensor, eps: float, offset: float) -> tuple[Tensor, Tensor]:
    """The output, and 1 / rms of each row in float32."""
    wide = x.float()
    inverse = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    inverse = inverse.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return (wide * inverse).mul_(weight.float() + offset if offset else weight).to(x.dtype), inverse


class _RMSNorm(torch.autograd.Function):
    """Zhang and Sennrich 2019, arXiv:1910.07467. In float32, whatever the input is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, offset: float) -> Tensor:
        out, inverse = _normed(x, weight, eps, offset)
        ctx.save_for_backward(x, weight, inverse)
        ctx.offset = offset
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """g = dy * w;  dx = (g - x_hat mean(g x_hat)) / rms;  dw = sum(dy x_hat)."""
        x, weight, inverse = ctx.saved_tensors
        by_output = gradients[0].float()
        normed = x.float() * inverse
        product = by_output * normed
        scale = weight.float() + ctx.offset if ctx.offset else weight.float()
        to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = product.flatten(0, -2).sum(0).to(weight.dtype)
        mean = (product @ scale)[..., None].div_(x.shape[-1])
        to_x = torch.mul(by_output, scale, out=product).sub_(normed.mul_(mean)).mul_(inverse)
        return to_x.to(x.dtype), to_weight, None, None


# ---------------------------------------------------------------- gated MLPs


def _mlp(module: nn.Module) -> type | None:
    """The lean class of down(act(gate(x)) * up(x))."""
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    plain = all(type(part) is nn.Linear for part in parts)
    return _GatedMLP if plain and _activation(getattr(module, "act_fn", None)) else None


class _GatedMLP(nn.Module):
    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        gate, up, down = self.gate_proj(x), self.up_proj(x), self.down_proj
        act = str(_activation(self.act_fn))
        # an adapter may have taken the place of the linear layer since
        if torch.is_grad_enabled() and type(down) is nn.Linear:
            return _GatedDown.apply(gate, up, down.weight, down.bias, act)
        return down(_activated(gate, act) * up)


def _activation(act: Any) -> str | None:
    name = type(act).__name__
    if name in ("SiLU", "SiLUActivation"):
        return "silu"
    if name == "GELUTanh" or (name == "GELU" and getattr(act, "approximate", "") == "tanh"):
        return "tanh"
    return "none" if name in ("GELUActivation", "GELU") else None


def _activated(gate: Tensor, act: str) -> Tensor:
    return silu(gate) if act == "silu" else gelu(gate, approximate=act)


def _activation_slope(gradient: Tensor, gate: Tensor, act: str) -> Tensor:
    if act == "silu":
        return torch.ops.aten.silu_backward(gradient, gate)
    return torch.ops.aten.gelu_backward(gradient, gate, approximate=act)


class _GatedDown(torch.autograd.Function):
    """linear(act(gate) * up, weight, bias), keeping gate and up only."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor, bias: Tensor | None, act: str) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        ctx.act = act
        return linear(_activated(gate, act).mul_(up), weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        by_output = gradients[0]
        active = _activated(gate, ctx.act)
        rows = by_output.flatten(0, -2)
        to_weight = rows.t() @ (active * up).flatten(0, -2) if ctx.needs_input_grad[2] else None
        to_bias = rows.sum(0) if ctx.needs_input_grad[3] else None
        by_product = by_output @ weight
        to_up = active.mul_(by_product)
        to_gate = _activation_slope(by_product.mul_(up), gate, ctx.act)
        return to_gate, to_up, to_weight, to_bias, None
