"""The one attention function that samples and trains: packed rows, shared prompts, KV memory.

Registered with transformers as `groupwise`, it receives queries, keys and values of one packed row
[1, heads, L, d] and hands them to the `Attend` value that the caller passed to the model's forward.
Legend: L packed tokens, H query heads, K key-value heads, r = H / K, d head size, P prompt tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "groupwise"


@dataclass(frozen=True, slots=True)
class Flavour:
    """What a layer asks of its attention beyond softmax(q k / sqrt d) v."""

    scaling: float
    window: int | None = None
    """A key is seen if it is fewer than this many positions back; None sees all."""
    softcap: float | None = None
    sinks: Tensor | None = None
    """[H] logits that take probability and give no value."""


class Attend(Protocol):
    """Attention of one forward pass."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, flavour: Flavour) -> Tensor:
        """q [L, H, d], k and v [L, K, d] -> [L, H, d]."""


def _registered(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    groupwise: Attend | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    if groupwise is None:
        raise RuntimeError(
            "this model is set up for groupwise's packed attention and was called without it. For plain "
            "use call model.set_attn_implementation('sdpa') first, or load the exported folder."
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    flavour = Flavour(scaling, sliding_window, softcap, s_aux)
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return groupwise(module.layer_idx, q, k, v, flavour)[None], None  # type: ignore[arg-type]


AttentionInterface.register(NAME, _registered)


@dataclass(frozen=True, slots=True)
class Tree:
    """A prompt of `prompt` tokens and the lengths of the continuations that share it."""

    prompt: int
    answers: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        return self.prompt + sum(self.answers)


class Packed:
    """Attention of trees laid end to end: a prompt, then each of its answers.

    A prompt is causal in itself; an answer sees its prompt and its own past, never a sibling. Prompts
    and answers run as two batches gathered from the row, padded to their longest.
    `keep`, when given, receives every layer's keys and values: [L, K, d].
    """

    def __init__(
        self,
        trees: Sequence[Tree],
        device: torch.device,
        keep: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> None:
        self._keep = keep
        prompts, answers = _spans(trees)
        self._blocks = [_Block(spans, device) for spans in (prompts, answers) if spans]
        self._order = _packed_order(prompts, answers, self._blocks, device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, flavour: Flavour) -> Tensor:
        if self._keep is not None:
            self._keep(layer, k, v)
        outputs = [block(q, k, v, flavour).flatten(0, 1) for block in self._blocks]
        return torch.cat(outputs).index_select(0, self._order)


@dataclass(frozen=True, slots=True)
class _Span:
    """Tokens `start:start + length` of the row, that may also see the prompt before them."""

    start: int
    length: int
    prompt_start: int
    prompt: int


def _spans(trees: Sequence[Tree]) -> tuple[list[_Span], list[_Span]]:
    prompts, answers, at = [], [], 0
    for tree in trees:
        root = at
        prompts.append(_Span(root, tree.prompt, root, 0))
        at += tree.prompt
        for length in tree.answers:
            if length:
                answers.append(_Span(at, length, root, tree.prompt))
            at += length
    return prompts, answers


def _packed_order(
    prompts: list[_Span], answers: list[_Span], blocks: list[_Block], device: torch.device
) -> Tensor:
    """[L]: where each packed token stands in the blocks' outputs laid end to end."""
    where: dict[int, int] = {}
    offset = 0
    for spans, block in zip([s for s in (prompts, answers) if s], blocks, strict=True):
        for row, span in enumerate(spans):
            for i in range(span.length):
                where[span.start + i] = offset + row * block.width + i
        offset += len(spans) * block.width
    return torch.tensor([where[i] for i in range(len(where))], device=device)


class _Block:
    """Spans as one padded batch: B rows of up to Q queries over up to S keys."""

    def __init__(self, spans: Sequence[_Span], device: torch.device) -> None:
        self.width = max(s.length for s in spans)
        prefix = max(s.prompt for s in spans)
        own = torch.arange(self.width)[None]
        start, length, root, prompt = (
            torch.tensor([getattr(s, name) for s in spans])[:, None]
            for name in ("start", "length", "prompt_start", "prompt")
        )
        before = torch.arange(prefix)[None]
        at = own.clamp(max=length - 1)  # padding repeats the last query: it too sees keys, lest 0/0
        queries = start + at
        keys = torch.cat([root + torch.minimum(before, (prompt - 1).clamp(min=0)), queries], 1)
        position = torch.cat([before.expand(len(spans), -1), prompt + own], 1)
        real = torch.cat([before < prompt, own < length], 1)
        self._queries, self._keys = queries.to(device), keys.to(device)
        self._query_at, self._key_at = (prompt + at)[:, :, None].to(device), position[:, None, :].to(device)
        self._seen = real[:, None, :].to(device) & (self._key_at <= self._query_at)
        self._masks: dict[int | None, Tensor] = {}

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, flavour: Flavour) -> Tensor:
        """[L, H, d] -> [B, Q, H, d]."""
        rows = _rows(q, self._queries).transpose(1, 2)
        keys, values = (_rows(x, self._keys).transpose(1, 2) for x in (k, v))
        return attention_of(rows, keys, values, self._mask(flavour.window), flavour).transpose(1, 2)

    def _mask(self, window: int | None) -> Tensor:
        """[B, 1, Q, S] True where seen."""
        if window not in self._masks:
            seen = self._seen
            if window is not None:
                seen = seen & (self._key_at > self._query_at - window)
            self._masks[window] = seen[:, None]
        return self._masks[window]


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x [L, h, d], index [B, n] -> [B, n, h, d]."""
    return x.index_select(0, index.flatten()).unflatten(0, index.shape)


def attention_of(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, flavour: Flavour) -> Tensor:
    """q [B, H, Q, d], k and v [B, K, S, d], seen [B, 1, Q, S] -> [B, H, Q, d]."""
    if flavour.softcap is None and flavour.sinks is None:
        return scaled_dot_product_attention(
            q, k, v, attn_mask=seen, scale=flavour.scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
    scores = (q @ k.transpose(-1, -2)).float()
    weights = masked_softmax(scores, seen, flavour, None if flavour.sinks is None else flavour.sinks[:, None])
    return weights.to(v.dtype) @ v


def masked_softmax(scores: Tensor, seen: Tensor, flavour: Flavour, sinks: Tensor | None) -> Tensor:
    """Probabilities of scores [..., S] float32; `sinks` broadcasts to [..., 1]'s leading shape."""
    scores = scores * flavour.scaling
    if flavour.softcap is not None:
        scores = flavour.softcap * torch.tanh(scores / flavour.softcap)
    scores = scores.masked_fill(~seen, -torch.inf)
    if sinks is None:
        return scores.softmax(-1)
    column = sinks.float().expand(scores.shape[:-1])[..., None]
    return torch.cat([scores, column], -1).softmax(-1)[..., :-1]
