"""A step's answers as the guard sees them: columns over the answers, and a step's numbers made of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from groupwise.advantages import is_flat
from groupwise.rewards.guard.history import CORRECT, ERROR
from groupwise.rewards.repetition import repeated
from groupwise.trajectory import CURRENT, Group, StopReason, Trajectory

Place = tuple[int, int]
"""Which group of the cohort, and which of its answers."""
DISAGREEMENT = "/disagreement"
"""What the name ends in under which an ensemble logs, for each answer, how far its members are apart."""
N_GRAM = 4
"""Tokens in a row: seq-rep-4 of arXiv 1908.04319."""
COPY_WORDS = 8
"""A shorter text is no copy: independent writers agree on "46"."""
COPY_SHARE = 0.75
"""Of a group's answers that one text has to be."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Of the policy in training, those that did not stop on an error. Arrays are [N], NaN where unknown."""

    places: tuple[Place, ...]
    group: np.ndarray
    reward: np.ndarray
    length: np.ndarray
    """Tokens; NaN for an episode of an environment: its length is no text's."""
    repetition: np.ndarray
    """The share of its runs of four tokens that came before in it, 0 to 1."""
    texts: tuple[str, ...]
    parts: Mapping[str, np.ndarray]
    """What each part adds to the reward: its value times its weight."""
    gold: Mapping[str, np.ndarray]
    disagreement: Mapping[str, np.ndarray]
    correct: np.ndarray
    """The first gold reward; without any, the first of several parts; NaN where there is one part alone,
    since that is what may be hacked."""
    correct_name: str = ""

    def groups(self) -> Iterator[np.ndarray]:
        """The rows of each group."""
        for number in dict.fromkeys(self.group.tolist()):
            yield np.flatnonzero(self.group == number)

    def _means(self, values: np.ndarray) -> np.ndarray:
        """Of the groups that have any: a prompt counts alike however often it was asked."""
        return np.array([known.mean() for rows in self.groups() if len(known := _known(values[rows]))])

    def worst(self, values: np.ndarray, n: int = 4) -> tuple[Place, ...]:
        """The places of the n largest values."""
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.argsort(-values[known], kind="stable")]
        return tuple(self.places[i] for i in order[:n])

    def copies(self) -> list[list[int]]:
        """The rows of every text that most of a group's four or more answers have, and which is not right."""
        found = []
        for rows in self.groups():
            said = [" ".join(self.texts[i].split()).casefold() for i in rows]
            text, count = Counter(said).most_common(1)[0]
            same = [int(i) for i, own in zip(rows, said, strict=True) if own == text]
            long = len(text.split()) >= COPY_WORDS
            right = bool((self.correct[same] > 0).all())
            if len(rows) >= 4 and count >= COPY_SHARE * len(rows) and long and not right:
                found.append(same)
        return found

    def numbers(self, highest: float) -> dict[str, float]:
        """Those of a step, for the history; `highest` is the largest reward of the steps before.

        Means over groups come with their standard error, from the spread of the groups.
        """
        highest = max([highest, *_known(self.reward)])
        poor = np.zeros(len(self.group))
        for rows in self.groups():
            poor[rows] = self._poor(rows, highest)
        over_groups = {
            "reward": self.reward,
            CORRECT: self.correct,
            "length": self.length,
            "repetition": self.repetition,
            "constant": poor,
            **{f"gold/{name}": values for name, values in self.gold.items()},
            **{f"disagreement/{name}": values for name, values in self.disagreement.items()},
        }
        row = {"highest": highest, "deviation": _deviation(self.correct)}
        row |= {f"deviation/{name}": _deviation(values) for name, values in self.gold.items()}
        row |= {f"spread/{name}": _deviation(values) for name, values in self.disagreement.items()}
        if any(self.texts):
            row["copied"] = len(self.copies()) / len(set(self.group.tolist()))
        if len(self.parts) > 1:
            over_groups |= {f"part/{name}": values for name, values in self.parts.items()}
            row |= {f"share/{name}": self._slope(values) for name, values in self.parts.items()}
        for name, values in self.gold.items():
            row[f"agreement/{name}"], row[f"{ERROR}agreement/{name}"] = self._agreement(values)
        for name, values in over_groups.items():
            means = self._means(values)
            row[name] = float(means.mean()) if len(means) else np.nan
            row[f"{ERROR}{name}"] = float(means.std(ddof=1)) / len(means) ** 0.5 if len(means) > 1 else np.nan
        return {name: float(value) for name, value in row.items() if np.isfinite(value)}

    def _poor(self, rows: np.ndarray, highest: float) -> bool:
        """Whether a group's rewards are all alike though its answers are not all that could be wished."""
        rewards, correct = _known(self.reward[rows]), _known(self.correct[rows])
        if len(rewards) < 2 or not is_flat(torch.from_numpy(rewards)):
            return False
        return bool(correct.mean() <= 0) if len(correct) else bool(rewards[0] < highest)

    def _centred(self, *columns: np.ndarray) -> list[np.ndarray]:
        """Less their group's mean, where all of them are known."""
        table = np.stack(columns)
        kept = ~np.isnan(table).any(axis=0)
        table, group = table[:, kept], self.group[kept]
        for number in np.unique(group):
            of_group = group == number
            table[:, of_group] -= table[:, of_group].mean(axis=1, keepdims=True)
        return list(table)

    def _slope(self, part: np.ndarray) -> float:
        """What share of the rewards' variance within groups is this part's; all shares sum to 1."""
        filled = np.where(np.isnan(part), 0.0, part)  # a part that does not apply adds nothing
        own, reward = self._centred(filled, self.reward)
        scatter = float(reward @ reward)
        return float(own @ reward) / scatter if scatter > 1e-12 else np.nan

    def _agreement(self, gold: np.ndarray) -> tuple[float, float]:
        """Correlation of reward and gold within groups, whether training prefers what gold prefers; and the
        standard error that it has where there is none, one by the root of the comparisons."""
        own, reward = self._centred(gold, self.reward)
        scatter = float(own @ own) * float(reward @ reward)
        if scatter <= 1e-12:
            return np.nan, np.nan
        compared = max(1, len(own) - len(np.unique(self.group)))
        return float(own @ reward) / scatter**0.5, compared**-0.5


def answers_of(cohort: Sequence[Group], weights: Mapping[str, float]) -> Answers:
    """`weights` of the reward's parts by name; 1 for a name that is not there."""
    found = [
        ((g, i), t)
        for g, group in enumerate(cohort)
        for i, t in enumerate(group.trajectories)
        if t.policy.name == CURRENT and t.stopped is not StopReason.ERROR
    ]
    members = [t for _, t in found]
    parts = _columns(members, lambda t: t.parts)
    gold = _columns(members, lambda t: t.gold)
    judges = gold or (parts if len(parts) > 1 else {})
    judge = next(iter(judges), "")
    return Answers(
        places=tuple(place for place, _ in found),
        group=np.array([g for (g, _), _ in found], dtype=np.int64),
        reward=_column([t.reward for t in members]),
        length=_column([t.n_decisions if _is_text(t) else None for t in members]),
        repetition=_column([_repetition(t) if _is_text(t) else None for t in members]),
        texts=tuple(t.text for t in members),
        parts={name: values * weights.get(name, 1.0) for name, values in parts.items()},
        gold=gold,
        disagreement=_columns(members, _disagreement),
        correct=judges.get(judge, np.full(len(members), np.nan)),
        correct_name=f"gold/{judge}" if gold else judge,
    )


def _is_text(trajectory: Trajectory) -> bool:
    return all(turn.observation.ndim == 1 for turn in trajectory.turns)


def _repetition(trajectory: Trajectory) -> float:
    return repeated([token for turn in trajectory.turns for token in turn.decisions.tolist()], N_GRAM)


def _disagreement(trajectory: Trajectory) -> dict[str, float | None]:
    named = {k: v for k, v in trajectory.extra.items() if k.endswith(DISAGREEMENT)}
    return {k.removesuffix(DISAGREEMENT): None if v is None else float(v) for k, v in named.items()}


def _column(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _columns(
    members: Sequence[Trajectory], of: Callable[[Trajectory], Mapping[str, float | None]]
) -> dict[str, np.ndarray]:
    rows = [of(t) for t in members]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column([row.get(name) for row in rows]) for name in names}


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _deviation(values: np.ndarray) -> float:
    known = _known(values)
    return float(known.std()) if len(known) else np.nan
