"""Reward models on disk, and several that judge together: their mean, less what they disagree about.

    runs/rm/reward.json              {"members": ["model"], "deviations": 1, "mean": 0, "std": 1.7}
    runs/rm/model/                   what AutoModelForSequenceClassification.from_pretrained loads
    runs/rm/model/reward.json        {"dialogue": {...}, "max_tokens": 512, "mean": 0.4, "std": 1.7}

Several members are member-0/, member-1/ ...; each is a reward model of its own as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groupwise.models import ModelError
from groupwise.reward_models.dialogue import Dialogue, Prompt
from groupwise.reward_models.model import RewardModel, trained

FACTS = "reward.json"


@dataclass(frozen=True, slots=True)
class Member:
    """A reward model and what makes its scores comparable."""

    model: RewardModel
    dialogue: Dialogue | None
    """How it was shown prompt and answer; None: by its tokenizer's chat template."""
    mean: float = 0.0
    """Of its scores on held-out texts, in nats: preferences say nothing about it, so it is taken off."""

    def rows(self, asked: Sequence[tuple[Prompt, str]]) -> list[list[int]]:
        """Token ids of each prompt with its answer."""
        if self.dialogue is not None:
            return self.model.tokens([self.dialogue.text(prompt, answer) for prompt, answer in asked])
        return [self._chat(prompt, answer) for prompt, answer in asked]

    def _chat(self, prompt: Prompt, answer: str) -> list[int]:
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        messages.append({"role": "assistant", "content": answer})
        ids = self.model.tokenizer.apply_chat_template(messages, return_dict=False)
        return list(ids)[-self.model.max_tokens :]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of n answers."""

    value: np.ndarray
    """[n], in standard deviations of the held-out scores."""
    disagreement: np.ndarray
    """[n], the members' standard deviation in the same unit; 0 for one member."""
    cut: np.ndarray
    """[n] bool: longer than the models read, or just as long."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """One reward model or several."""

    members: tuple[Member, ...]
    deviations: float = 1.0
    """How many standard deviations are taken off the mean."""
    mean: float = 0.0
    std: float = 1.0
    """Of the members' joint score on held-out texts, in nats."""

    def judge(self, asked: Sequence[tuple[Prompt, str]]) -> Judgement:
        """Prompts with answers -> ((joint score) - mean) / std."""
        rows = [member.rows(asked) for member in self.members]
        scores = np.stack(
            [m.model.judged(r) - m.mean for m, r in zip(self.members, rows, strict=True)]
        ).reshape(len(self.members), len(asked))
        value, spread = conservative(scores, self.deviations)
        cut = np.zeros(len(asked), dtype=bool)
        for member, own in zip(self.members, rows, strict=True):
            cut |= np.array([len(row) >= member.model.max_tokens for row in own], dtype=bool)
        return Judgement((value - self.mean) / self.std, spread / self.std, cut)


def conservative(scores: np.ndarray, deviations: float) -> tuple[np.ndarray, np.ndarray]:
    """scores [K, n] -> (mean - deviations x standard deviation [n], standard deviation [n]).

    The deviation is over the K members, divided by K. The uncertainty-weighted objective of Coste et al.
    (arXiv 2310.02743, equation 4) takes off the variance; the deviation has the unit of the score.
    """
    spread = scores.std(axis=0)
    return scores.mean(axis=0) - deviations * spread, spread


def holds_one(folder: Path) -> bool:
    """Whether a folder was written by `groupwise reward train`."""
    return (folder / FACTS).is_file()


def opened(folder: Path, device: torch.device) -> Ensemble:
    """A folder that `groupwise reward train` wrote, or a member's in one.

    Raises:
        ModelError: naming what cannot be read.
    """
    facts = _facts(folder)
    try:
        if "members" not in facts:
            return Ensemble((_member(folder, facts, device),), std=float(facts["std"]))
        members = tuple(_member(folder / m, _facts(folder / m), device) for m in facts["members"])
        return Ensemble(members, float(facts["deviations"]), float(facts["mean"]), float(facts["std"]))
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / FACTS} is not what was written: {error!r}. Train it again.") from error


def from_hub(name: str, device: torch.device) -> Ensemble:
    """A reward model that somebody else trained, by hub id or folder; its scores are taken as they are.

    Prompt and answer go through its chat template; where it has none, they are put as a `Dialogue`.
    """
    model = trained(name, device)
    return Ensemble((Member(model, None if model.tokenizer.chat_template else Dialogue()),))


def _member(folder: Path, facts: Mapping[str, Any], device: torch.device) -> Member:
    model = trained(folder, device, int(facts["max_tokens"]))
    return Member(model, Dialogue(**facts["dialogue"]), float(facts["mean"]))


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no reward model that can be read: {error}") from error
    if not isinstance(facts, dict):
        raise ModelError(f"{folder / FACTS} is not what was written. Train it again.")
    return facts
