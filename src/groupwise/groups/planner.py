"""A step's groups: who is asked how often, what replaces a group that taught nothing, what is remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from groupwise.groups.allocators import Allocate, uniform
from groupwise.groups.beliefs import Beliefs
from groupwise.groups.filters import Skip, is_dead
from groupwise.groups.orders import Order
from groupwise.randomness import uniforms
from groupwise.rewards.scoring import Scored
from groupwise.tasks.task import Task
from groupwise.trajectory import Group, Prior, Prompt

SKIPPING = -1
"""In place of a sample's number: the number that decides whether a prompt is passed over is no answer's."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """How a step's answers are spent. The defaults ask every prompt equally often."""

    size: int = 8
    """Answers to each prompt; on average, where `allocate` shares them out."""
    answers: int | None = None
    """Answers of a step; None: `size` for each prompt."""
    allocate: Allocate = uniform
    low: int = 2
    """The smallest group that `allocate` may make."""
    high: int = 1 << 20
    """And the largest."""
    resample: int = 0
    """Rounds in which fresh prompts replace those whose group got one and the same reward throughout."""
    skip: Skip | None = None
    """Which prompts to pass over; None: none."""
    kind: str = "kind"
    """The column that says of which kind a row is: see `Beliefs`."""

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(
                f"group size {self.size}: an answer is judged against its siblings, so a group needs 2 "
                "or more. Set --group-size to 2 or more (4 to 32 is usual)."
            )
        if not 2 <= self.low <= self.high:
            raise ValueError(
                f"groups of {self.low} to {self.high} answers: --min-group is 2 or more, since an answer is "
                "judged against its siblings, and --max-group not below it (4 and 32 unless given)."
            )
        if self.resample < 0:
            raise ValueError(f"--resample {self.resample}: a number of rounds, 0 or more")

    def budget(self, prompts: int) -> int:
        """Answers of a step, before any is replaced."""
        return prompts * self.size if self.answers is None else self.answers

    def varies(self, prompts: int) -> bool:
        """Whether the groups of a step may differ in size."""
        return self.allocate is not uniform or self.budget(prompts) % prompts != 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A step under way. Ask what `orders` says and hand the scored answers to `answered`, until none is left.

    Sizes come from beliefs as of before the step alone, those of replacements too.
    """

    grouping: Grouping
    task: Task
    seed: int
    step: int
    beliefs: Beliefs
    drawn: int
    """Prompts taken from the run's stream so far, those passed over among them."""
    orders: tuple[Order, ...] = ()
    """To be collected now."""
    cohort: tuple[Group, ...] = ()
    """Scored, to train on."""
    replaced: tuple[Group, ...] = ()
    """Scored, nothing to learn from, and others were asked in their place."""
    skipped: int = 0
    logged: tuple[Mapping[str, float], ...] = ()
    """By the rewards, round for round."""

    def asking(self, n: int, budget: int) -> Plan:
        """With orders for the next n prompts that are not passed over, `budget` answers together."""
        prompts: list[Prompt] = []
        drawn = self.drawn
        while len(prompts) < n:
            fresh = self.task.stream(drawn, n - len(prompts), self.seed)
            drawn += len(fresh)
            prompts += [prompt for prompt in fresh if not self._passes_over(prompt)]
        believed = [self.beliefs.about(prompt, self.step) for prompt in prompts]
        sizes = self.grouping.allocate(believed, budget, self.grouping.low, self.grouping.high)
        orders = tuple(map(Order, prompts, sizes))
        return replace(
            self, orders=orders, drawn=drawn, skipped=self.skipped + drawn - self.drawn - len(prompts)
        )

    def answered(self, scored: Scored) -> Plan:
        """With the answers to its orders. Groups without a spread are replaced while rounds are left."""
        logged = (*self.logged, scored.metrics)
        groups = [replace(group, prior=self._prior(group.prompt)) for group in scored.cohort]
        dead = [group for group in groups if is_dead(group)]
        if not dead or len(self.logged) >= self.grouping.resample:
            return replace(self, orders=(), cohort=(*self.cohort, *groups), logged=logged)
        live = (group for group in groups if not is_dead(group))
        left = replace(self, cohort=(*self.cohort, *live), replaced=(*self.replaced, *dead), logged=logged)
        return left.asking(len(dead), sum(len(group.trajectories) for group in dead))

    @property
    def every(self) -> tuple[Group, ...]:
        """All groups that were asked."""
        return (*self.cohort, *self.replaced)

    def remembered(self) -> dict[str, Any]:
        """For the next step, as JSON."""
        return {"drawn": self.drawn, **self.beliefs.after(self.every, self.step).saved()}

    def numbers(self, cohort: Sequence[Group]) -> dict[str, float]:
        """Of the step (docs/metrics.md); `cohort` is the plan's with advantages."""
        sizes = np.array([len(group.trajectories) for group in self.every])
        live = [not is_dead(group) for group in self.every]
        taught = [t.advantage is not None and t.advantage.any() for g in cohort for t in g.trajectories]
        rewards = [group.rewards[~np.isnan(group.rewards)] for group in self.every]
        means = [float(r.mean()) for r in rewards if len(r)]
        numbers = {
            "groups/size/mean": float(sizes.mean()),
            "groups/size/min": float(sizes.min()),
            "groups/size/max": float(sizes.max()),
            "groups/answers": float(sizes.sum()),
            "groups/dead": float(len(sizes) - sum(live)),
            "groups/replaced": float(len(self.replaced)),
            "groups/skipped": float(self.skipped),
            "groups/informative": float(sizes[live].sum() / sizes.sum()),
            "groups/trained": float(sum(taught) / sizes.sum()),
            **({"groups/reward": float(np.mean(means))} if means else {}),
        }
        return {**numbers, **_means(self.logged)}

    def _prior(self, prompt: Prompt) -> Prior | None:
        """Worth the answers that this very row has had; None where it has had none."""
        belief = self.beliefs.about(prompt, self.step)
        return Prior(belief.mean, belief.evidence) if belief.evidence else None

    def _passes_over(self, prompt: Prompt) -> bool:
        if self.grouping.skip is None:
            return False
        place = np.array([prompt.ordinal]), np.array([SKIPPING]), np.array([0])
        number = float(uniforms(self.seed, *place)[0])
        return self.grouping.skip(self.beliefs.about(prompt, self.step), number)


def plan(
    grouping: Grouping, task: Task, prompts: int, seed: int, step: int, saved: Mapping[str, Any]
) -> Plan:
    """A step's plan, a function of its arguments alone; `saved` is what the step before `remembered`."""
    drawn = prompts_drawn(saved, step - 1, prompts)
    empty = Plan(grouping, task, seed, step, Beliefs.of(saved, grouping.kind), drawn)
    return empty.asking(prompts, grouping.budget(prompts))


def prompts_drawn(saved: Mapping[str, Any], steps: int, prompts: int) -> int:
    """By the run's first `steps` steps, those replaced or passed over among them; `saved` as of `plan`."""
    return saved.get("drawn", steps * prompts)


def _means(logged: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over the rounds in which a reward logged a name."""
    names = dict.fromkeys(name for numbers in logged for name in numbers)
    found = {name: [numbers[name] for numbers in logged if name in numbers] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
