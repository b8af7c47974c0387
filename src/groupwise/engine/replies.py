"""Conversations: what is said to a row is read into the row's own memory, and the row goes on from there.

Legend: L tokens read, B rows that read, Q tokens of the row that reads most, P and C places of prompts and of
own memory that are looked at, H and K heads of queries and of keys, d head size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.engine.attention import Flavour, attention_of
from groupwise.engine.cache import Cache
from groupwise.engine.model import CausalLM
from groupwise.engine.scheduler import Request, Row
from groupwise.trajectory import StopReason


@dataclass(frozen=True, slots=True)
class Said:
    """A turn that has just ended."""

    request: int
    """Its place in the call of `generate`."""
    sample: int
    tokens: tuple[int, ...]
    """Decided in this turn, its end token among them."""
    logp: tuple[float, ...]
    stopped: StopReason

    @classmethod
    def of(cls, row: Row, first_sample: int) -> Said:
        assert row.stopped is not None
        tokens, logp = tuple(row.tokens[row.begin :]), tuple(row.logp[row.begin :])
        return cls(row.request, first_sample + row.sample, tokens, logp, row.stopped)


Reply = Callable[[Sequence[Said]], Sequence[Sequence[int] | None]]
"""What each of them reads next: one token at least, and so few that one more fits. None: that was all."""


def told(rows: Sequence[Row], requests: Sequence[Request], reply: Reply) -> list[int]:
    """Tell of the turns that have ended; places of the rows that go on, what they read now written down."""
    places = [i for i, row in enumerate(rows) if row.stopped is not None and not row.over]
    said = [Said.of(rows[i], requests[rows[i].request].first_sample) for i in places]
    heard = []
    for i, tokens in zip(places, reply(said) if said else (), strict=True):
        if tokens is None:
            rows[i].over = True
        else:
            rows[i].hear(tokens)
            heard.append(i)
    return heard


def read_on(model: CausalLM, cache: Cache, places: Sequence[int], rows: Sequence[Row]) -> Tensor:
    """Read the unread tokens of rows at these places of the cache. -> [B, width], after each one's last."""
    cache.reserve(max(row.begin for row in rows))
    unread = [row.tokens[row.known : row.begin] for row in rows]
    attend = ReadOn(cache, places, rows, model.device)
    tokens = torch.tensor([t for tokens in unread for t in tokens], device=model.device)
    positions = [row.prompt + i for row in rows for i in range(row.known, row.begin)]
    hidden = model.hidden(tokens, torch.tensor(positions, device=model.device), attend)
    last = torch.tensor([len(tokens) for tokens in unread], device=model.device).cumsum(0) - 1
    return hidden.index_select(0, last)


class ReadOn:
    """Attention of tokens read on: each sees its row's prompt and own memory, itself included."""

    def __init__(
        self, cache: Cache, places: Sequence[int], rows: Sequence[Row], device: torch.device
    ) -> None:
        self._cache = cache
        counts = torch.tensor([row.unread for row in rows])
        known, prompt = (torch.tensor([getattr(row, name) for row in rows]) for name in ("known", "prompt"))
        start = counts.cumsum(0) - counts
        # padding repeats the last query: it too sees keys, lest 0/0
        step = torch.minimum(torch.arange(int(counts.max()))[None], counts[:, None] - 1)
        self._prompt_room, self._own_room = int(prompt.max()), int((known + counts).max())
        self._queries = (start[:, None] + step).to(device)
        self._rows = torch.tensor(list(places), device=device)
        self._slots = torch.tensor([row.slot for row in rows], device=device)
        self._row_of = self._rows.repeat_interleave(counts.to(device))
        own = [i for row in rows for i in range(row.known, row.begin)]
        self._own_of = torch.tensor(own, device=device)
        real = torch.arange(len(step[0]))[None] < counts[:, None]
        self._order = real.flatten().nonzero()[:, 0].to(device)
        before, after = torch.arange(self._prompt_room), torch.arange(self._own_room)
        at = (known[:, None] + step)[:, :, None]  # [B, Q, 1] own place of each query
        seen_prompt = (before < prompt[:, None])[:, None].expand(-1, step.shape[1], -1)
        self._seen = torch.cat([seen_prompt, after <= at], -1).to(device)
        back = torch.cat([prompt[:, None, None] + at - before, at - after], -1)
        self._back = back.to(device)
        self._masks: dict[int | None, Tensor] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, flavour: Flavour) -> Tensor:
        """q [L, H, d], k and v [L, K, d] -> [L, H, d]."""
        prompts, own = self._cache.prompts(layer, k), self._cache.own(layer, k)
        keys, values = (self._seen_by_rows(*x) for x in zip((k, v), prompts, own, strict=True))
        queries = q.index_select(0, self._queries.flatten()).unflatten(0, self._queries.shape).transpose(1, 2)
        out = attention_of(queries, keys, values, self._mask(flavour.window), flavour)
        return out.transpose(1, 2).flatten(0, 1).index_select(0, self._order)

    def _seen_by_rows(self, new: Tensor, prompts: Tensor, own: Tensor) -> Tensor:
        """Write down what is read, new [L, K, d]. -> [B, K, P + C, d]."""
        own[self._row_of, :, self._own_of] = new
        prompt = prompts[:, :, : self._prompt_room].index_select(0, self._slots)
        return torch.cat([prompt, own[:, :, : self._own_room].index_select(0, self._rows)], 2)

    def _mask(self, window: int | None) -> Tensor:
        """[B, 1, Q, P + C] True where seen."""
        if window not in self._masks:
            seen = self._seen if window is None else self._seen & (self._back < window)
            self._masks[window] = seen[:, None]
        return self._masks[window]
