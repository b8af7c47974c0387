"""The loop: sample groups, score them, move the policy; repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from groupwise import advantages, groups, metrics, packing
from groupwise.checkpoints import Checkpoints, State
from groupwise.groups import Grouping, Order
from groupwise.learner import Learner
from groupwise.metrics import Clock
from groupwise.policies import Policy, Reference
from groupwise.recipes import Recipe
from groupwise.rescue import Rescue
from groupwise.rewards.ahead import Ahead
from groupwise.rewards.guard import Guard, Verdict
from groupwise.rewards.scoring import Scored, TrainerState
from groupwise.rollouts import Progress, Sampler
from groupwise.tasks.task import Task
from groupwise.trajectory import Batch, Group


@dataclass(frozen=True, slots=True)
class Schedule:
    """How much, and how often."""

    steps: int
    prompts: int
    """Prompts in a step."""
    evaluate_every: int = 0
    """Steps between held-out evaluations; 0 evaluates only before and after."""
    save_every: int = 30
    held_out: int = 200
    """Held-out prompts in an evaluation."""

    def __post_init__(self) -> None:
        if min(self.steps, self.prompts, self.save_every, self.held_out) < 1 or self.evaluate_every < 0:
            raise ValueError(f"{self}: steps, prompts, save_every and held_out are at least 1")

    def evaluates(self, step: int) -> bool:
        return step == self.steps or bool(self.evaluate_every and step % self.evaluate_every == 0)

    def saves(self, step: int) -> bool:
        return step == self.steps or step % self.save_every == 0


class Journal(Protocol):
    """Where a run is written down, and how a person watches it."""

    def start(self, state: State) -> None:
        """Drop what was written after this state, and go on from there."""

    def phase(self, name: str) -> Progress:
        """A phase of the step begins; returns what to call as it goes on."""

    def samples(self, step: int, cohort: Sequence[Group]) -> None: ...

    def evaluation(self, step: int, evaluation: Evaluation) -> None: ...

    def verdict(self, step: int, verdict: Verdict, cohort: Sequence[Group]) -> None:
        """What the guard says of a step."""

    def step(self, step: int, numbers: Mapping[str, float]) -> None: ...


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a run is made of. Which algorithm, model or world it is shows only in these values."""

    folder: Path
    seed: int
    task: Task
    recipe: Recipe
    grouping: Grouping
    schedule: Schedule
    sampler: Sampler
    score: Callable[[Sequence[Group], TrainerState], Scored]
    policy: Policy
    learner: Learner
    reference: Reference | None
    tokens_per_microbatch: int
    checkpoints: Checkpoints
    journal: Journal
    stopping: Callable[[], bool] = lambda: False
    """Asked after every step; True saves and ends the run."""
    guard: Guard = Guard()  # noqa: RUF009 - frozen
    """Looks at every step for signs that the reward is being hacked."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Held-out scores by name, and the answers they are means of."""

    scores: Mapping[str, float]
    answers: tuple[Mapping[str, Any], ...]


def train(run: Run) -> State:
    """Train from the last checkpoint, if there is one, to the last step, or until it is stopped."""
    clock, rescue = Clock(), Rescue(run.learner, run.checkpoints)
    state = _start(run, clock, rescue)

    for step in range(state.step + 1, run.schedule.steps + 1):
        rescue.hold(state)
        plan = groups.plan(run.grouping, run.task, run.schedule.prompts, run.seed, step, state.beliefs)
        while plan.orders:  # once, and again where groups that taught nothing are replaced
            scored = _scored(run, plan.orders, _seen(run, state), clock, rescue)
            plan = plan.answered(run.guard.screened(scored, state.guard))
        with clock("learn"), rescue("learning"):
            run.journal.phase("learning")
            recipe = run.learner.scaled(run.recipe)
            cohort = advantages.assign(plan.cohort, recipe.advantage, recipe.rescale)
            batch = _pack(run, cohort, recipe, state.step)
            update = run.learner.step(batch, recipe, step)
            run.sampler.load(step)
        asked = [*cohort, *plan.replaced]
        with clock("write"):
            run.journal.samples(step, asked)
        with clock("guard"):
            verdict = run.guard.inspect(step, asked, update.metrics, state.guard)
            run.journal.verdict(step, verdict, asked)

        times = clock.take(metrics.count_decisions(asked))
        state = state.after(step, times["step_time"], metrics.count_tokens(asked))
        state = replace(state, beliefs=plan.remembered(), sampler=run.sampler.memory())
        state = replace(state, guard=verdict.memory, stopped=verdict.stop)
        numbers = {**metrics.of_cohort(asked), **plan.numbers(cohort), **update.metrics, **verdict.numbers}
        state = _written(run, replace(state, owed={**numbers, **times}), asked, clock, rescue)
        stop = run.stopping() or bool(state.stopped)
        if run.schedule.saves(step) or state.best.get("step") == step or stop:
            with clock("save"):  # counted in the next line: a line is written before its checkpoint
                run.checkpoints.save(run.learner, state)
        if stop:
            break
    return state


def _scored(run: Run, orders: Sequence[Order], seen: TrainerState, clock: Clock, rescue: Rescue) -> Scored:
    """The answers to orders with their rewards, those that can begin before all are written among them."""
    with Ahead(run.task.rewards, [order.prompt for order in orders], seen) as ahead:
        with clock("generate"), rescue("writing answers"):
            progress = run.journal.phase("writing answers")
            answers = run.sampler.collect(orders, progress=progress, finished=ahead.begin)
        with clock("reward"), rescue("scoring"):
            ahead.wait()
            clock.ahead += ahead.seconds
            return run.score(answers, seen)


def _written(run: Run, state: State, cohort: Sequence[Group], clock: Clock, rescue: Rescue) -> State:
    """With the numbers of its last step written down, held-out scores among them where they are due."""
    rescue.hold(state)
    scores: Mapping[str, float] = {}
    if run.schedule.evaluates(state.step):
        with clock("evaluate"), rescue("answering held-out prompts"):
            evaluation = _evaluate(run, state)
            verdict = run.guard.examine(state.step, evaluation.answers, cohort, state.guard)
            run.journal.verdict(state.step, verdict, cohort)
        scores = evaluation.scores
        state = replace(state, guard=verdict.memory, stopped=state.stopped or verdict.stop)
        state = replace(state, owed={**state.owed, **clock.apart("evaluate")})
    run.journal.step(state.step, {**state.owed, **_prefixed(scores), "num_tokens": state.num_tokens})
    return state.scored(scores, run.task.measure)


def _pack(run: Run, cohort: Sequence[Group], recipe: Recipe, version: int) -> Batch | None:
    budget, reference, parts = run.tokens_per_microbatch, run.reference, run.learner.optimization.minibatches
    return packing.pack(
        cohort, recipe, run.policy, budget, reference, version=version, seed=run.seed, minibatches=parts
    )


def _start(run: Run, clock: Clock, rescue: Rescue) -> State:
    """The last whole checkpoint's state, or that of a run whose held-out scores were just taken."""
    with rescue("answering held-out prompts"):
        state = run.checkpoints.resume(run.learner) or State()
        run.sampler.load(state.step)
        run.sampler.recall(state.sampler)
        run.journal.start(state)
        if not state.step and not state.before:
            evaluation = _evaluate(run, state)
            return replace(state, before=evaluation.scores, guard=run.guard.begun(evaluation.answers))
    if state.owed:
        state = _written(run, state, (), clock, rescue)
        run.checkpoints.save(run.learner, state)
    return state


def evaluate(
    sampler: Sampler,
    score: Callable[[Sequence[Group], TrainerState], Scored],
    task: Task,
    n: int,
    progress: Progress | None = None,
    state: TrainerState | None = None,
) -> Evaluation:
    """Answer n held-out prompts greedily, once each. A part's score is its mean where it applies.

    Scores are named NAME for a part of the reward, gold/NAME for a gold reward, and reward.
    """
    orders = [Order(prompt, 1) for prompt in task.examples(n)]
    cohort = score(sampler.collect(orders, greedy=True, progress=progress), state or TrainerState()).cohort
    numbers = metrics.of_cohort(cohort)
    parts = [name for name in numbers if name.startswith(("rewards/", "gold/")) and name.endswith("/mean")]
    scores = {name.removeprefix("rewards/").removesuffix("/mean"): numbers[name] for name in parts}
    scores |= {"reward": numbers["reward"]} if "reward" in numbers else {}
    return Evaluation(scores, tuple(metrics.samples_of(cohort)))


def _evaluate(run: Run, state: State) -> Evaluation:
    progress, seen = run.journal.phase("held-out answers"), _seen(run, state)
    evaluation = evaluate(run.sampler, run.score, run.task, run.schedule.held_out, progress, seen)
    run.journal.evaluation(state.step, evaluation)
    return evaluation


def _prefixed(scores: Mapping[str, float]) -> dict[str, float]:
    return {f"eval/{name}": value for name, value in scores.items()}


def _seen(run: Run, state: State) -> TrainerState:
    """What rewards are told after the finished steps of `state`."""
    drawn = groups.prompts_drawn(state.beliefs, state.step, run.schedule.prompts)
    return TrainerState(state.step, run.schedule.steps, drawn / len(run.task.train))
