"""Trains the members of a reward model one after the other, and keeps each as soon as it is ready."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groupwise.checkpoints import replacing
from groupwise.models import Lora, Say
from groupwise.preferences.comparisons import DIALOGUE, Comparison
from groupwise.preferences.evaluation import Measured, measure, pairs
from groupwise.preferences.fit import Fitting, Item, fit, items
from groupwise.reward_models.ensemble import FACTS, Ensemble, conservative
from groupwise.reward_models.model import RewardModel, begin
from groupwise.tasks.data import DataError

Watch = Callable[[int, Mapping[str, float]], None]
"""Called with a member's number and what a step of it measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained."""

    model: str
    """The language model that each member begins as."""
    device: torch.device
    max_tokens: int = 512
    """Of a longer text the end is read."""
    members: int = 1
    """Members differ in the draw of their head (and adapter) and in the order of the comparisons: seed,
    seed + 1 ... They share what they learned before, so they agree on its mistakes more often than members
    that were pretrained apart. (arXiv 2310.02743, 2312.09244)"""
    deviations: float = 1.0
    lora: Lora | None = None
    fitting: Fitting = field(default_factory=Fitting)

    def __post_init__(self) -> None:
        if self.members < 1 or self.max_tokens < 2 or not self.deviations >= 0:
            raise ValueError(
                f"members {self.members}: 1 or more; max_tokens {self.max_tokens}: 2 or more; "
                f"deviations {self.deviations}: 0 or more"
            )


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out."""

    joint: Measured
    """What a run with it as its reward will see: of several members, mean less deviation."""
    members: tuple[Measured, ...]
    disagreement: float
    """Mean over held-out texts of the members' deviation, in the reward's unit."""
    steps: tuple[int, ...]
    """Optimizer steps of each member."""
    finished: bool
    comparisons: tuple[int, int]
    """Trained on, held out."""
    excluded: Counter[str]


def train(
    folder: Path,
    plan: Plan,
    given: Sequence[Comparison],
    kept: Sequence[Comparison],
    watch: Watch = lambda member, numbers: None,
    say: Say = lambda _: None,
) -> Trained:
    """Fit every member, measure it on the held-out comparisons and write it into the folder.

    Ctrl-C ends the fit: the member as it is then is measured and written like one that was finished.

    Raises:
        KeyboardInterrupt: before anything was learned.
    """
    scores: list[np.ndarray] = []
    measured, steps = [], []
    ready: _Ready | None = None
    for k in range(plan.members):
        model = begin(plan.model, plan.device, plan.max_tokens, plan.fitting.seed + k, _lora(plan, k), say)
        ready = ready or _Ready.of(model, given, kept)
        done, finished = _fitted(model, ready.given, plan, k, watch)
        if not done and not scores:
            raise KeyboardInterrupt
        if not finished:
            say("stopped: measuring and saving what there is")
        if done:
            model.merge()
            raw = model.judged([row for item in ready.kept for row in item.rows])
            scores.append(raw - raw.mean())
            measured.append(measure(pairs(ready.kept, raw)))
            steps.append(done)
            _save_member(folder / _name(plan, k), model, raw)
        if not finished:
            break
    assert ready is not None
    joint, spread = conservative(np.stack(scores), plan.deviations)
    std = _spread(joint)
    names = [_name(plan, k) for k in range(len(scores))]
    write_json(
        folder / FACTS,
        {"members": names, "deviations": plan.deviations, "mean": float(joint.mean()), "std": std},
    )
    return Trained(
        joint=measure(pairs(ready.kept, joint)),
        members=tuple(measured),
        disagreement=float(spread.mean()) / std,
        steps=tuple(steps),
        finished=finished,
        comparisons=(len(ready.given), len(ready.kept)),
        excluded=ready.excluded,
    )


def measured_on(ensemble: Ensemble, comparisons: Sequence[Comparison]) -> tuple[Measured, int]:
    """A reward model on other comparisons, and how many of them it could read."""
    scores = []
    for member in ensemble.members:
        found, _ = items(member.model, comparisons)
        rows = [row for item in found for row in item.rows]
        scores.append(member.model.judged(rows) - member.mean)
    if not found:
        raise DataError("none of the comparisons can be told apart in what the model reads.")
    joint, _ = conservative(np.stack(scores), ensemble.deviations)
    return measure(pairs(found, joint)), len(found)


def write_json(path: Path, value: Any) -> None:
    with replacing(path) as work:
        work.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


@dataclass(frozen=True, slots=True)
class _Ready:
    """Comparisons in tokens, the same for all members."""

    given: list[Item]
    kept: list[Item]
    excluded: Counter[str]

    @classmethod
    def of(cls, model: RewardModel, given: Sequence[Comparison], kept: Sequence[Comparison]) -> _Ready:
        train, less = items(model, given)
        held_out, more = items(model, kept)
        if not train or not held_out:
            raise DataError(
                f"of {len(given)} comparisons to train on and {len(kept)} held out, {len(train)} and "
                f"{len(held_out)} differ in their last {model.max_tokens} tokens. Raise --max-tokens."
            )
        return cls(train, held_out, less + more)


def _lora(plan: Plan, k: int) -> Lora | None:
    return plan.lora and replace(plan.lora, seed=plan.fitting.seed + k)


def _name(plan: Plan, k: int) -> str:
    return "model" if plan.members == 1 else f"member-{k}"


def _fitted(model: RewardModel, given: Sequence[Item], plan: Plan, k: int, watch: Watch) -> tuple[int, bool]:
    """(steps done, whether that is all of them)."""
    done = 0
    try:
        for numbers in fit(model, given, replace(plan.fitting, seed=plan.fitting.seed + k)):
            done += 1
            watch(k, numbers)
    except KeyboardInterrupt:
        return done, False
    return done, True


def _spread(scores: np.ndarray) -> float:
    """Standard deviation; 1 where scores do not differ, which nothing could be divided by."""
    return float(scores.std()) or 1.0


def _save_member(target: Path, model: RewardModel, scores: np.ndarray) -> None:
    """Under another name first, then renamed."""
    work = target.with_name(f".writing-{target.name}")
    shutil.rmtree(work, ignore_errors=True)
    model.module.save_pretrained(work)
    model.tokenizer.save_pretrained(work)
    facts = {
        "dialogue": asdict(DIALOGUE),
        "max_tokens": model.max_tokens,
        "mean": float(scores.mean()),
        "std": _spread(scores),
    }
    write_json(work / FACTS, facts)
    shutil.rmtree(target, ignore_errors=True)
    work.rename(target)
