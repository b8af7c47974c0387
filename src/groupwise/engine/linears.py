"""Products of a few rows with big weights, for decoding on a CPU.

With few rows a product is a walk through the weights, and the library's plain product of 32 rows used one
core of two: packed once in the order in which they are read, the weights of SmolLM2-135M took 94 ms
instead of 228 (docs/log.md). The packed copy lives while answers are written and is made anew for each
version of the weights, which pays from `PAYS` decoding steps on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

PAYS = 12
"""Decoding steps that repay the packing: 0.1 to 0.3 s against 40 to 130 ms a step."""
FEWEST = 8
"""Rows of the smallest packing: with fewer, reading the weights takes as long."""


class PackedLinears:
    """Every float32 linear layer of a model on the CPU, with weights packed for a number of rows.

    The math library computes a packed product for exactly the rows that it was packed for: fewer are
    filled up with zeros, more go the plain way.
    """

    def __init__(self, model: nn.Module) -> None:
        # a head that is tied to the embedding is a layer of its own with the embedding's weight
        self._layers = [m for m in model.modules() if type(m) is nn.Linear]
        self._packed: list[Tensor] = []
        self.rows = 0

    def fit(self, rows: int) -> None:
        """Pack for `rows` rows or a few more; again only when they became less than half."""
        wanted = max(FEWEST, -(-rows // FEWEST) * FEWEST)
        if self.rows // 2 < wanted <= self.rows:
            return
        self.clear()
        self.rows = wanted
        for layer in self._layers:
            weight = layer.weight.detach()
            packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, wanted)
            layer.forward = _product(packed, weight, layer.bias, wanted)  # type: ignore[method-assign]

    def clear(self) -> None:
        """Let go of the packed weights; the layers compute as they did."""
        for layer in self._layers:
            layer.__dict__.pop("forward", None)
        self.rows = 0


def _product(packed: Tensor, weight: Tensor, bias: Tensor | None, rows: int) -> Any:
    def forward(x: Tensor) -> Tensor:
        n = x.numel() // x.shape[-1]
        if n > rows:
            return linear(x, weight, bias)
        flat = x.reshape(n, -1)
        if n < rows:
            flat = torch.cat([flat, flat.new_zeros(rows - n, flat.shape[1])])
        out = torch.ops.mkl._mkl_linear(flat, packed, weight, bias, rows)
        return out[:n].view(*x.shape[:-1], -1)

    return forward


@contextmanager
def packed_linears(model: nn.Module, steps: int) -> Iterator[PackedLinears | None]:
    """Packed layers for a call that decodes up to `steps` tokens an answer; None where it would not pay."""
    weight = next(model.parameters())
    able = weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkl.is_available()
    if not able or steps < PAYS:
        yield None
        return
    linears = PackedLinears(model)
    try:
        yield linears
    finally:
        linears.clear()
