"""The loop: what it asks for, in which order, and what it makes of the answers."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from groupwise.checkpoints import State
from groupwise.config import build
from groupwise.journal import RunJournal
from groupwise.rewards.guard import Action, Alarm, Guard, Watch, guard_of
from groupwise.rewards.scoring import Reward, Scored, TrainerState, score
from groupwise.settings import Settings
from groupwise.tasks.task import Task
from groupwise.trainer import Run, Schedule, evaluate
from groupwise.trainer import train as train_run
from groupwise.trajectory import Group, PolicyTag, StopReason, Trajectory, Turn

pytest.importorskip("gymnasium")


# ---------------------------------------------------------------------------- when


def test_a_schedule_evaluates_and_saves_when_it_says() -> None:
    """Always after the last step; every so many steps; evaluate_every 0 only at the end."""
    often = Schedule(steps=7, prompts=1, evaluate_every=3, save_every=2)
    assert [step for step in range(1, 8) if often.evaluates(step)] == [3, 6, 7]
    assert [step for step in range(1, 8) if often.saves(step)] == [2, 4, 6, 7]
    rarely = Schedule(steps=7, prompts=1)
    assert [step for step in range(1, 8) if rarely.evaluates(step)] == [7]
    assert [step for step in range(1, 8) if rarely.saves(step)] == [7]


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"prompts": 0}, {"save_every": 0}, {"held_out": 0}, {"evaluate_every": -1}]
)
def test_a_schedule_that_cannot_be_is_refused_by_name(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        Schedule(**{"steps": 1, "prompts": 1, **wrong})


# ---------------------------------------------------------------------------- evaluate


class Echo:
    """A sampler that answers with the prompt, and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []

    def collect(self, orders: Sequence[Any], greedy: bool = False, progress: Any = None) -> list[Group]:
        self.asked += [(order.count, greedy) for order in orders]
        turn = Turn(np.arange(1), np.arange(2), np.zeros(2, dtype=np.float32))
        return [
            Group(o.prompt, (Trajectory((turn,), PolicyTag(), StopReason.FINISHED, o.prompt.content),))
            for o in orders
        ]


def right(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    return [float(c == a) for c, a in zip(completions, answer, strict=True)]


def length(completions: list[str], **_: Any) -> list[float | None]:
    return [len(c) if len(c) > 1 else None for c in completions]


ROWS = [{"prompt": p, "answer": a} for p, a in (("a", "a"), ("bb", "x"), ("cccc", "cccc"), ("d", "y"))]


def test_evaluate_gives_means_over_greedy_answers() -> None:
    """A part's mean is over the answers that it applies to; `reward` is the weighted whole."""
    task = Task("t", ROWS, ROWS, (Reward("right", right), Reward("length", length, 0.5)))
    echo = Echo()
    got = evaluate(echo, lambda cohort, state: score(cohort, task.rewards, state), task, 10)
    assert got.scores == {"right": 0.5, "length": 3.0, "reward": (1 + 1 + 3 + 0) / 4}
    assert echo.asked == [(1, True)] * 4
    assert [a["text"] for a in got.answers] == ["a", "bb", "cccc", "d"]
    few = evaluate(echo, lambda cohort, state: score(cohort, task.rewards, state), task, 1)
    assert (few.scores["right"], len(few.answers)) == (1.0, 1)


def test_evaluate_gives_gold_scores_beside_the_parts() -> None:
    """Held-out gold is what a hacked reward is found out by; a name in both is two scores."""
    task = Task("t", ROWS, ROWS, (Reward("length", length),), gold=(Reward("length", right),))
    got = evaluate(Echo(), lambda cohort, state: score(cohort, task.rewards, state, gold=task.gold), task, 10)
    assert got.scores == {"length": 3.0, "gold/length": 0.5, "reward": 3.0}
    assert [a["gold"] for a in got.answers] == [{"length": v} for v in (1.0, 0.0, 1.0, 0.0)]
    assert task.measure in got.scores


def test_a_part_that_applies_to_nothing_has_no_score() -> None:
    task = Task("t", ROWS, [ROWS[0]], (Reward("length", length),))
    got = evaluate(Echo(), lambda cohort, state: score(cohort, task.rewards, state), task, 4)
    assert got.scores == {}


# ---------------------------------------------------------------------------- train


def cart(folder: Path, **settings: Any) -> Run:
    small = {"steps": 3, "prompts": 2, "group_size": 3, "held_out": 2, "epochs": 1, "evaluate_every": 2}
    chosen = Settings(task="gym:CartPole-v1", device="cpu", **{**small, **settings})
    folder.mkdir(exist_ok=True)
    return build(chosen, folder, Console(file=io.StringIO()), lambda: False).run


def train(run: Run) -> State:
    """Train, and close what the run is written down in."""
    with contextlib.closing(run.journal) if isinstance(run.journal, RunJournal) else contextlib.nullcontext():
        return train_run(run)


class Notes:
    """A journal that keeps everything."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def start(self, state: Any) -> None:
        self.calls.append(("start", state.step))

    def phase(self, name: str) -> Any:
        return lambda done, total: None

    def samples(self, step: int, cohort: Any) -> None:
        self.calls.append(("samples", step, cohort))

    def evaluation(self, step: int, evaluation: Any) -> None:
        self.calls.append(("evaluation", step, evaluation))

    def verdict(self, step: int, verdict: Any, cohort: Any) -> None:
        self.calls += [("alarm", step, alarm, cohort) for alarm, _ in verdict.raised]

    def step(self, step: int, numbers: Any) -> None:
        self.calls.append(("step", step, numbers))


def test_the_order_of_a_run(tmp_path: Path) -> None:
    """Scores before training, then each step's samples, scores where due, and numbers."""
    notes = Notes()
    train(replace(cart(tmp_path), journal=notes))
    assert [call[:2] for call in notes.calls] == [
        ("start", 0), ("evaluation", 0),
        ("samples", 1), ("step", 1),
        ("samples", 2), ("evaluation", 2), ("step", 2),
        ("samples", 3), ("evaluation", 3), ("step", 3),
    ]  # fmt: skip
    cohorts = [call[2] for call in notes.calls if call[0] == "samples"]
    assert [[g.prompt.ordinal for g in cohort] for cohort in cohorts] == [[0, 1], [2, 3], [4, 5]]
    for step, cohort in enumerate(cohorts, start=1):
        members = [t for g in cohort for t in g.trajectories]
        assert {t.policy.version for t in members} == {step - 1}
        assert all(t.advantage is not None and len(t.advantage) == t.n_decisions for t in members)
    evaluations = {call[1]: call[2].scores for call in notes.calls if call[0] == "evaluation"}
    numbers = {call[1]: call[2] for call in notes.calls if call[0] == "step"}
    assert numbers[2]["eval/return"] == evaluations[2]["return"]
    assert "eval/return" not in numbers[1]
    lengths = [sum(t.n_decisions for g in cohort for t in g.trajectories) for cohort in cohorts]
    assert [numbers[step]["num_tokens"] for step in (1, 2, 3)] == list(np.cumsum(lengths))


def test_the_state_sums_up_the_run(tmp_path: Path) -> None:
    state = train(cart(tmp_path))
    steps = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()][1:]
    assert state.step == 3
    assert state.num_tokens == steps[-1]["num_tokens"]
    assert state.train_seconds == pytest.approx(sum(row["step_time"] for row in steps))
    evaluated = {row["step"]: row["eval/return"] for row in steps if "eval/return" in row}
    assert state.best["reward"] == max(evaluated.values())
    assert evaluated[int(state.best["step"])] == state.best["reward"]


def test_rewards_know_where_the_run_is(tmp_path: Path) -> None:
    """global_step counts finished steps, as in TRL; max_steps is known in evaluations too."""
    run, seen = cart(tmp_path), list[TrainerState]()

    def watching(cohort: Sequence[Group], state: TrainerState) -> Scored:
        seen.append(state)
        return run.score(cohort, state)

    train(replace(run, score=watching, task=replace(run.task, train=[run.task.train[i] for i in range(4)])))
    assert [s.global_step for s in seen] == [0, 0, 1, 2, 2, 3]
    assert [s.epoch for s in seen] == [0, 0, 0.5, 1.0, 1.0, 1.5]
    assert {s.max_steps for s in seen} == {3}


def test_the_epoch_counts_prompts_that_were_replaced(tmp_path: Path) -> None:
    """Of 10 rows, the first step draws 2, replaces them by 2 more, and the second begins at 4 of 10."""
    run, seen = cart(tmp_path, steps=2, resample=1), list[TrainerState]()

    def flat_at_first(cohort: Sequence[Group], state: TrainerState) -> Scored:
        seen.append(state)
        scored = run.score(cohort, state)
        if cohort[0].prompt.ordinal or cohort[0].prompt.row is None:
            return scored
        same = [tuple(replace(t, reward=0.5) for t in g.trajectories) for g in scored.cohort]
        return Scored([replace(g, trajectories=ts) for g, ts in zip(scored.cohort, same, strict=True)])

    train(
        replace(
            run, score=flat_at_first, task=replace(run.task, train=[run.task.train[i] for i in range(10)])
        )
    )
    assert [(s.global_step, s.epoch) for s in seen] == [(0, 0), (0, 0), (0, 0), (1, 0.4), (2, 0.6)]


def test_asked_to_stop_it_saves_and_ends_after_the_step(tmp_path: Path) -> None:
    asked: list[int] = []
    run = replace(cart(tmp_path, steps=50), stopping=lambda: bool(asked))
    load = run.sampler.load
    run.sampler.load = lambda version: (load(version), asked.append(1) if version == 2 else None)  # type: ignore[method-assign]
    assert train(run).step == 2
    assert run.checkpoints.steps() == [2]


def weights_of(run: Run) -> torch.Tensor:
    return torch.cat([w.detach().flatten().clone() for w in run.learner.masters.weights.values()])


def test_micro_batches_do_not_change_what_is_learnt(tmp_path: Path) -> None:
    """A budget that cuts each step into pieces gives the weights of one pass, but for rounding."""
    whole = cart(tmp_path / "whole")
    cut = cart(tmp_path / "cut", tokens_per_microbatch=120)
    before = weights_of(whole)
    assert torch.equal(before, weights_of(cut))
    train(whole), train(cut)
    moved = (weights_of(whole) - before).abs().max()
    assert (weights_of(whole) - weights_of(cut)).abs().max() < 1e-2 * moved


def test_equal_rewards_teach_nothing(tmp_path: Path) -> None:
    """With one reward for all, weights do not change at all, moments are not even made."""
    run = cart(tmp_path)
    before = weights_of(run)

    def constant(cohort: Sequence[Group], state: TrainerState) -> Scored:
        same = [
            replace(g, trajectories=tuple(replace(t, reward=0.7, parts={}) for t in g.trajectories))
            for g in cohort
        ]
        return Scored(same)

    train(replace(run, score=constant))
    assert torch.equal(weights_of(run), before)
    assert not run.learner.optimizer.state


def test_groups_that_teach_nothing_are_replaced(tmp_path: Path) -> None:
    """The first two prompts and the third give one reward throughout: two rounds, four prompts in all.

    What was thrown away is written down without an advantage, and its decisions are counted.
    """
    run, notes = cart(tmp_path, steps=1, resample=2), Notes()

    def flat_at_first(cohort: Sequence[Group], state: TrainerState) -> Scored:
        scored = run.score(cohort, state).cohort
        flat = [g.prompt.ordinal < 3 and g.prompt.row is not None for g in scored]
        return Scored(
            [
                replace(g, trajectories=tuple(replace(t, reward=0.5) for t in g.trajectories)) if f else g
                for g, f in zip(scored, flat, strict=True)
            ]
        )

    state = train(replace(run, score=flat_at_first, journal=notes))
    [(_, _, written)] = [call for call in notes.calls if call[0] == "samples"]
    [(_, _, numbers)] = [call for call in notes.calls if call[0] == "step"]
    assert [g.prompt.ordinal for g in written] == [3, 4, 0, 1, 2]
    learnt = [all(t.advantage is not None for t in g.trajectories) for g in written]
    assert learnt == [True, True, False, False, False]
    assert (numbers["groups/replaced"], numbers["groups/dead"], numbers["groups/answers"]) == (3, 3, 15)
    assert state.num_tokens == sum(t.n_decisions for g in written for t in g.trajectories)
    assert state.beliefs["drawn"] == 5


def test_groups_of_different_sizes_count_alike(tmp_path: Path) -> None:
    """7 answers to 2 prompts, 4 and 3: an answer of the larger group counts 3/4 of one of the smaller."""
    run, notes, seen = cart(tmp_path, answers=7, steps=1), Notes(), list[Any]()
    step = run.learner.step
    run.learner.step = lambda batch, *more: (seen.append(batch), step(batch, *more))[1]  # type: ignore[method-assign]
    train(replace(run, journal=notes))
    [(_, _, written)] = [call for call in notes.calls if call[0] == "samples"]
    assert [len(g.trajectories) for g in written] == [4, 3]
    [batch] = seen
    length = run.recipe.weigh.inner.length  # type: ignore[attr-defined]
    for of_group, size in ((batch.trajectory_id < 4, 4), (batch.trajectory_id >= 4, 3)):
        assert batch.weight[of_group].tolist() == pytest.approx(
            [1 / (2 * size * length)] * int(of_group.sum())
        )


def test_the_best_is_kept_though_its_step_is_no_save_step(tmp_path: Path) -> None:
    run = cart(tmp_path)
    state = train(replace(run, schedule=replace(run.schedule, evaluate_every=1, save_every=1000)))
    assert int(state.best["step"]) in run.checkpoints.steps()


# ---------------------------------------------------------------------------- the guard


@dataclass(frozen=True)
class Fires:
    """At a step, pointing at the first answer of every group."""

    at: int
    name: str = "fires"

    def __call__(self, answers: Any, history: Any) -> list[Alarm]:
        return [Alarm(self.name, "look", offenders=((1, 2),))] if history.steps[-1] == self.at else []

    def offending(self, answers: Any, history: Any) -> list[tuple[int, int]]:
        return [place for place in answers.places if place[1] == 0]


def test_a_guard_that_only_tells_changes_no_weight(tmp_path: Path) -> None:
    """No guard, one that is off, one that looks, one whose alarm comes: the same bits."""
    told = Guard((Watch(Fires(2)),))
    runs = [
        replace(cart(tmp_path / name), **({} if guard is None else {"guard": guard}))
        for name, guard in {"none": Guard(), "off": guard_of("off", {}), "flag": None, "told": told}.items()
    ]
    states = [train(run) for run in runs]
    assert all(torch.equal(weights_of(run), weights_of(runs[0])) for run in runs)
    assert [bool(state.guard) for state in states] == [False, False, True, True]
    folders = [run.folder for run in runs]
    samples = [(folder / "samples.jsonl").read_bytes() for folder in folders]
    assert samples == [samples[0]] * 4
    [alarm] = [json.loads(line) for line in (folders[3] / "alarms.jsonl").read_text().splitlines()]
    assert (alarm["step"], alarm["alarm"], alarm["action"]) == (2, "fires", "flag")
    shown = [json.loads(line) for line in samples[3].decode().splitlines()]
    last = {k: v for k, v in shown[11].items() if k != "step"}
    assert alarm["samples"] == [last]  # step 2, group 1, answer 2


def test_a_guard_that_drops_trains_on_the_others(tmp_path: Path) -> None:
    """What it drops is left out before the advantages, counted, and written down with the reason."""
    notes, run = Notes(), cart(tmp_path, steps=1)
    train(replace(run, journal=notes, guard=Guard((Watch(Fires(9), Action.DROP),))))
    [(_, _, written)] = [call for call in notes.calls if call[0] == "samples"]
    for g in written:
        first, *others = g.trajectories
        assert (first.reward, first.extra) == (None, {"guard": "fires"})
        assert not first.advantage.any()
        rewards = np.array([t.reward for t in others])
        # dr_grpo: the reward less the mean, of those that were left
        assert [t.advantage[0] for t in others] == pytest.approx(rewards - rewards.mean(), rel=1e-5)
    [(_, _, numbers)] = [call for call in notes.calls if call[0] == "step"]
    assert (numbers["guard/dropped"], numbers["rewards/unscored"]) == (2, pytest.approx(1 / 3))


def test_a_guard_that_stops_saves_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    stopping = Guard((Watch(Fires(2), Action.STOP),))
    run = replace(cart(tmp_path, steps=4), guard=stopping)
    state = train(run)
    assert (state.step, state.stopped) == (2, "look")
    assert run.checkpoints.steps() == [2]
    again = replace(cart(tmp_path, steps=4), guard=stopping)
    state = train(again)
    assert (state.step, state.stopped) == (4, "")
    undisturbed = replace(cart(tmp_path / "other", steps=4), guard=Guard((Watch(Fires(2)),)))
    assert train(undisturbed).guard == state.guard
    assert torch.equal(weights_of(undisturbed), weights_of(again))


def test_the_held_out_answers_before_training_are_remembered(tmp_path: Path) -> None:
    """Without them a fall from the very start would have nothing to be measured by."""
    run = cart(tmp_path, steps=1)

    def judged(cohort: Sequence[Group], state: TrainerState) -> Scored:
        held_out = cohort[0].prompt.row is None
        value = 1.0 - state.global_step if held_out else 0.5
        return Scored(
            [
                replace(g, trajectories=tuple(replace(t, gold={"g": value}) for t in g.trajectories))
                for g in run.score(cohort, state).cohort
            ]
        )

    state = train(replace(run, score=judged))
    history = state.guard["history"]
    assert [(h.step, list(h.values)) for h in (history["peaks"]["g"], history["latest"]["g"])] == [
        (0, [1.0, 1.0]),
        (1, [0.0, 0.0]),
    ]
