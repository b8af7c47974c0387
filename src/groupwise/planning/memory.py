"""How much memory a run will need, by part, from its shapes alone: formulas, no model and no machine.

A step has two phases that peak apart. Writing answers holds the weights, keys and values; learning holds
the weights, gradients and activations. What both hold (weights, Adam's moments) counts once, and the
peak is that and the larger phase.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from groupwise.engine.cache import GROWTH
from groupwise.engine.scheduler import Request, Scheduler
from groupwise.engine.scoring import LOGIT_ROWS
from groupwise.engine.writer import PREFILL_TOKENS
from groupwise.planning.sizes import KEPT, WORKING, Kept, Shape, Working, Workload


@dataclass(frozen=True, slots=True)
class Part:
    """One entry of the estimate."""

    name: str
    bytes: int
    note: str


@dataclass(frozen=True, slots=True)
class Memory:
    """An estimate, by part."""

    always: tuple[Part, ...]
    generating: tuple[Part, ...]
    learning: tuple[Part, ...]

    @property
    def peak(self) -> int:
        return _sum(self.always) + max(_sum(self.generating), _sum(self.learning))


def memory(shape: Shape, work: Workload, kept: Kept = KEPT, working: Working = WORKING) -> Memory:
    """Bytes by part, with answers of full length."""
    always = tuple(part for part in _always(shape, work, working) if part.bytes)
    phases = []
    for parts in (_generating(shape, work, working), _learning(shape, work, kept, working)):
        slack = Part("allocator", int(working.slack * _sum(parts)), "gaps between blocks")
        phases.append(tuple(part for part in (*parts, slack) if part.bytes))
    return Memory(always, *phases)


def _sum(parts: tuple[Part, ...]) -> int:
    return sum(part.bytes for part in parts)


# ---------------------------------------------------------------- what both phases hold


def _trained(shape: Shape, work: Workload) -> int:
    return work.lora_rank * shape.adapted if work.lora_rank else shape.parameters


def _always(shape: Shape, work: Workload, working: Working) -> Iterator[Part]:
    trained, width = _trained(shape, work), work.number_bytes
    yield Part("process", work.process + working.libraries, "Python, torch, transformers")
    yield Part("weights", shape.parameters * width, f"{_count(shape.parameters)} x {width} bytes")
    if work.lora_rank:
        yield Part("adapter", trained * 4, f"rank {work.lora_rank}: {_count(trained)} x 4 bytes")
    elif width < 4:
        yield Part("master weights", trained * 4, "float32, which the optimizer moves")
    yield Part("optimizer", trained * 8, f"two moments of {_count(trained)}")
    if work.reference and not work.lora_rank:
        yield Part("reference", shape.parameters * width, "the frozen policy of the KL term")
    yield Part("other policies", work.others, "frozen, of --seats")
    yield Part("rewards' models", work.judges, "frozen, of --reward and --gold")


def _count(n: int) -> str:
    return f"{n / 1e9:.2f} G" if n >= 1e9 else f"{n / 1e6:.1f} M"


# ---------------------------------------------------------------- writing answers


def _generating(shape: Shape, work: Workload, working: Working) -> tuple[Part, ...]:
    sizes = [_rooms(work.prompts, work.group_size, work), _rooms(work.held_out, 1, work)]
    slots, rows = max(sizes, key=lambda size: size[0] * work.prompt_tokens + size[1] * work.max_new_tokens)
    # room for an answer doubles as it grows, and the smaller blocks are left behind as holes
    own = max(work.max_new_tokens, 2 * work.max_new_tokens - GROWTH)
    places = slots * work.prompt_tokens + rows * own
    numbers = 2 * shape.layers * shape.kv_heads * shape.head_size * places
    read = min(slots * work.prompt_tokens, PREFILL_TOKENS + work.prompt_tokens)
    prefill = working.prefill * read * (shape.hidden + shape.intermediate) * work.number_bytes
    choice = working.choose_copies * max(rows for _, rows in sizes) * shape.vocabulary * 4
    where = f"{slots} prompts of {work.prompt_tokens}, {rows} answers of {work.max_new_tokens} tokens"
    return (
        Part("keys and values", numbers * work.number_bytes, where),
        Part("reading, choosing", int(max(prefill, choice)), "one layer's work, logits of one token each"),
    )


def _rooms(prompts: int, count: int, work: Workload) -> tuple[int, int]:
    """(prompts, answers) that have memory at the same time."""
    scheduler = Scheduler([Request((0,), count, i) for i in range(prompts)], work.max_rows)
    return scheduler.slots, scheduler.capacity


# ---------------------------------------------------------------- learning


@dataclass(frozen=True, slots=True)
class Microbatch:
    """A micro-batch of answers of full length."""

    trees: int
    answers: int
    tokens: int
    """Packed: a prompt counts once for its answers, an answer's last token is not read."""
    keys: int
    """That attention gathers: an answer's are its own and its prompt's."""
    pairs: int
    """Queries times keys, of every prompt and every answer."""


def microbatches(work: Workload) -> list[Microbatch]:
    """How a step of full-length answers is cut: groups stay whole where they fit; see `packing`."""
    prompt, own, budget = work.prompt_tokens, work.max_new_tokens - 1, work.tokens_per_microbatch
    whole = prompt + work.group_size * own
    cuts: list[tuple[int, int]] = []  # (prompts, answers)
    used = 0
    for answer in range(work.prompts * work.group_size):
        first = answer % work.group_size == 0
        begins = first and used + whole > budget >= whole
        if not cuts or begins or used + own + first * prompt > budget:
            cuts.append((0, 0))
            used, first = 0, True
        trees, answers = cuts[-1]
        cuts[-1] = (trees + first, answers + 1)
        used += own + first * prompt
    return [_microbatch(trees, answers, prompt, own) for trees, answers in cuts]


def _microbatch(trees: int, answers: int, prompt: int, own: int) -> Microbatch:
    tokens = trees * prompt + answers * own
    keys = trees * prompt + answers * (prompt + own)
    pairs = trees * prompt**2 + answers * own * (prompt + own)
    return Microbatch(trees, answers, tokens, keys, pairs)


def _learning(shape: Shape, work: Workload, kept: Kept, working: Working) -> tuple[Part, ...]:
    pieces = microbatches(work)
    largest = max(pieces, key=lambda piece: _activations(shape, work, piece, kept))
    # where answers differ in length, or teach nothing and are left out, others fill a micro-batch up
    tokens = min(work.tokens_per_microbatch, sum(piece.tokens for piece in pieces))
    activations = int(_activations(shape, work, largest, kept) * tokens / largest.tokens)
    decisions = min(LOGIT_ROWS, largest.answers * work.max_new_tokens)
    logits = int(working.logit_copies * decisions * shape.vocabulary * 4)
    if not work.lora_rank:  # the head's own gradient, before it is added to the embedding's
        logits += shape.vocabulary * shape.hidden * work.number_bytes
    layer = int(working.layer_backward * tokens * shape.intermediate * work.number_bytes)
    trained = _trained(shape, work)
    gradients = trained * 4 + (trained * 2 if work.number_bytes < 4 and not work.lora_rank else 0)
    note = "float32" if gradients == trained * 4 else "float32, and those of the pass"
    if len(pieces) == 1:  # gradients grow as activations are freed, so only what exceeds them adds
        gradients = max(0, gradients - activations - logits)
        note = "beyond the activations, whose place they take"
    times = "once" if len(pieces) == 1 else f"{len(pieces)} times"
    piece = f"up to {tokens} tokens at a time, {times} a step"
    return (
        Part("gradients", gradients, note),
        Part("activations", activations, piece),
        Part("logits", max(logits, layer), f"{decisions} decisions at a time"),
    )


def _activations(shape: Shape, work: Workload, piece: Microbatch, kept: Kept) -> int:
    more = kept.adapter_intermediate if work.lora_rank else 0.0
    token = (
        kept.hidden * shape.hidden
        + (kept.intermediate + more) * shape.intermediate
        + kept.heads * shape.heads * shape.head_size
    )
    attended = kept.keys * shape.kv_heads * shape.head_size * piece.keys + kept.pairs * piece.pairs
    return int(shape.layers * work.number_bytes * (token * piece.tokens + attended))
