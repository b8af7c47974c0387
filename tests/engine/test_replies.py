"""Conversations in the engine: going on from memory is what plain transformers gives for the whole text.

The oracle reads the whole conversation anew, alone and without a cache, for every token.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from groupwise.engine import writer
from groupwise.engine.cache import GROWTH
from groupwise.engine.generate import generate
from groupwise.engine.model import CausalLM
from groupwise.engine.replies import Said
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Completion, Request
from groupwise.randomness import uniforms
from groupwise.trajectory import StopReason

FEW = ("llama", "mistral", "gemma2", "gemma3", "gpt2", "gpt-oss")
"""One of each kind of attention: plain, windows, softcap, absolute positions, sinks."""
EOS = frozenset(range(2, 97, 5))
"""About one token in five ends a turn: turns are ragged."""
REPLIES = (4, 1, 9, 2)
"""Tokens of the replies, turn by turn; below and above the windows of 5 and 6."""

Heard = dict[tuple[int, int], list[Said]]


@functools.cache
def served(name: str) -> CausalLM:
    return CausalLM(tiny.plain(name))


@functools.cache
def oracle(name: str) -> Any:
    return tiny.plain(name)


def reply_to(said: Said, turn: int) -> tuple[int, ...] | None:
    """Depends on who speaks and when; siblings hear replies of other lengths."""
    if turn >= 2 + said.sample % 3:
        return None
    return tiny.prompt(REPLIES[(turn + said.sample) % 4], 100 * said.request + 10 * said.sample + turn)


def talk(
    name: str,
    asked: Sequence[Request],
    sampling: Sampling,
    reply: Callable[[Said, int], tuple[int, ...] | None] = reply_to,
    **options: Any,
) -> tuple[list[list[Completion]], Heard]:
    """The completions, and every turn as it was told of."""
    heard: Heard = defaultdict(list)

    def answer(every: Sequence[Said]) -> list[tuple[int, ...] | None]:
        replies = []
        for said in every:
            turns = heard[said.request, said.sample]
            turns.append(said)
            replies.append(reply(said, len(turns)))
        return replies

    return generate(served(name), asked, sampling, eos=EOS, reply=answer, **options), heard


def asked(count: int = 3) -> list[Request]:
    return [Request(tiny.prompt(n), count, 10 + i) for i, n in enumerate((13, 1, 7))]


def decided(answer: Completion) -> list[int]:
    return [i for i, value in enumerate(answer.logp) if not math.isnan(value)]


@torch.no_grad()
def plain_logits(name: str, request: Request, answer: Completion) -> torch.Tensor:
    """[T, V] from which every own token would be chosen."""
    return tiny.logits(oracle(name), request.tokens + answer.tokens)[len(request.tokens) - 1 : -1]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_log_probs_are_those_of_a_plain_forward_over_the_whole_conversation(
    name: str, temperature: float
) -> None:
    requests = asked()
    answers, _ = talk(name, requests, Sampling(8, temperature), seed=3)
    for request, group in zip(requests, answers, strict=True):
        for answer in group:
            logp = (plain_logits(name, request, answer) / temperature).log_softmax(-1)
            own = decided(answer)
            expected = logp[own, torch.tensor(answer.tokens)[own]]
            np.testing.assert_allclose(np.array(answer.logp)[own], expected, rtol=1e-5, atol=1e-5)
            assert len(own) < len(answer.tokens), "something was read"


@pytest.mark.parametrize("name", FEW)
def test_tokens_are_the_plain_models_quantiles_at_their_place_in_the_conversation(name: str) -> None:
    """A second turn that began to count anew would draw the first turn's random numbers again."""
    requests = asked()
    answers, _ = talk(name, requests, Sampling(8, 0.8), seed=7)
    for request, group in zip(requests, answers, strict=True):
        for sample, answer in enumerate(group):
            mass = (plain_logits(name, request, answer) / 0.8).double().softmax(-1).numpy()
            cdf = np.pad(mass.cumsum(-1), ((0, 0), (1, 0)))
            at = np.array(decided(answer))
            u = uniforms(7, np.array(request.ordinal), np.array(sample), at)
            tokens = np.array(answer.tokens)[at]
            assert (cdf[at, tokens] <= u + 1e-5).all()
            assert (u - 1e-5 < cdf[at, tokens + 1]).all()


@pytest.mark.parametrize("max_rows", [1, 2, 5])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_conversations_do_not_depend_on_how_many_are_held_at_once(name: str, max_rows: int) -> None:
    """Rows move and slots change hands while others are in the middle of a conversation."""
    together, _ = talk(name, asked(5), Sampling(12), seed=1)
    few, _ = talk(name, asked(5), Sampling(12, max_rows=max_rows), seed=1)
    assert [[(c.tokens, c.stopped) for c in g] for g in few] == [
        [(c.tokens, c.stopped) for c in g] for g in together
    ]
    assert len({len(c.tokens) for g in together for c in g}) > 4, "ragged"


def test_a_turn_is_told_once_with_its_own_decisions_only() -> None:
    """What a completion holds is the turns and the replies, in order, and nothing else."""
    answers, heard = talk("llama", asked(), Sampling(8), seed=3)
    for i, group in enumerate(answers):
        for j, answer in enumerate(group):
            whole: list[int] = []
            for turn, said in enumerate(heard[i, j], 1):
                whole += said.tokens
                assert not any(map(math.isnan, said.logp))
                assert (said.stopped is StopReason.FINISHED) == (said.tokens[-1] in EOS)
                whole += reply_to(said, turn) or ()
            assert list(answer.tokens) == whole


def test_every_token_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory lives on from turn to turn: a prompt is read once for its group, and nothing said is read
    again. Reading each turn's whole history anew would be several times as much."""
    read: list[int] = []
    plain = CausalLM.hidden

    def counted(self: CausalLM, tokens: torch.Tensor, *more: Any) -> torch.Tensor:
        read.append(len(tokens))
        return plain(self, tokens, *more)

    monkeypatch.setattr(CausalLM, "hidden", counted)
    requests = asked(5)
    answers, heard = talk("llama", requests, Sampling(8), seed=3)
    own = sum(len(answer.tokens) - 1 for group in answers for answer in group)  # the last is only chosen
    assert sum(read) == sum(len(request.tokens) for request in requests) + own
    assert sum(len(turns) for turns in heard.values()) > 2 * len(heard), "of several turns"


def test_a_long_conversation_outgrows_a_rows_first_memory() -> None:
    request = Request(tiny.prompt(5), 1, 0)

    def reply(said: Said, turn: int) -> tuple[int, ...] | None:
        return tiny.prompt(20, turn) if turn < 4 else None

    ((answer,),), _ = talk("llama", [request], Sampling(6, 0.0), reply)
    assert len(answer.tokens) > 60 > GROWTH
    own = decided(answer)
    best = plain_logits("llama", request, answer).argmax(-1)
    assert best[own].tolist() == np.array(answer.tokens)[own].tolist()


def test_the_limit_of_the_whole_cuts_a_turn() -> None:
    """A conversation never outgrows the context; a turn that the limit cuts says so."""
    request = Request(tiny.prompt(5), 8, 0)

    def reply(said: Said, turn: int) -> tuple[int, ...] | None:
        return tiny.prompt(8, turn) if turn < 2 and len(said.tokens) < 5 else None

    (group,), heard = talk("llama", [request], Sampling(16), reply, limit=24, seed=2)
    for answer in group:
        assert len(answer.tokens) + 5 <= 24
    assert any(turns[-1].stopped is StopReason.LENGTH for turns in heard.values())


def test_a_stop_string_in_what_was_read_ends_nothing() -> None:
    """The tail that is looked at is the turn's own, however short the turn."""
    request = Request(tiny.prompt(5), 3, 0)
    words = tiny.tokenizer()
    stop = words.decode([50, 51])

    def reply(said: Said, turn: int) -> tuple[int, ...] | None:
        return (9, 50, 51) if turn < 3 else None

    _, heard = talk("llama", [request], Sampling(4, stop=(stop,)), reply, decode=words.decode, seed=2)
    assert any(len(said.tokens) > 1 for turns in heard.values() for said in turns[1:])


def test_much_that_is_said_at_once_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = talk("llama", asked(), Sampling(8), seed=3)
    monkeypatch.setattr(writer, "PREFILL_TOKENS", 12)
    parts, _ = talk("llama", asked(), Sampling(8), seed=3)
    assert [[c.tokens for c in g] for g in parts] == [[c.tokens for c in g] for g in whole]
