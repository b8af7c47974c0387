"""Decoding recorded once and repeated without Python, as on a GPU, gives the answers of plain decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from engine.replays import Replays
from groupwise.engine import burst, cache, writer
from groupwise.engine import generate as generate_module
from groupwise.engine.cache import GROWTH, Cache, RowState, Shape
from groupwise.engine.generate import generate
from groupwise.engine.graphs import Unrecordable, watched
from groupwise.engine.model import CausalLM
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Completion, Request

NEVER: frozenset[int] = frozenset()
LOOKS = tuple(name for name in tiny.ARCHITECTURES if name != "gpt2")
"""gpt2 with a pad token looks for it in its input, at every step."""


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Replays:
    """The recorder of the next call to `generate`, in bursts of 4 tokens."""
    replays = Replays()
    monkeypatch.setattr(generate_module, "RECORDERS", {"cpu": lambda: replays})
    monkeypatch.setattr(writer, "BURST", {"cpu": 4})
    return replays


def same(left: Sequence[Sequence[Completion]], right: Sequence[Sequence[Completion]]) -> None:
    for ours, theirs in zip(left, right, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert (one.tokens, one.stopped) == (other.tokens, other.stopped)
            assert one.logp == pytest.approx(other.logp, abs=1e-5)


def ragged(model: CausalLM, max_rows: int = 7) -> list[list[Completion]]:
    """Groups of 3 and 1 with prompts of 1 to 22 tokens, answers of up to 40; rows end and others join."""
    sizes = [(13, 3), (1, 1), (7, 3), (22, 3), (4, 1), (9, 3)]
    asked = [Request(tiny.prompt(n), count, i) for i, (n, count) in enumerate(sizes)]
    ends = frozenset(range(2, tiny.VOCABULARY, 12))
    return generate(model, asked, Sampling(40, max_rows=max_rows), eos=ends, seed=3)


def plainly(run: Callable[[], list[list[Completion]]]) -> list[list[Completion]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate_module, "RECORDERS", {})
        patch.setattr(writer, "BURST", {})
        return run()


# ---------------------------------------------------------------- the same answers


@pytest.mark.parametrize("name", LOOKS)
def test_recorded_answers_are_the_plain_ones(name: str, recorder: Replays) -> None:
    model = CausalLM(tiny.plain(name))
    plain = plainly(lambda: ragged(model))
    lengths = {len(answer.tokens) for group in plain for answer in group}
    assert len(lengths) > 4, "ragged"
    assert max(lengths) > GROWTH, "memory has grown in between"
    same(ragged(model), plain)
    assert 1 < recorder.recorded < recorder.replayed / 4, "most steps are repetitions"


def test_all_rows_in_order_need_no_grid(recorder: Replays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups of four: the shape that a training step begins with."""
    shapes: list[Shape] = []
    of = Shape.of.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(Shape, "of", classmethod(lambda *a, **k: shapes.append(of(*a, **k)) or shapes[-1]))
    model = CausalLM(tiny.plain("gemma2"))
    asked = [Request(tiny.prompt(6 + i), 4, i) for i in range(2)]
    run = lambda: generate(model, asked, Sampling(12), eos=NEVER, seed=1)  # noqa: E731
    same(run(), plainly(run))
    assert shapes[0] == Shape(8, 2, 4, 12 + 3, full=True)
    assert recorder.recorded == 1, "one shape, one recording"


def test_an_answer_that_passes_the_context_in_its_burst(recorder: Replays) -> None:
    """gpt2's learned positions end there: without a pad token it is recordable."""
    plain = tiny.plain("gpt2")
    plain.config.pad_token_id = None
    model = CausalLM(plain)
    asked = [Request(tiny.prompt(tiny.CONTEXT - 6), 2, 0), Request(tiny.prompt(3), 2, 1)]
    run = lambda: generate(model, asked, Sampling(6), eos=NEVER, seed=1)  # noqa: E731
    same(run(), plainly(run))
    assert recorder.replayed


@pytest.mark.parametrize("max_rows", [1, 2, 11])
def test_shapes_are_rounded_up_but_not_beyond_the_room(max_rows: int, recorder: Replays) -> None:
    model = CausalLM(tiny.plain("gpt-oss"))
    same(ragged(model, max_rows), plainly(lambda: ragged(model, max_rows)))


def test_few_shapes_occur() -> None:
    memory = Cache(slots=6, rows=12, longest_prompt=5, longest_answer=100)
    rows = [RowState(slot=i // 2, prompt=5, length=3) for i in range(9)]
    shape = Shape.of(memory, rows, 4, padded=True)
    assert shape == Shape(rows=12, slots=6, width=2, length=GROWTH, full=False)
    assert Shape.of(memory, rows[:5], 9, padded=True) == Shape(8, 4, 2, GROWTH, full=False)
    assert Shape.of(memory, rows[:5], 9, padded=False) == Shape(5, 3, 2, 3 + 9, full=False)
    assert Shape.of(memory, rows[:4], 14, padded=False) == Shape(4, 2, 2, 3 + 14, full=True)


# ---------------------------------------------------------------- what cannot be recorded


def test_a_model_that_looks_at_its_input_decodes_without_a_recording(recorder: Replays) -> None:
    model = CausalLM(tiny.plain("gpt2"))
    plain = plainly(lambda: ragged(model))
    with pytest.warns(UserWarning, match="without recording: .* waits for a value"):
        same(ragged(model), plain)
    assert (recorder.recorded, recorder.replayed) == (0, 0)


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.clone().index_put_((x > 0,), torch.tensor(0.0)),
        lambda x: x.masked_select(x > 0),
        lambda x: torch.equal(x, x),
        lambda x: x.long().unique(),
        lambda x: x.repeat_interleave((x > 0).long()),
        lambda x: x.to("meta"),
    ],
)
def test_waiting_for_the_device_is_noticed(look: Callable[[Tensor], Any]) -> None:
    with pytest.raises(Unrecordable, match=r"waits for a value|copies between cpu and meta"):
        watched(lambda: look(torch.ones(3)))


def test_indexing_by_numbers_is_no_wait() -> None:
    x, at = torch.ones(3), torch.tensor([0, 2])
    watched(lambda: x[at].add_(1).masked_fill_(x[at] > 0, 0.0))


def test_a_step_that_counts_in_python_is_not_believed(
    recorder: Replays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number of the host's that changes from step to step would be frozen in the recording."""
    model = CausalLM(tiny.plain("llama"))
    plain = plainly(lambda: ragged(model))
    hidden, lengths = CausalLM.hidden, []

    def counting(self: CausalLM, tokens: Tensor, positions: Tensor, attend: Any) -> Tensor:
        if isinstance(attend, cache.Decode):
            lengths.append(int(attend._places.own.detach().numpy().max()))  # unseen by the watch
            positions = positions - attend._places.own.max() + lengths[-1]
        return hidden(self, tokens, positions, attend)

    monkeypatch.setattr(CausalLM, "hidden", counting)
    with pytest.warns(UserWarning, match="does not repeat it"):
        same(ragged(model), plain)
    assert recorder.recorded == 1


def test_the_recorded_step_is_watched_in_every_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the families' steps wait for the device: known, so that a new one is noticed."""
    monkeypatch.setattr(generate_module, "RECORDERS", {"cpu": Replays})
    refused = []
    monkeypatch.setattr(burst.warnings, "warn", lambda *_, **__: refused.append(name))
    for name in tiny.ARCHITECTURES:
        generate(CausalLM(tiny.plain(name)), [Request((5, 6), 2, 0)], Sampling(4), eos=NEVER)
    assert refused == ["gpt2"]
