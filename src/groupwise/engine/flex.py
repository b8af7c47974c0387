"""Attention of packed trees on a GPU, by FlexAttention: one kernel over the row, unseen blocks left out.

`Packed` gathers prompts and answers into padded batches; here the row stays as it is and a mask says who sees
whom. Legend as in `attention`: L packed tokens, H query heads, K key-value heads, d head size.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, create_block_mask, flex_attention

from groupwise.engine.attention import Attend, Flavour, Packed, Tree

BLOCK = 128
"""Tokens that a block of the mask has; rows are filled up to whole ones, at least two."""

TOLERANCE = 2e-2
"""Largest difference to `Packed` on a probe, relative to its largest number; bfloat16 rounds by less."""

PROBE = (Tree(150, (100, 90)), Tree(60, (20,)))
"""Spans of the probe end within blocks, and there are several blocks."""

Keep = Callable[[int, Tensor, Tensor], None]


def packed_attention(trees: Sequence[Tree], device: torch.device, keep: Keep | None = None) -> Attend:
    """Attention of trees laid end to end, in the form that suits the device."""
    return (FlexPacked if device.type == "cuda" else Packed)(trees, device, keep)


class FlexPacked:
    """What `Packed` computes, where FlexAttention is seen to compute it; elsewhere `Packed` itself."""

    def __init__(self, trees: Sequence[Tree], device: torch.device, keep: Keep | None = None) -> None:
        self._trees, self._device, self._keep = trees, device, keep
        self._flex = _Flex(trees, device)
        self._plain: Packed | None = None

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, flavour: Flavour) -> Tensor:
        """q [L, H, d], k and v [L, K, d] -> [L, H, d]."""
        sinks = flavour.sinks is not None
        if not trusted(self._device, q.dtype, q.shape[1], k.shape[1], q.shape[2], flavour.softcap, sinks):
            self._plain = self._plain or Packed(self._trees, self._device, self._keep)
            return self._plain(layer, q, k, v, flavour)
        if self._keep is not None:
            self._keep(layer, k, v)
        return self._flex(q, k, v, flavour)


class _Flex:
    """FlexAttention over one packed row; masks are made once and serve all layers."""

    def __init__(self, trees: Sequence[Tree], device: torch.device) -> None:
        self._length = sum(tree.tokens for tree in trees)
        self._spare = max(
            -self._length % BLOCK, 2 * BLOCK - self._length
        )  # one block would be compiled apart
        places = zip(*_places(trees, self._spare), strict=True)
        self._tree, self._answer, self._position = (
            torch.tensor(x, dtype=torch.int32, device=device) for x in places
        )
        self._masks: dict[int | None, BlockMask] = {}
        self._caps: dict[float | None, Any] = {None: None}

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, flavour: Flavour) -> Tensor:
        query, keys, values = (self._row(x) for x in (q, k, v))
        out, aux = _kernel(q.device.type)(
            query,
            keys,
            values,
            score_mod=self._cap(flavour.softcap),
            block_mask=self._mask(flavour.window),
            scale=flavour.scaling,
            enable_gqa=q.shape[1] != k.shape[1],
            return_aux=AuxRequest(lse=flavour.sinks is not None),
        )
        if flavour.sinks is not None:
            # a sink s adds e^s to the softmax's denominator e^lse, and nothing to its numerator
            out = out * torch.sigmoid(aux.lse - flavour.sinks.float()[:, None])[..., None].to(out.dtype)
        return out[0, :, : self._length].transpose(0, 1)

    def _row(self, x: Tensor) -> Tensor:
        """[L, h, d] -> [1, h, L filled up, d]."""
        return torch.nn.functional.pad(x.transpose(0, 1), (0, 0, 0, self._spare))[None]

    def _mask(self, window: int | None) -> BlockMask:
        if window not in self._masks:
            n = self._length + self._spare
            before = torch.full_like(self._position, -1) if window is None else self._position - window
            mod = _seen(self._tree, self._answer, self._position, before)
            self._masks[window] = create_block_mask(mod, None, None, n, n, self._device(), BLOCK)
        return self._masks[window]

    def _cap(self, softcap: float | None) -> Any:
        if softcap not in self._caps:
            self._caps[softcap] = _capped(torch.full((), float(softcap or 0), device=self._device()))
        return self._caps[softcap]

    def _device(self) -> torch.device:
        return self._position.device


def _places(trees: Sequence[Tree], spare: int) -> list[tuple[int, int, int]]:
    """(tree, answer in it or -1, position) of each token. What fills the row up is a tree of its own."""
    out = []
    for number, tree in enumerate([*trees, Tree(spare)]):
        out += [(number, -1, i) for i in range(tree.prompt)]
        for answer, length in enumerate(tree.answers):
            out += [(number, answer, tree.prompt + i) for i in range(length)]
    return out


# The modifiers hold tensors only: a number would be compiled in, and another one compiled anew.


def _seen(tree: Tensor, answer: Tensor, position: Tensor, before: Tensor) -> Callable[..., Tensor]:
    """[L] each; `before` is the last position that is too far back."""

    def seen(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        kin = (tree[q] == tree[k]) & ((answer[k] < 0) | (answer[k] == answer[q]))
        return kin & (position[k] <= position[q]) & (position[k] > before[q])

    return seen


def _capped(cap: Tensor) -> Callable[..., Tensor]:
    def capped(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return cap * torch.tanh(score / cap)

    return capped


@functools.cache
def _kernel(device: str) -> Any:
    """Compiled where there is a kernel to compile; else the plain form, which holds all L x L scores."""
    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention


# ---------------------------------------------------------------- seen to work


@functools.cache
def trusted(
    device: torch.device,
    dtype: torch.dtype,
    heads: int,
    kv_heads: int,
    size: int,
    softcap: float | None,
    sinks: bool,
) -> bool:
    """Whether FlexAttention meets `Packed` on a probe of this kind, values and gradients."""
    generator = torch.Generator().manual_seed(0)
    length = sum(tree.tokens for tree in PROBE)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()

    # a caller may be in inference mode, in which there are no gradients
    with torch.inference_mode(False), torch.enable_grad():
        inputs = [drawn(length, n, size) for n in (heads, kv_heads, kv_heads)]
        sink = drawn(heads) if sinks else None
        flavour = Flavour(size**-0.5, 40, softcap, sink)
        weight = drawn(length, heads, size).detach()
        leaves = [*inputs, *([] if sink is None else [sink])]

        def outcome(attend: Callable[..., Tensor]) -> list[Tensor]:
            out = attend(*inputs, flavour)
            return [out.detach(), *torch.autograd.grad((out * weight).sum(), leaves)]

        plain = Packed(PROBE, device)
        try:
            found = outcome(_Flex(PROBE, device))
        except Exception as error:  # compilers fail in ways of their own
            warnings.warn(f"FlexAttention is not used: {type(error).__name__}: {error}", stacklevel=2)
            return False
        return _met(outcome(functools.partial(plain, 0)), found)


def _met(expected: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    gaps = [
        float((a - b).abs().max() / a.abs().max().clamp(min=1e-6))
        for a, b in zip(expected, found, strict=True)
    ]
    if all(gap < TOLERANCE for gap in gaps):  # not so if one is not a number
        return True
    warnings.warn(
        f"FlexAttention is not used: it is off by {max(gaps):.2g} of the largest number", stacklevel=3
    )
    return False
