"""KV memory of one call to `generate`, and the attention of one decoding step over it.

A prompt's keys and values lie once in a *slot*; each *row* (an answer being written) has memory for
its own tokens only and reads its prompt from the slot that it shares with its siblings.
"""

from __future__ import annotations

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


class Decode:
    """Attention of one decoding step: token i of the packed row is the newest token of row i.

    Siblings read their prompt together: scores over prompts are one product per slot, [r W, d] by
    [d, P] with W the most rows that share a slot; scores over own tokens are one product per row.
    """

    def __init__(self, cache: Cache, rows: Sequence[RowState], device: torch.device) -> None:
        self._cache, self._n = cache, len(rows)
        self._length = max(row.length for row in rows) + 1
        cache.reserve(self._length)
        self._slots = max(row.slot for row in rows) + 1
        seats, taken = [], [0] * self._slots
        for row in rows:
            seats.append(taken[row.slot])
            taken[row.slot] += 1
        self._width = max(taken)
        table = torch.tensor([(r.slot, r.prompt, r.length) for r in rows], device=device)
        _, self._prompt, self._own = table.unbind(1)
        grid = [row.slot * self._width + seat for row, seat in zip(rows, seats, strict=True)]
        # rows in the order of their seats, none empty: the grid is the rows themselves
        self._full = grid == list(range(self._slots * self._width))
        self._grid = torch.tensor(grid, device=device)
        self._row = torch.arange(self._n, device=device)
        self._masks: dict[tuple[int, int | None], Tensor] = {}

    def advance(self) -> None:
        """Every row has one token more."""
        self._length += 1
        self._own = self._own + 1
        self._cache.reserve(self._length)
        self._masks.clear()

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, flavour: Flavour) -> Tensor:
        """q [A, H, d], k and v [A, K, d] -> [A, H, d]."""
        own_k, own_v = self._cache.own(layer, k)
        own_k[self._row, :, self._own], own_v[self._row, :, self._own] = k, v
        own_k, own_v = (x[: self._n, :, : self._length] for x in (own_k, own_v))
        prompt_k, prompt_v = (x[: self._slots] for x in self._cache.prompts(layer, k))
        heads, size = k.shape[1], k.shape[2]
        query = q.unflatten(1, (heads, -1))  # [A, K, r, d]
        over_prompt = self._from_grid(self._to_grid(query) @ prompt_k.transpose(-1, -2), query)
        over_own = query @ own_k.transpose(-1, -2)
        scores = torch.cat([over_prompt, over_own], -1).float()
        sinks = None if flavour.sinks is None else flavour.sinks.unflatten(0, (heads, -1))
        seen = self._mask(prompt_k.shape[2], flavour.window)
        weights = masked_softmax(scores, seen, flavour, sinks).to(v.dtype)
        on_prompt, on_own = weights.split([prompt_k.shape[2], self._length], -1)
        out = self._from_grid(self._to_grid(on_prompt) @ prompt_v, query) + on_own @ own_v
        return out.reshape(self._n, -1, size)

    def _to_grid(self, x: Tensor) -> Tensor:
        """[A, K, r, n] -> [slots, K, W r, n]; seats that nobody sits in are zero."""
        _, heads, ratio, n = x.shape
        grid = x
        if not self._full:
            grid = x.new_zeros((self._slots * self._width, heads, ratio, n))
            grid[self._grid] = x
        return grid.unflatten(0, (self._slots, -1)).transpose(1, 2).flatten(2, 3)

    def _from_grid(self, x: Tensor, query: Tensor) -> Tensor:
        """[slots, K, W r, n] -> [A, K, r, n]."""
        split = x.unflatten(2, (self._width, query.shape[2])).transpose(1, 2).flatten(0, 1)
        return split if self._full else split.index_select(0, self._grid)

    def _mask(self, prompt_room: int, window: int | None) -> Tensor:
        """[A, 1, 1, P + C] True where seen."""
        key = (prompt_room, window)
        if key not in self._masks:
            device = self._row.device
            before, own = torch.arange(prompt_room, device=device), torch.arange(self._length, device=device)
            prompt, length = self._prompt[:, None], self._own[:, None]
            seen = torch.cat([before < prompt, own <= length], 1)
            if window is not None:
                at = prompt + length
                seen &= torch.cat([at - before < window, length - own < window], 1)
            self._masks[key] = seen[:, None, None]
        return self._masks[key]
