"""Writes the answers: prefill a prompt once for its group, decode all rows together, stop each alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from groupwise.engine.burst import Decoder
from groupwise.engine.cache import Cache
from groupwise.engine.graphs import RECORDERS
from groupwise.engine.linears import few_rows
from groupwise.engine.model import CausalLM
from groupwise.engine.replies import Reply, told
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Completion, Request, Row, Scheduler
from groupwise.engine.writer import Writer

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
    reply: Reply | None = None,
    limit: int | None = None,
) -> list[list[Completion]]:
    """Answers to every request, in the order asked.

    `decode` turns token ids into text; needed for stop strings. An answer's tokens depend on the seed,
    the ordinal and the sample's number, not on what else is being written.

    With `reply`, an answer is a conversation: when a turn of it ends, `reply` says what is read next, and it
    goes on from the keys and values in memory. Every turn may have `max_new_tokens`, and the whole, its
    prompt included, `limit` tokens (the model's context unless given). What was read has log-prob NaN.

    Raises:
        PromptError: naming the prompt's ordinal, its length and the context.
    """
    check(model, requests, sampling)
    if not requests:
        return []
    scheduler = Scheduler(requests, sampling.max_rows)
    longest = max(len(r.tokens) for r in requests)
    writer = Writer(model, requests, sampling, eos, seed, decode, limit or model.context)
    cache = Cache(scheduler.slots, scheduler.capacity, longest, writer.room(reply is not None))
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
            while reply is not None and (heard := told(scheduler.rows, requests, reply)):
                writer.read_on(cache, scheduler.rows, heard)
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
