"""Runs the model for rows: prefills prompts, reads replies, decodes, and writes down what is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from groupwise.engine.attention import Tree
from groupwise.engine.burst import Decoder
from groupwise.engine.cache import Cache
from groupwise.engine.flex import packed_attention
from groupwise.engine.model import CausalLM, positions_of
from groupwise.engine.replies import read_on
from groupwise.engine.sampling import Sampling, choose
from groupwise.engine.scheduler import Request, Row
from groupwise.randomness import uniforms
from groupwise.trajectory import StopReason

PREFILL_TOKENS = 4096
"""Prompt tokens a forward pass reads at once."""

BURST = {"cuda": 16}
"""Tokens of every row between two looks at what was chosen, by device: a look waits for the device, which
costs a CPU nothing and a GPU its head start."""

T = TypeVar("T")


class Writer:
    """Runs the model for rows and appends what it chooses."""

    def __init__(
        self,
        model: CausalLM,
        requests: Sequence[Request],
        sampling: Sampling,
        eos: frozenset[int],
        seed: int,
        decode: Callable[[list[int]], str] | None,
        limit: int,
    ) -> None:
        if sampling.stop and decode is None:
            raise ValueError("stop strings need `decode`, to turn tokens into text")
        self._model, self._requests, self._sampling = model, requests, sampling
        self._eos, self._seed, self._decode, self.limit = eos, seed, decode, limit
        self.burst = min(BURST.get(model.device.type, 1), sampling.max_new_tokens)

    def room(self, talks: bool) -> int:
        """Own tokens that a row may come to have in memory."""
        most = self._sampling.max_new_tokens
        if talks:
            most = max(most, self.limit - min(len(r.tokens) for r in self._requests))
        return most + self.burst - 1

    def prefill(self, cache: Cache, rows: Sequence[Row]) -> None:
        """Read the prompts of new rows, each once, and choose every row's first token."""
        siblings = _siblings(rows)
        lengths = [len(self._requests[group[0].request].tokens) for group in siblings]
        for chunk in _in_runs(siblings, lengths):
            prompts = [self._requests[group[0].request].tokens for group in chunk]
            trees = [Tree(len(p)) for p in prompts]
            keep = cache.store(trees, [group[0].slot for group in chunk])
            tokens = self._tensor([t for p in prompts for t in p])
            attend = packed_attention(trees, self._model.device, keep)
            hidden = self._model.hidden(tokens, self._tensor(positions_of(trees)), attend)
            last = np.cumsum([len(p) for p in prompts]) - 1
            logits = self._model.logits(hidden[self._tensor(last.tolist())])
            which = self._tensor([i for i, group in enumerate(chunk) for _ in group])
            chosen = [row for group in chunk for row in group]
            logits = logits.index_select(0, which)
            uniform = self._uniform(chosen, 1)[0].to(logits.device)
            tokens, logps = choose(logits, uniform, self._sampling.temperature)
            self._append(chosen, tokens[None], logps[None])

    def read_on(self, cache: Cache, rows: Sequence[Row], heard: Sequence[int]) -> None:
        """Read what was said to the rows at these places, and choose each one's next token."""
        for places in _in_runs(heard, [rows[place].unread for place in heard]):
            chosen = [rows[place] for place in places]
            hidden = read_on(self._model, cache, places, chosen)
            uniform = self._uniform(chosen, 1)[0].to(hidden.device)
            tokens, logps = choose(self._model.logits(hidden), uniform, self._sampling.temperature)
            self._append(chosen, tokens[None], logps[None])

    def steps(self, decoder: Decoder, rows: Sequence[Row]) -> None:
        """Read every row's newest token and choose its next, a few times over.

        What is chosen stays on the device until the end: a GPU is never waited for within a burst. A row
        that stops before the end of it has chosen too much, which is dropped.
        """
        n = min(self.burst, max(self._left(row) for row in rows))
        newest = [row.tokens[-1] for row in rows]
        self._append(rows, *decoder([row.state for row in rows], newest, self._uniform(rows, n)))

    def _uniform(self, rows: Sequence[Row], n: int) -> Tensor:
        """[n, rows] on the CPU: the random numbers of each row's next n tokens."""
        ordinals = np.array([self._requests[row.request].ordinal for row in rows])
        samples = np.array([self._requests[r.request].first_sample + r.sample for r in rows])
        lengths = np.array([len(row.tokens) for row in rows]) + np.arange(n)[:, None]
        return torch.from_numpy(uniforms(self._seed, ordinals, samples, lengths))

    def _append(self, rows: Sequence[Row], tokens: Tensor, logps: Tensor) -> None:
        """Write down what consecutive steps chose, [steps, rows] each, as far as each row goes."""
        for row, row_tokens, row_logps in zip(rows, tokens.t().tolist(), logps.t().tolist(), strict=True):
            for token, logp in zip(row_tokens, row_logps, strict=True):
                if not math.isfinite(logp):
                    raise FloatingPointError(
                        "the model's logits are not finite: its weights are damaged or have diverged"
                    )
                row.tokens.append(token)
                row.logp.append(logp)
                row.stopped = self._stopped(row)
                if row.stopped is not None:
                    break

    def _stopped(self, row: Row) -> StopReason | None:
        if row.tokens[-1] in self._eos or self._says_stop(row):
            return StopReason.FINISHED
        return StopReason.LENGTH if self._left(row) <= 0 else None

    def _left(self, row: Row) -> int:
        """Tokens that its turn may still have."""
        own = len(row.tokens)
        return min(self._sampling.max_new_tokens - (own - row.begin), self.limit - row.prompt - own)

    def _says_stop(self, row: Row) -> bool:
        if not self._sampling.stop or self._decode is None:
            return False
        # a token holds at least one byte, so this tail holds any stop string that has just ended
        tail = self._decode(row.tokens[row.begin :][-max(len(s.encode()) for s in self._sampling.stop) :])
        return any(stop in tail for stop in self._sampling.stop)

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, device=self._model.device)


def _siblings(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.slot, []).append(row)
    return list(groups.values())


def _in_runs(items: Sequence[T], sizes: Sequence[int]) -> list[list[T]]:
    """Cut into runs of at most PREFILL_TOKENS tokens together; what is larger is alone."""
    runs: list[list[T]] = []
    room = 0
    for item, size in zip(items, sizes, strict=True):
        if not runs or size > room:
            runs.append([])
            room = PREFILL_TOKENS
        runs[-1].append(item)
        room -= size
    return runs
