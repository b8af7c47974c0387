"""The nouns: what is asked, what is decided, and the vectors the loss sees.

A *decision* is one sampled token or one environment action. Everything here is frozen; a stage
that learns something new returns a new value (`dataclasses.replace`), and a field is None until
the stage that fills it has run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # the workers of rewards do without torch
    from torch import Tensor


class StopReason(StrEnum):
    """Why a trajectory ended. Also a metric: `stopped/<reason>`."""

    FINISHED = "finished"
    """The policy ended it: an end-of-sequence token, a stop string, a terminal state."""
    LENGTH = "length"
    """A limit on tokens or steps ended it."""
    ERROR = "error"
    """The world failed, as far as it says so. Not scored, excluded from the baseline, counted."""


CURRENT = "current"
"""Name of the policy in training."""


@dataclass(frozen=True, slots=True)
class PolicyTag:
    """Which policy made a decision: its name and the number of optimizer steps behind it."""

    name: str = CURRENT
    version: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question, or one start state."""

    ordinal: int
    """Place in the run's stream of prompts. With the run's seed it names every random number."""
    content: str | list[dict[str, str]] | int
    """Text, chat messages, or the seed of an environment's start state."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """The other columns of its row; rewards receive them."""
    row: int | None = None
    """The number of the training row that it is; None for a held-out one."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An observation and the decisions that answer it.

    Language: `observation` is the [L] token ids read, `decisions` the [T] token ids chosen.
    Numeric worlds: one turn holds the whole episode, `observation` is [T, ...] and `decisions` [T] or
    [T, k], one row a decision.
    """

    observation: np.ndarray
    decisions: np.ndarray
    behaviour_logp: np.ndarray
    """[T] natural log, under the policy that chose, at its temperature."""
    rewards: np.ndarray | None = None
    """[T] reward after each decision, where the world gives one; NaN after one that ends no step of it."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One answer or episode, from birth with the log-probabilities of the policy that chose."""

    turns: tuple[Turn, ...]
    policy: PolicyTag
    stopped: StopReason
    text: str = ""
    """The decisions as text, special tokens left out; empty in numeric worlds."""
    reward: float | None = None
    """None: not scored (yet), and then excluded from the baseline and the loss."""
    parts: Mapping[str, float | None] = field(default_factory=dict)
    """The reward's components by name, before weights; None where one does not apply."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the rewards asked to be saved beside the answer."""
    advantage: np.ndarray | None = None
    """[n_decisions]."""
    proximal_logp: np.ndarray | None = None
    """[n_decisions] under the policy that the step begins with; None: that policy chose."""
    mixture_logp: np.ndarray | None = None
    """[n_decisions] under the mixture of policies that its group was drawn from, where ratios are taken to
    that and not to the one policy that chose; then `proximal_logp` is known too."""
    gold: Mapping[str, float | None] = field(default_factory=dict)
    """What the gold rewards gave, by name: they judge the run and are never trained on."""
    messages: tuple[Mapping[str, Any], ...] = ()
    """In a conversation: what was said since the prompt, by the policy and to it, as chat messages."""
    environment: Any = field(default=None, repr=False, compare=False)
    """In a conversation: whom the policy talked to, until the rewards have seen it."""

    @property
    def n_decisions(self) -> int:
        return sum(len(turn.decisions) for turn in self.turns)

    @property
    def gained(self) -> float | None:
        """The sum of what the world gave on the way; None where it gives nothing."""
        given = [turn.rewards for turn in self.turns if turn.rewards is not None]
        return float(np.nansum(np.concatenate(given))) if given else None

    @property
    def behaviour_logp(self) -> np.ndarray:
        """[n_decisions], what importance weights divide by."""
        return self.own_logp if self.mixture_logp is None else self.mixture_logp

    @property
    def own_logp(self) -> np.ndarray:
        """[n_decisions] under the policy that chose."""
        return np.concatenate([turn.behaviour_logp for turn in self.turns])


@dataclass(frozen=True, slots=True)
class Prior:
    """What earlier steps taught about a prompt's reward. Never from the present answers: that biases."""

    mean: float
    """In reward units."""
    count: float
    """How many answers it is worth, 0 or more."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.count) and self.count >= 0):
            raise ValueError(f"{self}: mean and count are finite, and count is 0 or more")


@dataclass(frozen=True, slots=True)
class Group:
    """Siblings: trajectories that answer the same prompt."""

    prompt: Prompt
    trajectories: tuple[Trajectory, ...]
    prior: Prior | None = None
    """None: nothing is known about the prompt."""

    @property
    def rewards(self) -> np.ndarray:
        """[G] float; NaN where a trajectory could not be scored."""
        return np.array(
            [np.nan if t.reward is None else t.reward for t in self.trajectories], dtype=np.float64
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """A micro-batch: whole trajectories, decisions `start:stop` of the batch."""

    inputs: Any
    """What the policy reads to score these decisions; only the policy knows its type."""
    start: int
    stop: int
    part: int = 0
    """Which of an epoch's optimizer steps learns from it; rising."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything one optimizer step needs, flat over its N decisions: no padding, no mask."""

    pieces: tuple[Piece, ...]
    behaviour_logp: Tensor
    """[N] float32."""
    advantage: Tensor
    """[N] float32."""
    weight: Tensor
    """[N] float32, computed over the whole step before any cut: loss = dot(weight, term)."""
    trajectory_id: Tensor
    """[N] int64, rising."""
    reference_logp: Tensor | None = None
    """[N] float32, under the frozen reference."""
    proximal_logp: Tensor | None = None
    """[N] float32, under the policy that the step begins with; None: the behaviour's."""
    selected: Tensor | None = None
    """[N] bool: the decisions that the recipe picked."""
    foreign: Tensor | None = None
    """[N] bool: the decisions of another policy than the one in training; None: there are none."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What making it up showed: what was left out, how far the policy that chose is."""

    def __len__(self) -> int:
        return len(self.advantage)
