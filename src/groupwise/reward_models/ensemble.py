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
        """An answer that the prompt begins is one message with its beginning. Special tokens that are spelled
        in the answer are taken apart by a space: it could else end its turn, and let the human praise it."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        begun = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
        tokenizer = self.model.tokenizer
        for mark in sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}, key=len):
            if len(mark) > 1:
                answer = answer.replace(mark, f"{mark[0]} {mark[1:]}")
        messages.append({"role": "assistant", "content": begun + answer})
        ids = tokenizer.apply_chat_template(messages, return_dict=False)
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
    members = tuple(_member(m, _facts(m), device) for m in members_in(folder))
    try:
        if "members" not in facts:
            return Ensemble(members, std=float(facts["std"]))
        return Ensemble(members, float(facts["deviations"]), float(facts["mean"]), float(facts["std"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _not_ours(folder, repr(error)) from error


def members_in(folder: Path) -> list[Path]:
    """The folders of the models of such a folder; itself, where it is a member's.

    Raises:
        ModelError: naming what cannot be read. A member is a folder in it, and nothing elsewhere.
    """
    facts = _facts(folder)
    if "members" not in facts:
        return [folder]
    names = facts["members"]
    if not isinstance(names, list) or not names:
        raise _not_ours(folder, f"members {names!r}")
    if bad := [n for n in names if not isinstance(n, str) or Path(n).name != n or n == ".."]:
        raise _not_ours(folder, f"a member {bad[0]!r}")
    return [folder / name for name in names]


def from_hub(name: str, device: torch.device) -> Ensemble:
    """A reward model that somebody else trained, by hub id or folder; its scores are taken as they are.

    Prompt and answer go through its chat template; where it has none, they are put as a `Dialogue`.
    """
    model = trained(name, device)
    return Ensemble((Member(model, None if model.tokenizer.chat_template else Dialogue()),))


def _member(folder: Path, facts: Mapping[str, Any], device: torch.device) -> Member:
    try:
        read, dialogue, mean = int(facts["max_tokens"]), Dialogue(**facts["dialogue"]), float(facts["mean"])
    except (KeyError, TypeError, ValueError) as error:
        raise _not_ours(folder, repr(error)) from error
    return Member(trained(folder, device, read), dialogue, mean)


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no reward model that can be read: {error}") from error
    if not isinstance(facts, dict):
        raise _not_ours(folder, f"a {type(facts).__name__}")
    return facts


def _not_ours(folder: Path, what: str) -> ModelError:
    return ModelError(f"{folder / FACTS} is not what was written: {what}. Train it again.")
