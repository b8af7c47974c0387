"""Plays scenes: all of a step side by side, decisions of one player in one batch."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from groupwise.envs.faults import Faults
from groupwise.envs.normalise import Normaliser
from groupwise.envs.scenes import Decided, Play, Scene
from groupwise.envs.watch import Watch
from groupwise.groups import Order
from groupwise.policies import NetworkPolicy
from groupwise.randomness import subseed, uniforms
from groupwise.rollouts import Finished, Progress
from groupwise.trajectory import CURRENT, Group, PolicyTag, Prompt, StopReason

Member = tuple[Play, int]
"""A play and a seat in it."""
Grouped = Callable[[Sequence[Play]], list[list[Member]]]
"""Plays from one start -> those whose decisions are compared with each other."""


def each_seat(plays: Sequence[Play]) -> list[list[Member]]:
    """A seat's decisions are compared with those of the same seat in the other plays.

    What another play comes to does not depend on them, so the baseline is independent of what it is for.
    """
    seats = plays[0].scene.seats
    groups = [[(play, seat) for play in plays if seat in play.own] for seat in range(seats)]
    return [group for group in groups if group]


def together(plays: Sequence[Play]) -> list[list[Member]]:
    """All seats of all plays are compared. For seats that are alike.

    Those of one play act on each other, so a baseline of them depends on what it is for: with n seats and G
    plays a seat learns as if it were paid R - (sum of the other seats' R) / (n G - 1).
    """
    return [[(play, seat) for play in plays for seat in play.own]]


class Player(Protocol):
    """Somebody who decides."""

    def load(self, version: int) -> None:
        """The policy in training is this version from now on."""

    def act(self, observations: np.ndarray, uniform: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """rows [B, width], uniform [B, 1] -> decisions [B], log-probs [B]."""


class SceneSampler:
    """Plays all scenes of a step side by side; siblings have the same start and the same luck.

    The policy in training plays every seat, or, where a prompt has the columns `against` and `seat`, that
    seat, and the player of that name all others.
    """

    def __init__(
        self,
        policy: NetworkPolicy,
        make_scene: Callable[..., Scene],
        seed: int,
        grouped: Grouped = each_seat,
        actions: Callable[[np.ndarray], Sequence[Any]] = np.ndarray.tolist,
        players: Mapping[str, Player] | None = None,
        normaliser: Normaliser | None = None,
        watch: Watch | None = None,
        judge: Callable[[], Mapping[str, float]] = dict,
        mixes: bool = False,
    ) -> None:
        """
        Args:
            make_scene: takes options where it is to be shown.
            actions: decisions [B] or [B, k] -> what the scene takes.
            players: who may be named in `against`.
            judge: what is known of the policy by other means than play, added to the parts of held-out plays.
            mixes: held-out plays are drawn, since the policy is a mixed strategy; else the likeliest.
        """
        self.policy, self.make, self._seed = policy, make_scene, seed
        self._grouped, self._actions, self._players = grouped, actions, players or {}
        self._normaliser = self._learnt = normaliser or Normaliser()
        self._watch, self._judge, self._mixes = watch or Watch(), judge, mixes
        self._scenes: list[Scene] = []
        self._tag = PolicyTag()
        self._faults = Faults()

    def elsewhere(self, make_scene: Callable[[], Scene]) -> SceneSampler:
        """The same player, with all that it knows, in scenes made in another way."""
        other = copy.copy(self)
        other.make, other._scenes = make_scene, []
        return other

    def close(self) -> None:
        """Close the scenes; a later step makes new ones."""
        for scene in self._scenes:
            with suppress(Exception):
                scene.close()
        self._scenes = []

    def load(self, version: int) -> None:
        self._tag = replace(self._tag, version=version)
        self._normaliser = self._learnt
        for player in self._players.values():
            player.load(version)

    def memory(self) -> Mapping[str, Any]:
        return self._learnt.remembered()

    def recall(self, memory: Mapping[str, Any]) -> None:
        self._normaliser = self._learnt = self._learnt.recalled(memory)

    def collect(
        self,
        orders: Sequence[Order],
        greedy: bool = False,
        progress: Progress | None = None,
        finished: Finished | None = None,
    ) -> list[Group]:
        """`count` plays for each order, and of these one group or more. `finished` is not called."""
        asked = [(o.prompt, sample) for o in orders for sample in range(o.count)]
        while len(self._scenes) < len(asked):
            self._scenes.append(self.make())
        plays = [
            Play(prompt, sample, scene, self._others(prompt, scene.seats), self._watch)
            for (prompt, sample), scene in zip(asked, self._scenes, strict=False)
        ]
        with self._watch.looking():
            self._play(plays, greedy and not self._mixes, progress)
            self._mend(plays)
        if self._learnt.learns and not greedy:
            self._learn([p for p in plays if p.stopped is not StopReason.ERROR])
        judged = self._judge() if greedy else {}
        rest = iter(plays)
        return [
            group
            for o in orders
            for group in self._groups([next(rest) for _ in range(o.count)], greedy, judged)
        ]

    def _others(self, prompt: Prompt, seats: int) -> dict[int, str]:
        against, own = prompt.columns.get("against", CURRENT), prompt.columns.get("seat")
        return {} if against == CURRENT else {seat: against for seat in range(seats) if seat != own}

    def _groups(self, plays: Sequence[Play], greedy: bool, judged: Mapping[str, float]) -> Iterator[Group]:
        for number, members in enumerate(self._grouped(plays)):
            # where nobody decided there is nothing to learn; where some did, the returns of the others are
            # of the baseline: without them what is seldom asked would count less
            if not greedy and not any(play.counts(seat) for play, seat in members):
                continue
            prompt, seats = plays[0].prompt, sorted({seat for _, seat in members})
            columns = {**prompt.columns, "seat": seats[0]} if len(seats) == 1 else prompt.columns
            trajectories = tuple(
                play.trajectory(seat, self._tag, self._normaliser, greedy, {**play.standing(seat), **judged})
                for play, seat in members
            )
            # an ordinal of its own: several groups may come of one start
            ordinal = prompt.ordinal * plays[0].scene.seats + number
            yield Group(replace(prompt, ordinal=ordinal, columns=columns), trajectories)

    def _learn(self, plays: Sequence[Play]) -> None:
        rows = np.concatenate([p.rows(seat) for p in plays for seat in p.own])
        self._learnt = self._learnt.after(rows, [p.returned(seat) for p in plays for seat in p.own])

    def _play(self, plays: Sequence[Play], greedy: bool, progress: Progress | None) -> None:
        starts = [int(play.prompt.content) for play in plays]  # type: ignore[arg-type]
        seeds = {start: subseed(self._seed, start) for start in set(starts)}
        for play, start in zip(plays, starts, strict=True):
            play.begin(seeds[start])
        self._compare(plays)
        running = [p for p in plays if p.stopped is None]
        while running:
            self._act(running, greedy)
            running = [p for p in running if p.stopped is None]
            if progress is not None:
                progress(len(plays) - len(running), len(plays))

    def _act(self, running: Sequence[Play], greedy: bool) -> None:
        asked = [(play, seat) for play in running for seat in play.asked]
        rows = np.stack([play.asked[seat] for play, seat in asked])
        if not np.isfinite(rows).all():  # nobody has decided yet: the others are asked again
            for i in np.flatnonzero(~np.isfinite(rows).all(-1)).tolist():
                asked[i][0].fail("an observation that is not finite")
            return
        numbers: dict[str, list[int]] = defaultdict(list)
        for i, (play, seat) in enumerate(asked):
            numbers[play.others.get(seat, CURRENT)].append(i)
        decided: dict[int, dict[int, Decided]] = {id(play): {} for play in running}
        for name, of_player in numbers.items():
            members = [asked[i] for i in of_player]
            made = self._decide(name, members, rows[of_player], greedy)
            for (play, seat), one in zip(members, made, strict=True):
                decided[id(play)][seat] = one
        for play in running:
            play.act(decided[id(play)])

    def _decide(self, name: str, members: Sequence[Member], rows: np.ndarray, greedy: bool) -> list[Decided]:
        """What the player of this name decides in the seats of members, given the rows [B, width]."""
        if name == CURRENT:
            uniform = None if greedy else self._uniform(members, self.policy.distribution.uniforms)
            chosen, logp = self.policy.act(self._normaliser.rows(rows), uniform)
        else:
            chosen, logp = self._players[name].act(rows, self._uniform(members, 1))
        noted = chosen.tolist() if chosen.ndim == 1 else chosen
        return [Decided(*one) for one in zip(noted, self._actions(chosen), logp.tolist(), strict=True)]

    def _uniform(self, members: Sequence[Member], k: int) -> np.ndarray:
        """[B, k] by (prompt, sample, move and seat): other plays have no say."""
        ordinals = np.array([[play.prompt.ordinal] for play, _ in members])
        samples = np.array([[play.sample] for play, _ in members])
        places = np.array([[play.moves * play.scene.seats + seat] for play, seat in members])
        return uniforms(self._seed, ordinals, samples, places * k + np.arange(k))

    # ---------------------------------------------------------------- worlds that do not behave

    def _mend(self, plays: Sequence[Play]) -> None:
        """Tell of plays that failed; their scenes are made anew."""
        failed = [i for i, p in enumerate(plays) if p.stopped is StopReason.ERROR]
        if not failed:
            return
        first = plays[failed[0]]
        self._faults.failed(len(failed), len(plays), f"after {first.moves} moves: {first.error}")
        for i in failed:
            with suppress(Exception), self._watch.call():  # one that hangs may hang here too
                self._scenes[i].close()
            self._scenes[i] = self.make()

    def _compare(self, plays: Sequence[Play]) -> None:
        """Tell of siblings that did not begin alike."""
        starts: dict[int, list[tuple[int, bytes]]] = {}
        for play in plays:
            if play.stopped is None:
                start = [(seat, row.tobytes()) for seat, row in play.asked.items()]
                if starts.setdefault(play.prompt.ordinal, start) != start:
                    return self._faults.unequal()
        return None
