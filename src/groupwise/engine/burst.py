"""Decoding in bursts: a few tokens of every row, with no look at them in between.

A step reads and writes tensors that stay in their places, so a recorder can have the device repeat it without
Python. Legend: A rows, n steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.engine.cache import Cache, Decode, Places, RowState, Shape
from groupwise.engine.graphs import Recorder, Step, Unrecordable, watched
from groupwise.engine.model import CausalLM
from groupwise.engine.sampling import choose

CHECKED = 2
"""Steps that a recording must repeat: with one, what should change from step to step would not be seen."""

TOLERANCE = 2e-2
"""Nats by which they may differ; another order of sums is less, a stale position or length more."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a burst begins with, on the CPU."""

    token: Tensor
    """[A] int64: each row's newest token, not yet in memory."""
    uniform: Tensor
    """[n, A] float64 in [0, 1), for the token that each step chooses."""
    places: Places

    @classmethod
    def of(cls, rows: Sequence[RowState], newest: Sequence[int], uniform: Tensor, shape: Shape) -> Start:
        """Filled up to the shape's rows."""
        spare = shape.rows - len(rows)
        token = torch.tensor([*newest, *[0] * spare], dtype=torch.int64)
        filled = torch.nn.functional.pad(uniform, (0, spare)) if spare else uniform
        return cls(token, filled, Places.of(rows, shape))

    def tensors(self) -> tuple[Tensor, ...]:
        places = self.places
        return self.token, self.uniform, places.prompt, places.own, places.seat, places.sitter


class Burst:
    """The tensors of a decoding step of one shape, and the step."""

    def __init__(
        self, model: CausalLM, cache: Cache, shape: Shape, start: Start, temperature: float, again: bool
    ) -> None:
        """`again` where the start is needed once more: else its tensors are taken and written to."""
        self._model, self._cache, self._shape = model, cache, shape
        self._temperature = temperature
        self._tensors = [x.to(model.device, copy=again) for x in start.tensors()]
        self._token, self._uniform, *places = self._tensors
        self._places = Places(*places)
        self._at = torch.zeros(1, dtype=torch.int64, device=model.device)
        self._tokens = torch.zeros_like(self._uniform, dtype=torch.int64)
        self._logp = torch.zeros_like(self._uniform, dtype=torch.float32)

    def load(self, start: Start) -> None:
        """Begin anew from there."""
        for mine, given in zip(self._tensors, start.tensors(), strict=True):
            mine.copy_(given)
        self._at.zero_()

    def step(self) -> None:
        """Read every row's newest token and choose its next."""
        places = self._places
        # a row that goes on beyond its end may leave the context
        position = (places.prompt + places.own).clamp(max=self._model.context - 1)
        attend = Decode(self._cache, self._shape, places)
        logits = self._model.logits(self._model.hidden(self._token, position, attend))
        token, logp = choose(logits, self._uniform.index_select(0, self._at)[0], self._temperature)
        self._tokens.index_copy_(0, self._at, token[None])
        self._logp.index_copy_(0, self._at, logp[None])
        self._token.copy_(token)
        places.own.add_(1)
        self._at.add_(1)

    def written(self, steps: int, rows: int) -> tuple[Tensor, Tensor]:
        """Tokens and log-probs of the first steps and rows, [steps, rows] each; valid until the next step."""
        return self._tokens[:steps, :rows], self._logp[:steps, :rows]


class Decoder:
    """Writes a few tokens of every row at a time; keeps what it records for one call of `generate`."""

    def __init__(
        self, model: CausalLM, cache: Cache, temperature: float, longest: int, recorder: Recorder | None
    ) -> None:
        """`longest` is the most steps a burst has."""
        self._model, self._cache, self._temperature = model, cache, temperature
        self._longest, self._recorder = longest, recorder
        self._recorded: dict[Shape, tuple[Burst, Step]] = {}

    def __call__(
        self, rows: Sequence[RowState], newest: Sequence[int], uniform: Tensor
    ) -> tuple[Tensor, Tensor]:
        """newest [rows] tokens, uniform [n, rows] -> tokens [n, rows] int64, log-probs [n, rows] float32.

        They are valid until the next call.
        """
        steps = len(uniform)
        shape = Shape.of(self._cache, rows, steps, padded=self._recorder is not None)
        if self._recorder is not None:
            uniform = torch.nn.functional.pad(uniform, (0, 0, 0, self._longest - steps))
        burst, step = self._ready(shape, Start.of(rows, newest, uniform, shape), steps)
        for _ in range(steps):
            step()
        return burst.written(steps, len(rows))

    def _ready(self, shape: Shape, start: Start, steps: int) -> tuple[Burst, Step]:
        if shape in self._recorded and self._recorder is not None:
            self._recorded[shape][0].load(start)
            return self._recorded[shape]
        again = self._recorder is not None
        burst = Burst(self._model, self._cache, shape, start, self._temperature, again)
        if self._recorder is None:
            return burst, burst.step
        try:
            step = _recorded(burst, start, min(CHECKED, steps), self._recorder)
        except Unrecordable as error:
            warnings.warn(f"{self._model.name} is decoded without recording: {error}", stacklevel=2)
            step, self._recorder = burst.step, None
        burst.load(start)
        self._recorded[shape] = burst, step
        return burst, step


def _recorded(burst: Burst, start: Start, steps: int, recorder: Recorder) -> Step:
    """The burst's step as a recording that was seen to repeat it."""
    watched(burst.step)
    for _ in range(steps - 1):
        burst.step()
    tokens, logp = burst.written(steps, len(start.token))
    expected = tokens.clone(), logp.clone()
    burst.load(start)
    replay = recorder(burst.step)
    burst.load(start)
    for _ in range(steps):
        replay()
    if not _agree(expected, burst.written(steps, len(start.token))):
        raise Unrecordable("a recording of its step does not repeat it")
    return replay


def _agree(expected: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor]) -> bool:
    """Of rows [A] in which rounding moved no choice, which are most, all log-probs."""
    same = (expected[0] == found[0]).all(0)
    gap = (expected[1] - found[1]).abs()[:, same]
    return bool(same.float().mean() >= 0.75) and bool((gap < TOLERANCE).all())
