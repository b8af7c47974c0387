"""From logits to tokens: inverse-CDF sampling with the log-probability of what was chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 256
"""Vocabulary entries a chunk of the two-level inverse CDF."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are written."""

    max_new_tokens: int = 256
    """Tokens an answer may have."""
    temperature: float = 1.0
    """Divides the logits, in sampling and in training alike; 0 takes the likeliest token."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer; they stay part of it."""
    max_rows: int = 128
    """Answers written at the same time."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.max_rows < 1 or not self.temperature >= 0:
            raise ValueError(f"{self}: max_new_tokens and max_rows are at least 1, temperature at least 0")
        if not all(self.stop):
            raise ValueError("an empty stop string would end every answer at once")


def choose(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """logits [A, V] float32, uniform [A] in [0, 1) -> tokens [A] int64, log-probs [A] float32.

    temperature 0 is the argmax, with its log-probability at temperature 1. The inverse CDF runs over
    sums of chunks and then inside one chunk: two short scans for a row and one pass over the vocabulary.
    A row with a logit that is not a number has the log-probability NaN: to look for it here would wait
    for the device.
    """
    if temperature not in (0.0, 1.0):
        logits = logits / temperature
    peak = logits.amax(-1, keepdim=True)
    mass = (logits - peak).exp_()
    total = mass.sum(-1)
    token = logits.argmax(-1) if temperature == 0 else _inverse_cdf(mass, uniform)
    chosen = logits.gather(-1, token[:, None])[:, 0]
    return token, chosen - peak[:, 0] - total.log()


def _inverse_cdf(mass: Tensor, uniform: Tensor) -> Tensor:
    """Index i with cdf[i - 1] <= u * total < cdf[i]. mass [A, V] >= 0, uniform [A] -> [A]."""
    n, v = mass.shape
    chunks = torch.nn.functional.pad(mass, (0, -v % CHUNK)).view(n, -1, CHUNK)
    sums = chunks.sum(-1, dtype=torch.float64).cumsum(-1)
    target = uniform.to(torch.float64) * sums[:, -1]
    chunk = _first_above(sums, target)
    before = torch.where(chunk > 0, sums.gather(-1, (chunk - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    inside = chunks[torch.arange(n, device=mass.device), chunk].to(torch.float64).cumsum(-1)
    return (chunk * CHUNK + _first_above(inside, target - before)).clamp(max=v - 1)


def _first_above(cdf: Tensor, target: Tensor) -> Tensor:
    """First index whose cdf exceeds the target, and never one without mass. [A, n], [A] -> [A]."""
    # rounding can push a target to the very end: the last entry that still has mass takes it
    last = torch.searchsorted(cdf, cdf[:, -1:].contiguous(), right=False)
    found = torch.searchsorted(cdf, target[:, None].contiguous(), right=True)
    return torch.minimum(found, last).clamp(max=cdf.shape[-1] - 1)[:, 0]  # NaN is above everything
