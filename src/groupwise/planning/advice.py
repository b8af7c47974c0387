"""Which settings would lower a run's memory, and by how much: the estimate again, with one changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from groupwise.planning.memory import memory
from groupwise.planning.sizes import Shape, Workload


@dataclass(frozen=True, slots=True)
class Saving:
    """A setting that lowers the peak, and by how many bytes."""

    flag: str
    bytes: int


def savings(shape: Shape, work: Workload, sixteen_bits: bool = False) -> list[Saving]:
    """Changes of one setting that lower the peak by a percent or more, the best first.

    `sixteen_bits` where bfloat16 is fast.
    """
    peak = memory(shape, work).peak
    found = [Saving(flag, peak - memory(shape, other).peak) for flag, other in _changes(work, sixteen_bits)]
    return sorted((s for s in found if s.bytes > peak / 100), key=lambda s: -s.bytes)


def _changes(work: Workload, sixteen_bits: bool) -> Iterator[tuple[str, Workload]]:
    budget = max(work.tokens_per_microbatch // 2, work.sequence)
    yield f"--tokens-per-microbatch {budget}", replace(work, tokens_per_microbatch=budget)
    yield f"--max-rows {work.max_rows // 2 or 1}", replace(work, max_rows=work.max_rows // 2 or 1)
    answer = max(1, work.max_new_tokens // 2)
    yield f"--max-new-tokens {answer}", replace(work, max_new_tokens=answer)
    group, prompts = max(2, work.group_size // 2), max(1, work.prompts // 2)
    if not work.others:  # else the seats say how large a group is
        yield f"--group-size {group}", replace(work, group_size=group)
    yield f"--prompts {prompts}", replace(work, prompts=prompts)
    if not work.lora_rank:
        yield "--lora-rank 16", replace(work, lora_rank=16)
    if work.reference:
        yield "--kl-scale 0", replace(work, reference=False)
    if work.number_bytes == 4 and sixteen_bits:
        yield "--dtype bfloat16", replace(work, number_bytes=2)
