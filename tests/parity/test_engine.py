"""What the engine writes is what plain transformers writes for each prompt alone, model by model.

The oracle never shares a batch, a cache or an attention function with the engine: a separate copy of
the model reads the whole sequence anew for every token.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from groupwise.engine import writer
from groupwise.engine.cache import GROWTH
from groupwise.engine.generate import PromptError, generate
from groupwise.engine.model import CausalLM, eos_ids
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Completion, Request
from groupwise.randomness import uniforms
from groupwise.trajectory import StopReason

NEVER: frozenset[int] = frozenset()
LENGTHS = (13, 1, 7, 22)
"""Ragged: below, about and far above the sliding windows of 5 and 6."""
FEW = ("llama", "gemma2", "gemma3", "gpt2", "gpt-oss")
"""One of each kind of attention: plain, softcap, windows, absolute positions, sinks."""


@functools.cache
def served(name: str) -> CausalLM:
    return CausalLM(tiny.plain(name))


@functools.cache
def oracle(name: str) -> Any:
    return tiny.plain(name)


def requests(count: int = 1, lengths: Sequence[int] = LENGTHS) -> list[Request]:
    return [Request(tiny.prompt(n), count, 10 + i) for i, n in enumerate(lengths)]


@torch.no_grad()
def plain_logits(name: str, request: Request, answer: Completion) -> Tensor:
    """[T, V]: the logits from which each token of the answer was chosen."""
    every = tiny.logits(oracle(name), request.tokens + answer.tokens)
    return every[len(request.tokens) - 1 : -1]


def plain_logp(name: str, request: Request, answer: Completion, temperature: float) -> Tensor:
    logp = (plain_logits(name, request, answer) / (temperature or 1.0)).log_softmax(-1)
    return logp.gather(-1, torch.tensor(answer.tokens)[:, None])[:, 0]


def same(left: Sequence[Sequence[Completion]], right: Sequence[Sequence[Completion]]) -> None:
    """The same tokens and reasons, and log-probs that differ by rounding only."""
    assert [[(c.tokens, c.stopped) for c in group] for group in left] == [
        [(c.tokens, c.stopped) for c in group] for group in right
    ]
    for ours, theirs in zip(left, right, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.logp == pytest.approx(other.logp, abs=1e-5)


# ---------------------------------------------------------------- equal to plain transformers


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_greedy_answers_are_those_of_each_prompt_alone(name: str) -> None:
    """40 tokens: past the windows, and past two doublings of a row's memory."""
    assert GROWTH < 40 / 2
    asked = requests()
    answers = generate(served(name), asked, Sampling(40, temperature=0.0), eos=NEVER)
    for request, (answer,) in zip(asked, answers, strict=True):
        assert list(answer.tokens) == tiny.greedy(oracle(name), request.tokens, 40)
        expected = plain_logp(name, request, answer, 1.0)
        assert answer.logp == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-5), (
            "greedy log-prob at temperature 1"
        )
        assert answer.stopped is StopReason.LENGTH


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_log_probs_are_those_of_a_plain_forward(name: str, temperature: float) -> None:
    """Siblings share one prefilled prompt, groups stand at different lengths; none of it shows."""
    asked = requests(count=3)
    answers = generate(served(name), asked, Sampling(20, temperature), eos=NEVER, seed=5)
    for request, group in zip(asked, answers, strict=True):
        assert len({answer.tokens for answer in group}) == 3, "siblings are different answers"
        for answer in group:
            expected = plain_logp(name, request, answer, temperature)
            assert answer.logp == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", FEW)
def test_tokens_are_the_plain_models_quantiles(name: str) -> None:
    """Token t of an answer is where the plain model's cdf passes u(seed, ordinal, sample, t)."""
    asked, seed, temperature = requests(count=2), 7, 0.8
    answers = generate(served(name), asked, Sampling(15, temperature), eos=NEVER, seed=seed)
    for request, group in zip(asked, answers, strict=True):
        for sample, answer in enumerate(group):
            mass = (plain_logits(name, request, answer) / temperature).double().softmax(-1).numpy()
            cdf = np.pad(mass.cumsum(-1), ((0, 0), (1, 0)))
            at = np.arange(len(answer.tokens))
            u = uniforms(seed, np.array(request.ordinal), np.array(sample), at)
            tokens = np.array(answer.tokens)
            assert (cdf[at, tokens] <= u + 1e-5).all()
            assert (u - 1e-5 < cdf[at, tokens + 1]).all()


# ---------------------------------------------------------------- company changes nothing


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("max_rows", [1, 3, 5])
def test_answers_do_not_depend_on_how_many_are_written_at_once(name: str, max_rows: int) -> None:
    """Rows leave at different times and waiting ones take their places, slots and memory."""
    asked = requests(count=4)
    eos = frozenset(range(2, 97, 6))  # about one token in six ends an answer: lengths are ragged
    together = generate(served(name), asked, Sampling(30, max_rows=128), eos=eos, seed=1)
    assert len({len(c.tokens) for group in together for c in group}) > 4, "ragged enough to test refilling"
    few = generate(served(name), asked, Sampling(30, max_rows=max_rows), eos=eos, seed=1)
    same(few, together)


@pytest.mark.parametrize("name", FEW)
def test_answers_do_not_depend_on_the_other_requests(name: str) -> None:
    asked = requests(count=3)
    sampling = Sampling(12, max_rows=7)
    together = generate(served(name), asked, sampling, eos=NEVER, seed=2)
    same(generate(served(name), asked[::-1], sampling, eos=NEVER, seed=2)[::-1], together)
    more = [Request(tiny.prompt(30), 5, 99), *asked]
    same(generate(served(name), more, sampling, eos=NEVER, seed=2)[1:], together)
    for request, group in zip(asked, together, strict=True):
        same(generate(served(name), [request], sampling, eos=NEVER, seed=2), [group])


def test_samples_continue_where_an_earlier_request_stopped() -> None:
    """`first_sample`: asking for more answers later gives those that would have come."""
    (request,) = requests(count=5, lengths=[9])
    (whole,) = generate(served("llama"), [request], Sampling(8), eos=NEVER, seed=3)
    later = Request(request.tokens, 2, request.ordinal, first_sample=3)
    same(generate(served("llama"), [later], Sampling(8), eos=NEVER, seed=3), [whole[3:]])


def test_seed_and_ordinal_name_the_answer() -> None:
    tokens = tiny.prompt(9)
    first = generate(served("llama"), [Request(tokens, 1, 0)], Sampling(8), eos=NEVER, seed=3)
    other_seed = generate(served("llama"), [Request(tokens, 1, 0)], Sampling(8), eos=NEVER, seed=4)
    other_ordinal = generate(served("llama"), [Request(tokens, 1, 1)], Sampling(8), eos=NEVER, seed=3)
    assert len({answers[0][0].tokens for answers in (first, other_seed, other_ordinal)}) == 3


def test_prefilling_in_several_forwards_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests(count=2)
    together = generate(served("gemma3"), asked, Sampling(6), eos=NEVER)
    forwards = []
    hidden = CausalLM.hidden

    def counted(self: CausalLM, tokens: Tensor, *rest: Any) -> Tensor:
        forwards.append(len(tokens))
        return hidden(self, tokens, *rest)

    monkeypatch.setattr(CausalLM, "hidden", counted)
    monkeypatch.setattr(writer, "PREFILL_TOKENS", 15)
    same(generate(served("gemma3"), asked, Sampling(6), eos=NEVER), together)
    assert forwards[:3] == [13 + 1, 7, 22], "at most 15 tokens, but never less than a prompt"
    assert forwards[3:] == [8] * 5, "one prompt forward for both siblings, and then 8 rows at a time"


def test_a_group_larger_than_the_room_is_written_in_parts() -> None:
    asked = [Request(tiny.prompt(9), 11, 0), Request(tiny.prompt(4), 2, 1)]
    together = generate(served("llama"), asked, Sampling(9), eos=NEVER)
    same(generate(served("llama"), asked, Sampling(9, max_rows=4), eos=NEVER), together)
    assert len({c.tokens for c in together[0]}) == 11


# ---------------------------------------------------------------- stopping


def test_an_end_token_stops_its_row_alone_and_stays_in_the_answer() -> None:
    (request,) = requests(count=6, lengths=[9])
    (free,) = generate(served("llama"), [request], Sampling(20), eos=NEVER)
    ends = {free[0].tokens[4], free[1].tokens[9]}
    (answers,) = generate(served("llama"), [request], Sampling(20), eos=frozenset(ends))
    for before, answer in zip(free, answers, strict=True):
        first = next((i for i, t in enumerate(before.tokens) if t in ends), None)
        if first is None:
            assert (answer.tokens, answer.stopped) == (before.tokens, StopReason.LENGTH)
        else:
            assert (answer.tokens, answer.stopped) == (before.tokens[: first + 1], StopReason.FINISHED)
    reasons = {answer.stopped for answer in answers}
    assert reasons == {StopReason.FINISHED, StopReason.LENGTH}, "the case covers both"


def test_an_end_token_at_the_limit_counts_as_finished() -> None:
    (request,) = requests(lengths=[9])
    ((free,),) = generate(served("llama"), [request], Sampling(5), eos=NEVER)
    last = frozenset({free.tokens[-1]}) - set(free.tokens[:-1])
    assert last
    ((answer,),) = generate(served("llama"), [request], Sampling(5), eos=last)
    assert (answer.tokens, answer.stopped) == (free.tokens, StopReason.FINISHED)


def test_every_answer_may_be_one_token() -> None:
    """Rows that finish at prefill never reach a decoding step."""
    asked = requests(count=3)
    answers = generate(served("llama"), asked, Sampling(1, max_rows=4), eos=NEVER)
    assert [[len(c.tokens) for c in group] for group in answers] == [[1] * 3] * 4
    every = generate(served("llama"), asked, Sampling(9, max_rows=4), eos=frozenset(range(97)))
    assert [[c.tokens for c in g] for g in every] == [[c.tokens for c in g] for g in answers]
    assert {c.stopped for group in every for c in group} == {StopReason.FINISHED}


def test_stop_texts_end_an_answer_also_across_tokens() -> None:
    """A stop text may begin and end inside a token."""

    def decode(tokens: list[int]) -> str:
        return "".join(f"<{t:02d}>" for t in tokens)

    (request,) = requests(count=4, lengths=[9])
    (free,) = generate(served("llama"), [request], Sampling(20), eos=NEVER)
    a, b, c = free[0].tokens[5:8]
    stop = decode([a, b, c])[1:-1]  # three tokens, the outer two only in part
    sampling = Sampling(20, stop=("nowhere", stop))
    (answers,) = generate(served("llama"), [request], sampling, eos=NEVER, decode=decode)
    assert (answers[0].tokens, answers[0].stopped) == (free[0].tokens[:8], StopReason.FINISHED)
    for before, answer in zip(free[1:], answers[1:], strict=True):
        assert (answer.tokens, answer.stopped) == (before.tokens, StopReason.LENGTH)


def test_stop_texts_with_the_tokenizers_own_decoding() -> None:
    words = tiny.tokenizer()
    (request,) = requests(count=1, lengths=[9])
    ((free,),) = generate(served("llama"), [request], Sampling(20), eos=NEVER)
    sampling = Sampling(20, stop=(words.decode(free.tokens[3:5]),))
    ((answer,),) = generate(served("llama"), [request], sampling, eos=NEVER, decode=words.decode)
    assert (answer.tokens, answer.stopped) == (free.tokens[:5], StopReason.FINISHED)


def test_stop_texts_need_a_decoder() -> None:
    with pytest.raises(ValueError, match="decode"):
        generate(served("llama"), requests(), Sampling(4, stop=("x",)), eos=NEVER)


def test_end_ids_are_gathered_from_model_and_tokenizer() -> None:
    model = tiny.plain("llama")
    model.generation_config.eos_token_id = [5, 6]
    assert eos_ids(model) == {2, 5, 6}
    words = tiny.tokenizer()
    words.eos_token = "w9"
    assert eos_ids(model, words) == {2, 5, 6, 9}
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    assert eos_ids(model) == frozenset()


# ---------------------------------------------------------------- edges


def test_no_requests_and_no_answers() -> None:
    assert generate(served("llama"), [], Sampling(4), eos=NEVER) == []
    none, one = generate(served("llama"), [Request((5,), 0, 0), Request((5,), 1, 1)], Sampling(4), eos=NEVER)
    assert (none, len(one)) == ([], 1)
    assert generate(served("llama"), [Request((5,), 0, 0)], Sampling(4), eos=NEVER) == [[]]


def test_a_prompt_without_room_for_an_answer_is_refused_with_the_numbers() -> None:
    fits = Request(tiny.prompt(tiny.CONTEXT - 4), 1, 8)
    ((answer,),) = generate(served("gpt2"), [fits], Sampling(4, temperature=0.0), eos=NEVER)
    assert list(answer.tokens) == tiny.greedy(oracle("gpt2"), fits.tokens, 4)
    with pytest.raises(PromptError, match=r"prompt 8 has 124 tokens; with 5 .* 129, .* reads 128"):
        generate(served("gpt2"), [fits], Sampling(5), eos=NEVER)


def test_an_empty_prompt_is_refused_by_its_number() -> None:
    with pytest.raises(PromptError, match="prompt 31 is empty"):
        generate(served("llama"), [Request((5,), 1, 30), Request((), 1, 31)], Sampling(4), eos=NEVER)


def test_progress_counts_every_answer_once() -> None:
    seen: list[tuple[int, int]] = []
    eos = frozenset(range(2, 97, 6))
    generate(
        served("llama"),
        requests(count=4),
        Sampling(20, max_rows=5),
        eos=eos,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [total for _, total in seen] == [16] * len(seen)
    counts = [done for done, _ in seen]
    assert counts == sorted(set(counts))
    assert counts[-1] == 16


def test_generating_leaves_the_model_as_it_was() -> None:
    model = served("llama").model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    generate(served("llama"), requests(), Sampling(4), eos=NEVER)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


# ---------------------------------------------------------------- bursts, as a GPU decodes


class Waits(TorchDispatchMode):
    """Counts operations for which a GPU would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in (
            "aten::_local_scalar_dense",
            "aten::nonzero",
            "aten::equal",
            "aten::unique2",
        ):
            self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("burst", [2, 5, 16])
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_looking_seldom_changes_no_answer(name: str, burst: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows end within a burst, by end-of-sequence and by length, and others take their places."""
    model = CausalLM(tiny.plain(name))
    requests = [Request(tuple(range(3 + i, 8 + 2 * i)), 3, i) for i in range(5)]
    sampling = Sampling(max_new_tokens=13, max_rows=6)
    eos = frozenset(range(0, tiny.VOCABULARY, 11))
    plain = generate(model, requests, sampling, eos=eos, seed=5)
    monkeypatch.setattr("groupwise.engine.writer.BURST", {"cpu": burst})
    rare = generate(model, requests, sampling, eos=eos, seed=5)
    assert len({len(c.tokens) for group in plain for c in group}) > 3, "ragged"
    for group, other in zip(plain, rare, strict=True):
        for one, two in zip(group, other, strict=True):
            assert (one.tokens, one.stopped) == (two.tokens, two.stopped)
            assert one.logp == pytest.approx(two.logp, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt-oss"])
def test_within_a_burst_nothing_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More tokens, no more waits: what remains is once a burst."""
    model = CausalLM(tiny.plain(name))
    requests = [Request(tuple(range(3, 9)), 4, i) for i in range(2)]
    monkeypatch.setattr("groupwise.engine.writer.BURST", {"cpu": 64})
    waits = []
    for tokens in (2, 30):
        with Waits() as counted:
            generate(model, requests, Sampling(tokens), eos=frozenset(), seed=1)
        waits.append(len(counted.names))
    assert waits[0] == waits[1]


def test_logits_that_are_not_numbers_are_refused() -> None:
    model = CausalLM(tiny.plain("llama"))
    with torch.no_grad():
        model.model.lm_head.weight[3] = math.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        generate(model, [Request((3, 4, 5), 2, 0)], Sampling(4), eos=frozenset())
