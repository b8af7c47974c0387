"""Rewards by reward models: what people preferred, as far as a model has learned it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from groupwise.precision import best_device
from groupwise.reward_models import ensemble
from groupwise.reward_models.ensemble import Ensemble
from groupwise.rewards.scoring import Failed, Reward, Value
from groupwise.rewards.texts import text_of

HUB = "reward-model:"


def named(place: str, device: torch.device | None = None) -> Reward | None:
    """The reward for `runs/rm` or `reward-model:ID`; None where the place is neither.

    Args:
        device: where it is loaded; the best one unless given.

    Raises:
        ValueError: no ID.
    """
    if place.startswith(HUB):
        source = place.removeprefix(HUB).rstrip("/")
        if not source:
            raise ValueError(f"{HUB} names no model: {HUB}OWNER/NAME, or {HUB}FOLDER.")
        return learned(source.rpartition("/")[2], functools.partial(ensemble.from_hub, source), device)
    folder = Path(place).expanduser()
    if not ensemble.holds_one(folder):
        return None
    return learned(folder.resolve().name, functools.partial(ensemble.opened, folder), device)


def models(place: str) -> tuple[str, ...]:
    """The models, by folder or hub id, of what `named` takes; none where it would take nothing.

    Raises:
        ModelError: a folder whose facts cannot be read.
    """
    if place.startswith(HUB):
        return (place.removeprefix(HUB).rstrip("/"),)
    folder = Path(place).expanduser()
    return tuple(map(str, ensemble.members_in(folder))) if ensemble.holds_one(folder) else ()


def learned(
    name: str, opened: Callable[[torch.device], Ensemble], device: torch.device | None = None
) -> Reward:
    """A reward that is loaded when it first judges, so that settings can be checked without it."""

    @functools.cache
    def judges() -> Ensemble:
        return opened(device or best_device())

    def judged(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        log_extra: Callable[[str, Sequence[Any]], None],
        log_metric: Callable[[str, float], None],
    ) -> list[Value]:
        texts = [text_of(c) for c in completions]
        found = judges().judge(list(zip(prompts, texts, strict=True)))
        log_metric(f"{name}/cut", float(found.cut.mean()))
        if len(judges().members) > 1:
            log_extra(f"{name}/disagreement", found.disagreement.tolist())
            log_metric(f"{name}/disagreement", float(found.disagreement.mean()))
        return [v if math.isfinite(v) else Failed("score is not finite") for v in found.value.tolist()]

    return Reward(name, judged)
