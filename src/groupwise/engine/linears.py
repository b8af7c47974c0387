"""Products of a few rows with big weights, for decoding on a CPU.

The library splits a product over the cores by its rows and finds 32 of them too few: it used one core of two.
Turned round, W xᵀ for x Wᵀ, the rows are those of the weights and there are plenty: all linear layers of
SmolLM2-135M took 105 ms instead of 227 for 32 rows, 73 instead of 169 for 16 (docs/log.md).
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


@contextmanager
def few_rows(model: nn.Module) -> Iterator[None]:
    """Within it, linear layers in float32 on a CPU multiply few rows the other way round."""
    layers = [m for m in model.modules() if type(m) is nn.Linear and _gains(m.weight)]
    for layer in layers:
        layer.forward = _turned(layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]


def _gains(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32


def _turned(layer: nn.Linear) -> Any:
    weight, bias = layer.weight, layer.bias

    def forward(x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        if len(rows) > MOST:
            return linear(x, weight, bias)
        out = (weight @ rows.t()).t().contiguous()
        return (out if bias is None else out + bias).view(*x.shape[:-1], -1)

    return forward
