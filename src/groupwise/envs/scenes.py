"""Scenes: worlds in which several decide. What each seat saw, decided and was given is a trajectory."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from groupwise.envs.normalise import Normaliser
from groupwise.envs.watch import Watch
from groupwise.rewards.scoring import Scored, TrainerState
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn


class Scene(Protocol):
    """A world with seats, played over and over."""

    seats: int
    width: int
    """Numbers that a seat decides on."""

    def begin(self, seed: int, start: Mapping[str, Any]) -> None:
        """A start and all luck after it, as a function of the seed and of `start`, the prompt's columns."""

    def asked(self) -> Mapping[int, np.ndarray]:
        """The seats that decide next, with the row [width] that each decides on; none: it is over."""

    def act(self, actions: Mapping[int, Any]) -> None:
        """Do what the seats that were asked do, all at once."""

    def given(self) -> Sequence[float]:
        """[seats] what each seat has been given since the start."""

    @property
    def cut(self) -> Collection[int]:
        """The seats that a limit ended, and not the world itself."""

    def told(self) -> str:
        """What happened, as text; empty where it has no words."""

    def close(self) -> None: ...


class Decided(NamedTuple):
    """One decision."""

    decision: Any
    """As the policy has it: a number, or [k]."""
    action: Any
    """As the scene takes it."""
    logp: float


@dataclass(slots=True)
class Record:
    """Of one seat."""

    rows: list[np.ndarray] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    """What it had been given when it decided."""


class Play:
    """A scene under way. One that fails ends for all of its seats; it does not end the run."""

    def __init__(
        self, prompt: Prompt, sample: int, scene: Scene, others: Mapping[int, str], watch: Watch
    ) -> None:
        """`others` names who plays the seats that the policy in training does not."""
        self.prompt, self.sample, self.scene, self.others = prompt, sample, scene, others
        self.records = [Record() for _ in range(scene.seats)]
        self.asked: Mapping[int, np.ndarray] = {}
        self.moves = 0
        self.stopped: StopReason | None = None
        self.error = ""
        self._given: Sequence[float] = [0.0] * scene.seats
        self._watch = watch

    @property
    def own(self) -> list[int]:
        """The seats of the policy in training."""
        return [seat for seat in range(self.scene.seats) if seat not in self.others]

    def begin(self, seed: int) -> None:
        self._call(lambda: self.scene.begin(seed, self.prompt.columns))

    def act(self, decided: Mapping[int, Decided]) -> None:
        """Note what each seat that was asked decided, and do it."""
        for seat, one in decided.items():
            if seat not in self.others:
                record = self.records[seat]
                record.rows.append(self.asked[seat])
                record.decided.append(one)
                record.before.append(self._given[seat])
        self.moves += 1
        self._call(lambda: self.scene.act({seat: one.action for seat, one in decided.items()}))

    def fail(self, error: str) -> None:
        """End it as one that says nothing about the policy."""
        self.stopped, self.error = StopReason.ERROR, error

    def _call(self, change: Callable[[], None]) -> None:
        watch = self._watch
        watch.calls += 1
        watch.inside = True
        try:
            change()
            self._look()
        except (Exception, SystemExit) as error:  # some end the program where a window was closed
            self.fail(f"{type(error).__name__}: {error}")
        finally:
            watch.inside = False

    def _look(self) -> None:
        scene = self.scene
        given = scene.given()
        for one in given:
            if not math.isfinite(one):
                return self.fail(f"a reward of {one}")
        self._given, self.asked = given, scene.asked()
        for row in self.asked.values():
            if row.shape != (scene.width,):
                return self.fail(f"an observation of {row.shape}, where {scene.width} numbers are due")
        if not self.asked:
            self.stopped = StopReason.LENGTH if scene.cut else StopReason.FINISHED
        return None

    def rows(self, seat: int) -> np.ndarray:
        """[T, width] what a seat decided on, as the scene gave it."""
        rows = self.records[seat].rows
        return np.stack(rows) if rows else np.empty((0, self.scene.width), np.float32)

    def returned(self, seat: int) -> float:
        return float(self._given[seat])

    def counts(self, seat: int) -> bool:
        """Whether it says something in training: of what the seat decided, or that the scene failed."""
        return bool(self.records[seat].decided) or self.stopped is StopReason.ERROR

    def standing(self, seat: int) -> dict[str, float]:
        """How a seat came off against somebody else."""
        if not self.others:
            return {}
        [name] = set(self.others.values())
        returned = self.returned(seat)
        return {f"{name}/win": float(returned > 0), f"{name}/loss": float(returned < 0)}

    def trajectory(
        self,
        seat: int,
        tag: PolicyTag,
        normaliser: Normaliser,
        greedy: bool,
        parts: Mapping[str, float] = MappingProxyType({}),
    ) -> Trajectory:
        """What a seat decided, as the policy saw it; the rewards of greedy play are as the scene gave them.

        What a seat is given before it first decides counts as given for its first decision. `parts` stand
        beside its return.
        """
        record = self.records[seat]
        given = np.diff([0.0, *record.before[1:], self._given[seat]]) if record.before else np.empty(0)
        worth = np.asarray if greedy else normaliser.rewards
        turn = Turn(
            normaliser.rows(self.rows(seat)),
            np.array([one.decision for one in record.decided], None if record.decided else np.int64),
            np.array([one.logp for one in record.decided], np.float32),
            worth(given),
        )
        # who never came to decide has its return all the same
        unasked = None if record.before else float(worth(np.array([self.returned(seat)]))[0])
        extra = {"error": self.error} if self.error else {}
        known = {"return": self.returned(seat), **parts}
        told = self.scene.told()
        return Trajectory((turn,), tag, self._ended(seat), told, reward=unasked, parts=known, extra=extra)

    def _ended(self, seat: int) -> StopReason:
        """Of a seat: one that the world let go has ended, though others were cut later."""
        if self.stopped is StopReason.ERROR:
            return self.stopped
        return StopReason.LENGTH if seat in self.scene.cut else StopReason.FINISHED


def returns(cohort: Sequence[Group], state: TrainerState) -> Scored:
    """The reward of a seat is the sum of its rewards; where the scene failed it has none.

    The part `return` is the sum of what the scene gave, before any scale.
    """
    return Scored([replace(g, trajectories=tuple(map(_with_return, g.trajectories))) for g in cohort])


def _with_return(trajectory: Trajectory) -> Trajectory:
    if trajectory.stopped is StopReason.ERROR:
        return replace(trajectory, reward=None, parts=dict.fromkeys(trajectory.parts))
    rewards = trajectory.turns[0].rewards
    assert rewards is not None
    return trajectory if trajectory.reward is not None else replace(trajectory, reward=float(rewards.sum()))
