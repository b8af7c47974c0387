"""Scores a cohort with plain callables that have TRL's signature.

    f(prompts, completions, completion_ids, **columns, group_ids=, trainer_state=, log_extra=, log_metric=)
        -> list[float | None | Failed]

sync or async, one value for each completion; None where the reward does not apply to it. Completions with
the same number in `group_ids` are siblings, answers to one prompt: siblings.py compares them. Where a world
gives rewards on the way, `returns` holds their sums; where it is talked to, `environments` holds it.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from groupwise.trajectory import Group, StopReason, Trajectory


@dataclass(frozen=True, slots=True)
class Reward:
    """A named part of the reward."""

    name: str
    function: Callable[..., Any]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class TrainerState:
    """What a reward may ask about the run; field names as in TRL's `trainer_state`."""

    global_step: int = 0
    """Finished optimizer steps."""
    max_steps: int = 1
    epoch: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """In the place of a value: this answer could not be judged."""

    reason: str
    """A few words; what comes after a colon is a detail that is not counted apart."""


Value = float | None | Failed


class RewardError(RuntimeError):
    """A reward function broke its contract. Names it, and the file that holds its input."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A cohort with rewards, and the numbers that the reward functions logged."""

    cohort: list[Group]
    metrics: Mapping[str, float] = field(default_factory=dict)


def score(
    cohort: Sequence[Group],
    rewards: Sequence[Reward],
    state: TrainerState,
    failures: Path | None = None,
    gold: Sequence[Reward] = (),
) -> Scored:
    """Fill `reward`, `parts`, `gold` and `extra` of every trajectory of a cohort.

    reward = sum of weight x part over the parts that are not None; None when all of them are, or when
    one has failed: without that part it would not compare with its siblings, so it has no place in their
    baseline. Failures are named in `extra` and logged as `rewards/NAME/failed`.
    What a `gold` reward gives, or that it failed, stands in `gold` (`gold/NAME/failed`) and moves no reward.
    Trajectories that stopped on an error are not shown to the rewards and stay unscored.

    Raises:
        RewardError: a function raised, gave the wrong number of values, NaN or something else that
            is no number. Its input is appended to `failures`, JSON lines.
    """
    members = judged(cohort)
    log = _Log(len(members))
    if not members:
        return Scored(list(cohort))
    columns = dict.fromkeys(name for g, _ in members for name in g.prompt.columns)
    kwargs = arguments(members, state, columns)
    kwargs |= {"log_extra": log.log_extra, "log_metric": log.log_metric}
    called = _call_all([*rewards, *gold], kwargs, failures)
    values = {r.name: v for r, v in zip(rewards, called[: len(rewards)], strict=True)}
    apart = {r.name: v for r, v in zip(gold, called[len(rewards) :], strict=True)}
    _log_failures(log, values, "rewards/")
    _log_failures(log, apart, "gold/")
    weights = {r.name: r.weight for r in rewards}
    scored = {
        id(t): replace(
            t,
            **_total(values, weights, i),
            gold={name: _known(v[i]) for name, v in apart.items()},
            extra={**t.extra, **{k: v[i] for k, v in log.extra.items()}},
            environment=None,
        )
        for i, (_, t) in enumerate(members)
    }
    new = [replace(g, trajectories=tuple(scored.get(id(t), t) for t in g.trajectories)) for g in cohort]
    return Scored(new, {name: sum(v) / len(v) for name, v in log.metrics.items()})


def _total(values: Mapping[str, list[Value]], weights: Mapping[str, float], i: int) -> dict[str, Any]:
    row = {name: v[i] for name, v in values.items()}
    parts = {name: _known(v) for name, v in row.items()}
    known = [weights[name] * part for name, part in parts.items() if part is not None]
    failed = any(isinstance(v, Failed) for v in row.values())
    return {"parts": parts, "reward": sum(known) if known and not failed else None}


def _known(value: Value) -> float | None:
    return None if isinstance(value, Failed) else value


def _log_failures(log: _Log, values: Mapping[str, Sequence[Value]], prefix: str) -> None:
    """Of each reward, shares of the answers, all failures and by reason; nothing where there are none."""
    for name, of_answers in values.items():
        reasons = [v.reason if isinstance(v, Failed) else "" for v in of_answers]
        counts = Counter(filter(None, reasons))
        if not counts:
            continue
        log.log_extra(f"{prefix.removeprefix('rewards/')}{name}/failed", reasons)
        log.log_metric(f"{prefix}{name}/failed", counts.total() / log.n)
        kinds = Counter(reason.partition(":")[0].replace(" ", "_") for reason in counts.elements())
        for kind, n in kinds.items():
            log.log_metric(f"{prefix}{name}/failed/{kind}", n / log.n)


class _Log:
    """Receives what rewards log beside their values."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.extra: dict[str, list[Any]] = {}
        self.metrics: dict[str, list[float]] = {}

    def log_extra(self, column: str, values: Sequence[Any]) -> None:
        if len(values) != self.n:
            raise ValueError(f"log_extra({column!r}) got {len(values)} values for {self.n} completions")
        self.extra[column] = list(values)

    def log_metric(self, name: str, value: float) -> None:
        self.metrics.setdefault(name, []).append(float(value))


Member = tuple[Group, Trajectory]


def judged(cohort: Sequence[Group]) -> list[Member]:
    """The answers that rewards are shown, with their groups: all but those on which the world failed."""
    return [(g, t) for g in cohort for t in g.trajectories if t.stopped is not StopReason.ERROR]


def arguments(members: Sequence[Member], state: TrainerState, columns: Iterable[str]) -> dict[str, Any]:
    """What rewards are given of these answers, but for what they log by. A row without a column has None."""
    numbers: dict[int, int] = {}
    for g, _ in members:
        numbers.setdefault(id(g), len(numbers))
    return {
        **{name: [g.prompt.columns.get(name) for g, _ in members] for name in columns},
        "prompts": [g.prompt.content for g, _ in members],
        "completions": [_completion(g, t) for g, t in members],
        "group_ids": [numbers[id(g)] for g, _ in members],
        "completion_ids": [[int(d) for turn in t.turns for d in turn.decisions] for _, t in members],
        "trainer_state": state,
        **(_of_conversations(members) if any(t.messages for _, t in members) else {}),
    }


def _of_conversations(members: Sequence[Member]) -> dict[str, Any]:
    return {
        "returns": [t.gained for _, t in members],
        "environments": [t.environment for _, t in members],
    }


def _completion(group: Group, trajectory: Trajectory) -> str | list[dict[str, str]]:
    """Text for a text prompt, a list of messages for a conversation, as in TRL."""
    if trajectory.messages:
        return [dict(message) for message in trajectory.messages]
    if isinstance(group.prompt.content, list):
        return [{"role": "assistant", "content": trajectory.text}]
    return trajectory.text


def _call_all(rewards: Sequence[Reward], kwargs: dict[str, Any], failures: Path | None) -> list[list[Value]]:
    """Call the sync rewards in turn, then all async ones together."""
    results: list[Any] = [None] * len(rewards)
    waiting: list[int] = []
    for i, reward in enumerate(rewards):
        try:
            results[i] = reward.function(**accepted(reward.function, kwargs))
        except Exception as error:
            for j in waiting:
                results[j].close()
            raise _failed(reward, kwargs, failures, f"raised {error!r}") from error
        if inspect.isawaitable(results[i]):
            waiting.append(i)
    for i, outcome in zip(waiting, _gather([results[i] for i in waiting]), strict=True):
        if isinstance(outcome, BaseException):
            raise _failed(rewards[i], kwargs, failures, f"raised {outcome!r}") from outcome
        results[i] = outcome
    return [_checked(r, v, kwargs, failures) for r, v in zip(rewards, results, strict=True)]


def _gather(awaitables: Sequence[Any]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        return list(await asyncio.gather(*awaitables, return_exceptions=True))

    return asyncio.run(all_of_them()) if awaitables else []


def accepted(function: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments that the function takes: all of them if it has **kwargs."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return kwargs
    return {name: kwargs[name] for name in parameters if name in kwargs}


def _checked(reward: Reward, values: Any, kwargs: dict[str, Any], failures: Path | None) -> list[Value]:
    n = len(kwargs["prompts"])
    try:
        values = list(values)
    except TypeError as error:
        what = f"returned {type(values).__name__}, not a list of {n} numbers"
        raise _failed(reward, kwargs, failures, what) from error
    if len(values) != n:
        raise _failed(reward, kwargs, failures, f"returned {len(values)} values for {n} completions")
    return [_number(reward, v, i, kwargs, failures) for i, v in enumerate(values)]


def _number(reward: Reward, value: Any, i: int, kwargs: dict[str, Any], failures: Path | None) -> Value:
    if value is None or isinstance(value, Failed):
        return value
    try:
        number = float("text" if isinstance(value, str) else value)
    except (TypeError, ValueError) as error:
        what = f"returned {value!r}, which is no number, for completion {i}"
        raise _failed(reward, kwargs, failures, what, i) from error
    if not math.isfinite(number):
        what = f"returned {number} for completion {i}. Return None where a completion cannot be scored"
        raise _failed(reward, kwargs, failures, what, i)
    return number


def _failed(
    reward: Reward, kwargs: dict[str, Any], failures: Path | None, what: str, only: int | None = None
) -> RewardError:
    """The error to raise; saves what the reward was given."""
    message = f"reward {reward.name!r} {what}."
    if failures is None:
        return RewardError(message)
    rows = range(len(kwargs["prompts"])) if only is None else [only]
    lists = {k: v for k, v in kwargs.items() if isinstance(v, list)}
    failures.parent.mkdir(parents=True, exist_ok=True)
    with failures.open("a", encoding="utf-8") as file:
        for i in rows:
            row = {"reward": reward.name, "error": what} | {k: v[i] for k, v in lists.items()}
            file.write(json.dumps(row, default=str) + "\n")
    return RewardError(f"{message} What it was given is saved in {failures}.")
