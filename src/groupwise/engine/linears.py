"""Products of a few rows with big weights, for decoding on a CPU.

The library splits a product over the cores by its rows and finds 32 of them too few: it used one core of two.
Turned round, W xᵀ for x Wᵀ, the rows are those of the weights and there are plenty: all linear layers of
SmolLM2-135M took 105 ms instead of 227 for 32 rows, 73 instead of 169 for 16 (docs/log.md).

It is quickest from *columns* to columns: the activations of all rows for one feature side by side in memory.
Shapes stay [..., rows, width], only strides tell; an elementwise operation keeps them, so that between the
products of an MLP nothing is ever copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

MOST = 48
"""Rows for which the product is turned round; from 64 on the plain one is as fast."""

COLUMNS = frozenset({"o_proj", "gate_proj", "up_proj", "down_proj"})
"""Layers whose output is at most added, multiplied and projected again: it may stay in columns."""


@contextmanager
def few_rows(model: nn.Module) -> Iterator[None]:
    """Within it, linear layers in float32 on a CPU multiply few rows the other way round."""
    layers = {n: m for n, m in model.named_modules() if type(m) is nn.Linear and _gains(m.weight)}
    for name, layer in layers.items():
        # an adapter puts the layer itself one level down
        columns = not COLUMNS.isdisjoint(name.split(".")[-2:])
        layer.forward = _turned(layer, columns)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers.values():
            del layer.__dict__["forward"]


def _gains(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32


def _turned(layer: nn.Linear, columns: bool) -> Any:
    weight, bias = layer.weight, layer.bias

    def forward(x: Tensor) -> Tensor:
        """x [..., K] -> [..., N], in columns if so wanted."""
        rows = x.flatten(0, -2)
        if len(rows) > MOST:
            return linear(x, weight, bias)
        out = (weight @ rows.t().contiguous()).t()  # no copy of what lies in columns already
        if not columns:
            out = out.contiguous()
        return (out if bias is None else out + bias).view(*x.shape[:-1], -1)

    return forward
