"""A sampler whose groups are written by several policies, each answer with what its weight is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from groupwise.engine.scheduler import Completion, Request
from groupwise.gauge import LEAST, WINDOW, Gauge
from groupwise.groups import Order
from groupwise.mixtures import Ratios, Scored, log_weight
from groupwise.policies import LanguagePolicy
from groupwise.rollouts import Finished, Progress, TextSampler
from groupwise.seats import CURRENT, Part, Seats
from groupwise.trajectory import Group, PolicyTag, StopReason, Trajectory

Member = tuple[int, Trajectory]
"""(number of its group, trajectory)."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A policy that writes answers."""

    policy: LanguagePolicy
    tag: PolicyTag


class Source(Protocol):
    """Where another policy comes from."""

    def at(self, version: int) -> Writer | None:
        """The policy for a step that begins with `version` steps behind it; None: there is none yet."""


class MixedSampler:
    """Gives every group's seats to their policies; held-out prompts are the current policy's alone.

    Each answer comes back with its log-probs under the current policy (`proximal_logp`) and, as `ratios`
    has it, under the mixture. An answer to which some policy gives a log-prob that is not finite has no
    weight: it is marked as an error, is not scored, and is counted under `stopped/error`.
    """

    def __init__(
        self,
        own: TextSampler,
        seats: Seats,
        sources: Mapping[str, Source],
        ratios: Ratios,
        tokens_per_microbatch: int,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._own, self._seats, self._sources = own, seats, sources
        self._ratios, self._budget, self._say = ratios, tokens_per_microbatch, say
        self._gauge = Gauge()
        self._said: set[str] = set()

    def load(self, version: int) -> None:
        self._own.load(version)

    def memory(self) -> Mapping[str, Any]:
        return self._gauge.memory()

    def recall(self, memory: Mapping[str, Any]) -> None:
        self._gauge = Gauge.of(memory)
        for name, step in self._gauge.dropped.items():
            self._say(f"{name} lost its seats at step {step} and does not get them back")

    def collect(
        self,
        orders: Sequence[Order],
        greedy: bool = False,
        progress: Progress | None = None,
        finished: Finished | None = None,
    ) -> list[Group]:
        if greedy:
            return self._own.collect(orders, greedy, progress, finished)
        writers = self._writers()
        cohort = self._written(orders, writers, progress)
        if finished is not None:
            for group in cohort:
                finished(group)  # who reads it need not wait for the weights
        cohort = self._weighed(cohort, writers)
        self._watch(cohort, writers)
        return cohort

    def _writers(self) -> dict[str, Writer]:
        """Those who write in this step, by name."""
        writers = {CURRENT: Writer(self._own.policy, self._own.tag)}
        for seat in self._seats.others:
            if seat.source in self._gauge.dropped:
                continue
            writer = self._sources[seat.source].at(self._own.tag.version)
            if writer is not None:
                writers[seat.source] = writer
            elif seat.source not in self._said:
                self._said.add(seat.source)
                self._say(f"there is no {seat.source} yet: the current policy writes its answers until then")
        return writers

    # ------------------------------------------------------------ writing

    def _written(
        self, orders: Sequence[Order], writers: dict[str, Writer], progress: Progress | None
    ) -> list[Group]:
        """Groups with their answers in the order of the seats. Drops a writer that cannot write.

        Every answer keeps the number of its seat, which names its random numbers, whoever writes it.
        """
        read = [np.array(self._own.tokens(order.prompt)) for order in orders]
        found: list[dict[int, Trajectory]] = [{} for _ in orders]
        total = sum(order.count for order in orders)
        for name in sorted(writers, key=lambda name: name == CURRENT):  # the last, so that it can step in
            parts = [(i, part) for i, o in enumerate(orders) for part in self._parts(o, name, writers)]
            requests = [
                Request(tuple(read[i].tolist()), part.count, orders[i].prompt.ordinal, part.first)
                for i, part in parts
            ]
            done = sum(map(len, found))
            answers = self._answers(name, writers, requests, _shifted(progress, done, total))
            for (i, part), completions in zip(parts, answers, strict=False):
                for k, completion in enumerate(completions):
                    found[i][part.first + k] = self._own.trajectory(read[i], completion, writers[name].tag)
        return [
            Group(order.prompt, tuple(members[k] for k in sorted(members)))
            for order, members in zip(orders, found, strict=True)
        ]

    def _parts(self, order: Order, name: str, writers: Mapping[str, Writer]) -> list[Part]:
        """What a policy writes of a group: the current one also what nobody else does."""
        parts = self._seats.parts(order.count)
        return [p for p in parts if (p.source if p.source in writers else CURRENT) == name]

    def _answers(
        self,
        name: str,
        writers: dict[str, Writer],
        requests: Sequence[Request],
        progress: Progress | None,
    ) -> list[list[Completion]]:
        try:
            return self._own.write(writers[name].policy.model, requests, progress=progress)
        except FloatingPointError as error:
            if name == CURRENT:
                raise
            step = self._own.tag.version + 1
            self._gauge.dropped[name] = step
            del writers[name]
            self._say(f"step {step}: {name} cannot write ({error}); the current policy takes its seats")
            return []

    # ------------------------------------------------------------ weighing

    def _weighed(self, cohort: Sequence[Group], writers: Mapping[str, Writer]) -> list[Group]:
        """Every answer with its log-probs under the current policy and what ratios are taken to."""
        members = [(i, t) for i, group in enumerate(cohort) for t in group.trajectories]
        logp = {
            name: self._scored(name, writer.policy, members)
            for name, writer in writers.items()
            if name == CURRENT or self._ratios.everywhere
        }
        counts = [{n: sum(t.policy.name == n for t in g.trajectories) for n in logp} for g in cohort]
        weighed: list[list[Trajectory]] = [[] for _ in cohort]
        for k, (i, trajectory) in enumerate(members):
            every = np.stack([values[k] for values in logp.values()]) if self._ratios.everywhere else None
            shares = tuple(counts[i].values())
            scored = Scored(trajectory.own_logp, logp[CURRENT][k], every, shares)
            weighed[i].append(_with_weight(trajectory, scored, self._ratios))
        return [replace(g, trajectories=tuple(ts)) for g, ts in zip(cohort, weighed, strict=True)]

    def _scored(self, name: str, policy: LanguagePolicy, members: Sequence[Member]) -> list[np.ndarray]:
        """[T_i] of every answer under a policy: as recorded for its own, computed for the others'."""
        others = [(i, t) for i, t in members if t.policy.name != name]
        computed = iter(logp_under(policy, others, self._budget))
        return [t.own_logp if t.policy.name == name else next(computed) for _, t in members]

    # ------------------------------------------------------------ watching

    def _watch(self, cohort: Sequence[Group], writers: Mapping[str, Writer]) -> None:
        """Take the seats of a policy whose answers hardly count."""
        for name in [name for name in writers if name != CURRENT]:
            answers = [t for group in cohort for t in group.trajectories if t.policy.name == name]
            finite = [log_weight(t) for t in answers if t.stopped is not StopReason.ERROR]
            step = self._own.tag.version + 1
            if self._gauge.falls(name, np.array(finite), len(answers), step):
                self._say(
                    f"step {step}: over {WINDOW} steps the answers of {name} counted for less than "
                    f"{LEAST:.0%} of their number (effective sample size): it is too far from the current "
                    "policy, which takes its seats from now on"
                )


def _shifted(progress: Progress | None, done: int, total: int) -> Progress | None:
    return None if progress is None else lambda n, _: progress(done + n, total)


def _with_weight(trajectory: Trajectory, scored: Scored, ratios: Ratios) -> Trajectory:
    known = scored.current if scored.every is None else scored.every
    if not np.isfinite(known).all():
        return replace(trajectory, stopped=StopReason.ERROR)
    return replace(
        trajectory,
        proximal_logp=scored.current.astype(np.float32),
        mixture_logp=ratios.behaviour(scored).astype(np.float32),
    )


@torch.no_grad()
def logp_under(policy: LanguagePolicy, members: Sequence[Member], budget: int) -> list[np.ndarray]:
    """[T_i] of every member's decisions, in micro-batches of at most `budget` tokens; siblings adjacent."""
    found: list[np.ndarray] = []
    for cut in _cuts(policy, members, budget):
        logp = policy.score(policy.inputs(cut)).logp.cpu().numpy()
        found += np.split(logp, np.cumsum([t.n_decisions for _, t in cut])[:-1])
    return found


def _cuts(policy: LanguagePolicy, members: Sequence[Member], budget: int) -> list[list[Member]]:
    cuts: list[list[Member]] = []
    used = 0
    for group, trajectory in members:
        cost = policy.cost(trajectory, bool(cuts) and cuts[-1][-1][0] == group)
        if not cuts or used + cost > budget:
            cost, used = policy.cost(trajectory, False), 0
            cuts.append([])
        cuts[-1].append((group, trajectory))
        used += cost
    return cuts
