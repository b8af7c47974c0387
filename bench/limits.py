"""How near our step comes to what the machine can do: shares of its product rate and of its bandwidth.

    python bench/limits.py

Measures the machine (matrix products in the dtype that the model computes in, reading memory) and then
one learner step and one decode step of the *short* workload, in the same process. Counted is the useful
work alone, so a share of 1 is out of reach:
    learner  6 FLOPs for each weight of the layers and each packed token, 6 for each weight of the head
             and each decision (forward 2, backward 4). Not counted: recomputed logits, attention scores,
             norms, softmax, the optimizer.
    decode   2 FLOPs for each weight and row; bytes: every weight once, and the keys and values of each
             prompt once for its group and of each row's own answer, at half its length.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import record
from groupwise import DAPO, Prompt, advantages, packing
from groupwise.allocator import keep_freed_memory
from groupwise.engine.generate import generate
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Request
from groupwise.precision import best_device, best_dtype
from groupwise.rewards.scoring import TrainerState, score
from groupwise.settings import LANGUAGE
from groupwise.trajectory import Batch, Group
from ours import DEFAULT_MODEL, REWARDS, Side, answer, prepare, synchronize
from workloads import SHORT, prompts_of

SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (2048, 576, 1536), (2048, 1536, 576))
"""Rows, inner size, columns: square ones, and those of a small model's layers."""
READ_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine can do at its best."""

    flops: float
    """FLOP/s of a matrix product."""
    bandwidth: float
    """Bytes/s read from memory."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a model."""

    layers: int
    """Weights of the layers, without embeddings and head."""
    head: int
    """Weights of the head: hidden size x vocabulary."""
    cache_bytes: int
    """Keys and values of one token."""
    weight_bytes: int
    """Bytes of one weight."""


@dataclass(frozen=True, slots=True)
class Share:
    """A piece of work, and how much of the machine it used."""

    seconds: float
    flops: float
    bytes: float | None
    """None: not the limit, not counted."""
    of_peak: float
    """Share of the machine's FLOP/s."""
    of_bandwidth: float | None
    bound_seconds: float
    """No machine of these limits does it in less."""


def share(machine: Machine, seconds: float, flops: float, moved: float | None = None) -> Share:
    """`moved` in bytes.

    >>> share(Machine(100.0, 10.0), seconds=4.0, flops=100.0, moved=20.0).of_bandwidth
    0.5
    """
    bound = max(flops / machine.flops, (moved or 0.0) / machine.bandwidth)
    bandwidth = None if moved is None else moved / seconds / machine.bandwidth
    return Share(seconds, flops, moved, flops / seconds / machine.flops, bandwidth, bound)


def learner_flops(sizes: Sizes, packed_tokens: int, decisions: int) -> float:
    return 6.0 * (sizes.layers * packed_tokens + sizes.head * decisions)


def decode_flops(sizes: Sizes, rows: int) -> float:
    return 2.0 * (sizes.layers + sizes.head) * rows


def decode_bytes(sizes: Sizes, cached_tokens: float) -> float:
    return (sizes.layers + sizes.head) * sizes.weight_bytes + cached_tokens * sizes.cache_bytes


# ---------------------------------------------------------------------------- measuring


def measure_machine(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> Machine:
    """The best repeat of the best shape, about `seconds` in all; the better of reading and copying."""
    flops = 0.0
    for rows, inner, columns in SHAPES:
        a = torch.randn(rows, inner, device=device, dtype=dtype)
        b = torch.randn(inner, columns, device=device, dtype=dtype)
        best = _best(lambda a=a, b=b: a @ b, seconds / len(SHAPES))
        flops = max(flops, 2.0 * rows * inner * columns / best)
    a = torch.zeros(READ_BYTES // 4, device=device)
    b = torch.zeros_like(a)
    read = READ_BYTES / _best(lambda: a.sum(), seconds / 2)
    copied = 2 * READ_BYTES / _best(lambda: b.copy_(a), seconds / 2)
    return Machine(flops, max(read, copied))


def _best(work: Callable[[], Any], seconds: float) -> float:
    """The shortest of the repeats that fit into `seconds`, and of three at least."""
    best, repeats, end = float("inf"), 0, time.perf_counter() + seconds
    while repeats < 3 or time.perf_counter() < end:
        best, repeats = min(best, timed(work)[0]), repeats + 1
    return best


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    synchronize()
    start = time.perf_counter()
    result = work()
    synchronize()
    return time.perf_counter() - start, result


def sizes_of(model: Any) -> Sizes:
    """Of a transformers causal LM with one head, tied or not."""
    config, head = model.config.get_text_config(), model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    outside = {id(p): p.numel() for part in (head, embedding) for p in part.parameters()}
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys = 2 * config.num_hidden_layers * config.num_key_value_heads * width
    weight = head.weight.element_size()
    every = sum(p.numel() for p in model.parameters())
    return Sizes(every - sum(outside.values()), head.weight.numel(), keys * weight, weight)


def measure(model: str) -> dict[str, Any]:
    """The machine, and one learner and one decode step after a step that warms up."""
    device = best_device()
    dtype = best_dtype(device)
    side = prepare(model, device, dtype)
    sizes = sizes_of(side.policy.module)
    _learn(side, 0)
    before = measure_machine(device, dtype)
    seconds, batch = _learn(side, 1)
    decode, cached = _decode(side)
    after = measure_machine(device, dtype)
    machine = Machine(max(before.flops, after.flops), max(before.bandwidth, after.bandwidth))
    packed = sum(len(piece.inputs.tokens) for piece in batch.pieces)
    rows = SHORT.answers
    return {
        "machine": record.machine() | {"threads": torch.get_num_threads()},
        "dtype": str(dtype).removeprefix("torch."),
        "limits": asdict(machine),
        "sizes": asdict(sizes),
        "packed_tokens": packed,
        "decisions": len(batch),
        "learner": asdict(share(machine, seconds, learner_flops(sizes, packed, len(batch)))),
        "decode": {"rows": rows}
        | asdict(share(machine, decode, decode_flops(sizes, rows), decode_bytes(sizes, cached))),
    }


def _learn(side: Side, step: int) -> tuple[float, Batch]:
    """Seconds of the learner's step on a workload's answers, and its batch."""
    cohort = score(answer(side, SHORT, _prompts(step)), REWARDS, TrainerState(step, step + 1)).cohort
    cohort: list[Group] = advantages.assign(cohort, DAPO.advantage, DAPO.rescale)
    batch = packing.pack(cohort, DAPO, side.policy, LANGUAGE.tokens_per_microbatch)
    assert batch is not None, "pseudo-random rewards differ within a group"
    return timed(lambda: side.learner.step(batch, DAPO, step + 1))[0], batch


def _decode(side: Side) -> tuple[float, float]:
    """(seconds of a decode step, tokens whose keys and values it reads), averages over an answer."""
    encode = side.loaded.tokenizer.encode
    requests = [Request(tuple(encode(p.content)), SHORT.group, p.ordinal) for p in _prompts(2)]

    def written(tokens: int) -> float:
        no_end = frozenset[int]()
        return timed(lambda: generate(side.policy.model, requests, Sampling(tokens), eos=no_end))[0]

    steps = SHORT.max_new_tokens - 1  # the prompts' pass writes the first token
    prefill, whole = written(1), written(SHORT.max_new_tokens)
    cached = sum(len(r.tokens) for r in requests) + SHORT.answers * SHORT.max_new_tokens / 2
    return (whole - prefill) / steps, cached


def _prompts(step: int) -> list[Prompt]:
    return [Prompt(step * SHORT.prompts + i, text) for i, text in enumerate(prompts_of(SHORT, step))]


def table(found: dict[str, Any]) -> Table:
    limits = found["limits"]
    rates = f"{limits['flops'] / 1e9:.0f} GFLOP/s, {limits['bandwidth'] / 1e9:.1f} GB/s"
    shown = Table(title=f"{found['dtype']}: {rates} at best", title_justify="left")
    for name in ("", "seconds", "GFLOP/s", "of peak", "of bandwidth", "bound, s"):
        shown.add_column(name, justify="right" if name else "left")
    names = {"learner": "learner step", "decode": f"decode step, {found['decode']['rows']} rows"}
    for key, name in names.items():
        row = found[key]
        moved = "" if row["of_bandwidth"] is None else f"{row['of_bandwidth']:.0%}"
        rate = f"{row['flops'] / row['seconds'] / 1e9:.0f}"
        bound = f"{row['bound_seconds']:.3f}"
        shown.add_row(name, f"{row['seconds']:.3f}", rate, f"{row['of_peak']:.0%}", moved, bound)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    options = parser.parse_args()
    keep_freed_memory()
    found = measure(options.model)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    Console().print(table(found))


if __name__ == "__main__":
    main()
