"""KV memory of one call to `generate`, and the attention of one decoding step over it.

A prompt's keys and values lie once in a *slot*; each *row* (an answer being written) has memory for
its own tokens only and reads its prompt from the slot that it shares with its siblings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.engine.attention import Flavour, Tree, masked_softmax

GROWTH = 16
"""Tokens of own memory a row starts with; doubled as answers grow."""


class Cache:
    """Keys and values: per layer, prompts [slots, K, P, d] and own tokens [rows, K, C, d]."""

    def __init__(self, slots: int, rows: int, longest_prompt: int, longest_answer: int) -> None:
        self.slots, self.rows = slots, rows
        self._prompt_room, self._limit = longest_prompt, max(longest_answer, 1)
        self._room = min(GROWTH, self._limit)
        self._prompts: dict[int, tuple[Tensor, Tensor]] = {}
        self._own: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def room(self) -> int:
        """Own tokens that every row has memory for."""
        return self._room

    def store(self, trees: Sequence[Tree], slots: Sequence[int]) -> _Store:
        """A `keep` for `Packed`: writes the prompts of these trees into these slots."""
        return _Store(self, trees, slots)

    def prompts(self, layer: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all slots, [slots, K, P, d] each. `like` is [*, K, d]."""
        if layer not in self._prompts:
            shape = (self.slots, like.shape[1], self._prompt_room, like.shape[2])
            self._prompts[layer] = (like.new_zeros(shape), like.new_zeros(shape))
        return self._prompts[layer]

    def own(self, layer: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all rows, [rows, K, C, d] each. `like` is [*, K, d]."""
        if layer not in self._own:
            shape = (self.rows, like.shape[1], self._room, like.shape[2])
            self._own[layer] = (like.new_zeros(shape), like.new_zeros(shape))
        return self._own[layer]

    def reserve(self, length: int) -> None:
        """Make room for own tokens 0 .. length - 1 of every row."""
        if length <= self._room:
            return
        room = min(max(2 * self._room, length), self._limit)
        for layer, pair in self._own.items():
            self._own[layer] = tuple(_widened(x, room) for x in pair)  # type: ignore[assignment]
        self._room = room

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy whole rows: the last rows fill the places of those that finished."""
        if sources:
            for pair in self._own.values():
                for x in pair:
                    x[list(targets)] = x[list(sources)]


def _widened(x: Tensor, room: int) -> Tensor:
    wide = x.new_zeros((*x.shape[:2], room, x.shape[3]))
    wide[:, :, : x.shape[2]] = x
    return wide


class _Store:
    def __init__(self, cache: Cache, trees: Sequence[Tree], slots: Sequence[int]) -> None:
        self._cache, self._places, at = cache, [], 0
        for tree, slot in zip(trees, slots, strict=True):
            self._places.append((slot, at, tree.prompt))
            at += tree.tokens

    def __call__(self, layer: int, k: Tensor, v: Tensor) -> None:
        for memory, new in zip(self._cache.prompts(layer, k), (k, v), strict=True):
            for slot, start, length in self._places:
                memory[slot, :, :length] = new[start : start + length].transpose(0, 1)


@dataclass(frozen=True, slots=True)
class RowState:
    """Where a row stands: its slot, the length of its prompt, its own tokens already in memory."""

    slot: int
    prompt: int
    length: int


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoding step: what a recording of it is bound to."""

    rows: int
    slots: int
    width: int
    """Seats of a slot: the most rows that share one."""
    length: int
    """Own tokens of a row that are looked at."""
    full: bool
    """The rows stand in the order of their seats and none is empty: the grid is the rows themselves."""

    @classmethod
    def of(cls, cache: Cache, rows: Sequence[RowState], steps: int, padded: bool) -> Shape:
        """Of the next few steps. Padded, sizes are rounded up, so that few occur and few are recorded."""
        length = max(row.length for row in rows) + steps
        cache.reserve(length)
        n, slots, width = len(rows), max(row.slot for row in rows) + 1, max(_taken(rows).values())
        if padded:
            length = cache.room
            n, slots = _rounded(n, cache.rows), _rounded(slots, cache.slots)
            width = _rounded(width, n)
        in_order = _seats(rows, width) == list(range(slots * width))
        return cls(n, slots, width, length, in_order and n == slots * width)


def _rounded(n: int, most: int) -> int:
    """The next power of two, as far as there is room."""
    return min(1 << (n - 1).bit_length(), most)


def _taken(rows: Sequence[RowState]) -> Counter[int]:
    return Counter(row.slot for row in rows)


def _seats(rows: Sequence[RowState], width: int) -> list[int]:
    """Where in the grid [slots, width] each row sits: the next free seat of its slot."""
    taken: Counter[int] = Counter()
    seats = []
    for row in rows:
        seats.append(row.slot * width + taken[row.slot])
        taken[row.slot] += 1
    return seats


@dataclass(frozen=True, slots=True)
class Places:
    """Where the A rows of a decoding step stand, as int64 tensors that a step may move on in place."""

    prompt: Tensor
    """[A] tokens of the row's prompt."""
    own: Tensor
    """[A] its own tokens already in memory: the newest goes there."""
    seat: Tensor
    """[A] its seat in the grid."""
    sitter: Tensor
    """[slots W] who sits there; row 0 in an empty seat, to no effect."""

    @classmethod
    def of(cls, rows: Sequence[RowState], shape: Shape) -> Places:
        """On the CPU. Rows beyond those given read nothing but their own token, and sit nowhere."""
        spare = [0] * (shape.rows - len(rows))
        seats = _seats(rows, shape.width)
        sitter = [0] * (shape.slots * shape.width)
        for row, seat in enumerate(seats):
            sitter[seat] = row
        prompt, own = [row.prompt for row in rows], [row.length for row in rows]
        lists = (prompt + spare, own + spare, seats + spare, sitter)
        return cls(*(torch.tensor(x, dtype=torch.int64) for x in lists))


class Decode:
    """Attention of one decoding step: token i of the packed row is the newest token of row i.

    Siblings read their prompt together: scores over prompts are one product per slot, [r W, d] by
    [d, P] with W the most rows that share a slot; scores over own tokens are one product per row.
    All that changes from step to step is in tensors, so that a recording of it can be repeated.
    """

    def __init__(self, cache: Cache, shape: Shape, places: Places) -> None:
        self._cache, self._shape, self._places = cache, shape, places
        self._row = torch.arange(shape.rows, device=places.own.device)
        self._masks: dict[tuple[int, int | None], Tensor] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, flavour: Flavour) -> Tensor:
        """q [A, H, d], k and v [A, K, d] -> [A, H, d]."""
        shape, own = self._shape, self._places.own
        own_k, own_v = self._cache.own(layer, k)
        own_k[self._row, :, own], own_v[self._row, :, own] = k, v
        own_k, own_v = (x[: shape.rows, :, : shape.length] for x in (own_k, own_v))
        prompt_k, prompt_v = (x[: shape.slots] for x in self._cache.prompts(layer, k))
        heads, size = k.shape[1], k.shape[2]
        query = q.unflatten(1, (heads, -1))  # [A, K, r, d]
        over_prompt = self._from_grid(self._to_grid(query) @ prompt_k.transpose(-1, -2), query)
        over_own = query @ own_k.transpose(-1, -2)
        scores = torch.cat([over_prompt, over_own], -1).float()
        sinks = None if flavour.sinks is None else flavour.sinks.unflatten(0, (heads, -1))
        seen = self._mask(prompt_k.shape[2], flavour.window)
        weights = masked_softmax(scores, seen, flavour, sinks).to(v.dtype)
        on_prompt, on_own = weights.split([prompt_k.shape[2], shape.length], -1)
        out = self._from_grid(self._to_grid(on_prompt) @ prompt_v, query) + on_own @ own_v
        return out.reshape(shape.rows, -1, size)

    def _to_grid(self, x: Tensor) -> Tensor:
        """[A, K, r, n] -> [slots, K, W r, n]."""
        grid = x if self._shape.full else x.index_select(0, self._places.sitter)
        return grid.unflatten(0, (self._shape.slots, -1)).transpose(1, 2).flatten(2, 3)

    def _from_grid(self, x: Tensor, query: Tensor) -> Tensor:
        """[slots, K, W r, n] -> [A, K, r, n]."""
        split = x.unflatten(2, (self._shape.width, query.shape[2])).transpose(1, 2).flatten(0, 1)
        return split if self._shape.full else split.index_select(0, self._places.seat)

    def _mask(self, prompt_room: int, window: int | None) -> Tensor:
        """[A, 1, 1, P + C] True where seen."""
        key = (prompt_room, window)
        if key not in self._masks:
            device = self._row.device
            before = torch.arange(prompt_room, device=device)
            own = torch.arange(self._shape.length, device=device)
            prompt, length = self._places.prompt[:, None], self._places.own[:, None]
            seen = torch.cat([before < prompt, own <= length], 1)
            if window is not None:
                at = prompt + length
                seen &= torch.cat([at - before < window, length - own < window], 1)
            self._masks[key] = seen[:, None, None]
        return self._masks[key]
