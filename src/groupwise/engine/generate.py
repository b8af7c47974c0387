"""Writes the answers: prefill a prompt once for its group, decode all rows together, stop each alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groupwise.engine.attention import Tree
from groupwise.engine.burst import Decoder
from groupwise.engine.cache import Cache
from groupwise.engine.flex import packed_attention
from groupwise.engine.graphs import RECORDERS
from groupwise.engine.linears import few_rows
from groupwise.engine.model import CausalLM, positions_of
from groupwise.engine.sampling import Sampling, choose
from groupwise.engine.scheduler import Completion, Request, Row, Scheduler
from groupwise.randomness import uniforms
from groupwise.trajectory import StopReason

PREFILL_TOKENS = 4096
"""Prompt tokens a forward pass reads at once."""

BURST = {"cuda": 16}
"""Tokens of every row between two looks at what was chosen, by device: a look waits for the device, which
costs a CPU nothing and a GPU its head start."""

Progress = Callable[[int, int], None]
"""Called with (answers finished, answers asked for)."""
Finished = Callable[[int, list[Completion]], None]
"""Called with (number of a request, its answers) as soon as the last of them is written."""


class PromptError(ValueError):
    """A prompt that cannot be answered: empty, or longer than the model's context allows."""


@torch.inference_mode()
def generate(
    model: CausalLM,
    requests: Sequence[Request],
    sampling: Sampling,
    *,
    eos: frozenset[int],
    seed: int = 0,
    decode: Callable[[list[int]], str] | None = None,
    progress: Progress | None = None,
    finished: Finished | None = None,
) -> list[list[Completion]]:
    """Answers to every request, in the order asked.

    `decode` turns token ids into text; needed for stop strings. An answer's tokens depend on the seed,
    the ordinal and the sample's number, not on what else is being written.

    Raises:
        PromptError: naming the prompt's ordinal, its length and the context.
    """
    check(model, requests, sampling)
    if not requests:
        return []
    scheduler = Scheduler(requests, sampling.max_rows)
    longest = max(len(r.tokens) for r in requests)
    writer = _Writer(model, requests, sampling, eos, seed, decode)
    room = sampling.max_new_tokens + writer.burst - 1
    cache = Cache(scheduler.slots, scheduler.capacity, longest, room)
    recorder = RECORDERS[model.device.type]() if model.device.type in RECORDERS else None
    decoder = Decoder(model, cache, sampling.temperature, writer.burst, recorder)
    answers = _Answers(requests, progress, finished)
    with few_rows(model.model):
        while not scheduler.done:
            new = scheduler.admit()
            if new:
                writer.prefill(cache, new)
            else:
                writer.steps(decoder, scheduler.rows)
            done, sources, targets = scheduler.retire()
            cache.move(sources, targets)
            answers.add(done)
    return [answers.of(i) for i in range(len(requests))]


def check(model: CausalLM, requests: Sequence[Request], sampling: Sampling) -> None:
    """Refuse prompts that are empty or leave no room for an answer."""
    for request in requests:
        needed = len(request.tokens) + sampling.max_new_tokens
        if not request.tokens:
            raise PromptError(f"prompt {request.ordinal} is empty: a model needs at least one token to read")
        if needed > model.context:
            raise PromptError(
                f"prompt {request.ordinal} has {len(request.tokens)} tokens; with {sampling.max_new_tokens} "
                f"for the answer that is {needed}, and {model.name} reads {model.context}. Shorten or drop "
                "the prompt, or lower --max-new-tokens."
            )


class _Answers:
    """What is written so far, and told to those who asked."""

    def __init__(
        self, requests: Sequence[Request], progress: Progress | None, finished: Finished | None
    ) -> None:
        self._found: list[list[Completion | None]] = [[None] * r.count for r in requests]
        self._left = [r.count for r in requests]
        self._total = sum(self._left)
        self._progress, self._finished = progress, finished

    def add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._found[row.request][row.sample] = row.completion()
            self._left[row.request] -= 1
        if rows and self._progress is not None:
            self._progress(self._total - sum(self._left), self._total)
        if self._finished is not None:
            for i in dict.fromkeys(row.request for row in rows if not self._left[row.request]):
                self._finished(i, self.of(i))

    def of(self, request: int) -> list[Completion]:
        return [c for c in self._found[request] if c is not None]


class _Writer:
    """Runs the model for rows and appends what it chooses."""

    def __init__(
        self,
        model: CausalLM,
        requests: Sequence[Request],
        sampling: Sampling,
        eos: frozenset[int],
        seed: int,
        decode: Callable[[list[int]], str] | None,
    ) -> None:
        if sampling.stop and decode is None:
            raise ValueError("stop strings need `decode`, to turn tokens into text")
        self._model, self._requests, self._sampling = model, requests, sampling
        self._eos, self._seed, self._decode = eos, seed, decode
        self.burst = min(BURST.get(model.device.type, 1), sampling.max_new_tokens)

    def prefill(self, cache: Cache, rows: Sequence[Row]) -> None:
        """Read the prompts of new rows, each once, and choose every row's first token."""
        for chunk in _chunks(_siblings(rows), self._requests):
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

    def steps(self, decoder: Decoder, rows: Sequence[Row]) -> None:
        """Read every row's newest token and choose its next, a few times over.

        What is chosen stays on the device until the end: a GPU is never waited for within a burst. A row
        that stops before the end of it has chosen too much, which is dropped.
        """
        n = min(self.burst, max(self._sampling.max_new_tokens - len(row.tokens) for row in rows))
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
        return StopReason.LENGTH if len(row.tokens) >= self._sampling.max_new_tokens else None

    def _says_stop(self, row: Row) -> bool:
        if not self._sampling.stop or self._decode is None:
            return False
        # a token holds at least one byte, so this tail holds any stop string that has just ended
        tail = self._decode(row.tokens[-max(len(s.encode()) for s in self._sampling.stop) :])
        return any(stop in tail for stop in self._sampling.stop)

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, device=self._model.device)


def _siblings(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.slot, []).append(row)
    return list(groups.values())


def _chunks(groups: Sequence[list[Row]], requests: Sequence[Request]) -> list[list[list[Row]]]:
    """Cut groups into runs of at most PREFILL_TOKENS prompt tokens."""
    chunks: list[list[Any]] = []
    room = 0
    for group in groups:
        size = len(requests[group[0].request].tokens)
        if not chunks or size > room:
            chunks.append([])
            room = PREFILL_TOKENS
        chunks[-1].append(group)
        room -= size
    return chunks
