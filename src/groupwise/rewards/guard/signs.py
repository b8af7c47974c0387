"""Detectors of what hacks look like in the answers, their rewards and the policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from groupwise.rewards.guard.alarms import FALLEN, Alarm, unearned, verdict_on
from groupwise.rewards.guard.answers import Answers, Place
from groupwise.rewards.guard.history import CORRECT, SMALLEST, Change, History, change, windows


@dataclass(frozen=True, slots=True)
class length:  # noqa: N801
    """Answers grow, or shrink, and get no better for it.

    Growth by the factor `grown`, or `unjudged` where nothing says which answers are right, since reasoning
    that is learnt grows too; a shrinking to the share `shrunk` while what the run is judged by falls.
    """

    name: ClassVar[str] = "length"
    grown: float = 1.5
    unjudged: float = 2.0
    shrunk: float = 0.5

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        factor = self.grown if CORRECT in history.columns else self.unjudged
        move = unearned(history, self.name, lambda m: m.after >= factor * m.before)
        if move is not None:
            return [self._alarm("grew", move, answers, history, answers.worst(answers.length))]
        move = unearned(history, self.name, lambda m: m.after <= self.shrunk * m.before, upwards=False)
        [correct] = history.known(CORRECT)
        if move is not None and any(change(correct, w).z <= -FALLEN for w in windows(len(correct))):
            return [self._alarm("shrank", move, answers, history, answers.worst(-answers.length))]
        return []

    def _alarm(
        self, verb: str, move: Change, answers: Answers, history: History, offenders: tuple[Place, ...]
    ) -> Alarm:
        message = (
            f"answers {verb} from {move.before:.1f} to {move.after:.1f} tokens ({abs(move.z):.1f} standard "
            f"errors); {verdict_on(answers, history)}. If length is paid for, penalise it "
            "(groupwise.rewards.length) or lower --max-new-tokens"
        )
        return Alarm(self.name, message, offenders=offenders)


@dataclass(frozen=True, slots=True)
class repetition:  # noqa: N801
    """Answers repeat themselves: the share of four-token runs that came before rises by `more`.

    Single answers: those of at least `tokens` tokens of whose runs the share `loop` came before.
    """

    name: ClassVar[str] = "repetition"
    more: float = 0.1
    loop: float = 0.5
    tokens: int = 20

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        move = unearned(history, self.name, lambda m: m.after - m.before >= self.more)
        if move is None:
            return []
        message = (
            f"answers repeat themselves: of their four-token runs {move.before:.0%}, now {move.after:.0%} "
            f"came before in the answer ({move.z:.1f} standard errors); {verdict_on(answers, history)}. Add "
            "groupwise.rewards.repetition:no_repeats, or drop such answers: --guard repetition=drop"
        )
        return [Alarm(self.name, message, offenders=answers.worst(answers.repetition))]

    def offending(self, answers: Answers, history: History) -> list[Place]:
        loops = (answers.repetition >= self.loop) & (answers.length >= self.tokens)
        return [answers.places[i] for i in np.flatnonzero(loops)]


@dataclass(frozen=True, slots=True)
class copied:  # noqa: N801
    """One long text is most of a group's answers, in the share `groups` of all groups, and it is not right.

    Single answers: the copies but one, which stands for the text.
    """

    name: ClassVar[str] = "copied"
    groups: float = 0.2

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        [shares] = history.known(self.name)
        share = float(shares.recent.mean()) if len(shares) >= SMALLEST else 0.0
        if share < self.groups:
            return []
        message = (
            f"in {share:.0%} of the groups of the last {SMALLEST} steps most answers are one and the same "
            "text: nothing tells siblings apart. Raise --temperature or --entropy-scale, or drop the copies: "
            "--guard copied=drop"
        )
        return [Alarm(self.name, message, offenders=tuple(answers.places[s[0]] for s in answers.copies()))]

    def offending(self, answers: Answers, history: History) -> list[Place]:
        return [answers.places[i] for same in answers.copies() for i in same[1:]]


@dataclass(frozen=True, slots=True)
class kl:  # noqa: N801
    """The policy is further from the reference than its budget: the median of the last steps' `kl`."""

    name: ClassVar[str] = "kl"
    budget: float = 5.0
    """Nats a decision. The default is of a policy that has nothing in common with its reference; what a run
    can bear is its user's to say."""

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise ValueError(f"a KL budget of {self.budget}: nats a decision, above 0")

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        [values] = history.known(self.name)
        distance = float(np.median(values.recent)) if len(values) >= SMALLEST else 0.0
        if distance <= self.budget:
            return []
        message = (
            f"KL to the reference is {distance:.3g} nats a decision, over the budget of {self.budget:.3g}: "
            "take an earlier checkpoint, a higher --kl-scale, or a larger budget: --guard kl:NATS=flag"
        )
        return [Alarm(self.name, message)]


@dataclass(frozen=True, slots=True)
class disagreement:  # noqa: N801
    """The members of a reward's ensemble drift apart, by the factor `grown`: it is asked about answers unlike
    those that it was made from.  (Coste et al., arXiv 2310.02743)

    Reads what a reward logs of each answer as `NAME/disagreement`. Single answers: those further apart than
    the first steps' mean by `outlier` of their standard deviations.
    """

    name: ClassVar[str] = "disagreement"
    grown: float = 1.5
    outlier: float = 4.0

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        found = []
        for name in history.names(self.name):
            move = unearned(history, f"{self.name}/{name}", lambda m: m.after >= self.grown * m.before)
            if move is not None:
                message = (
                    f"the members of {name} disagree about the answers, by {move.before:.3g} and now by "
                    f"{move.after:.3g} ({move.z:.1f} standard errors); {verdict_on(answers, history)}. Train "
                    "the reward on answers of now, or drop those: --guard disagreement=drop"
                )
                worst = answers.worst(answers.disagreement[name]) if name in answers.disagreement else ()
                found.append(Alarm(self.name, message, name, worst))
        return found

    def offending(self, answers: Answers, history: History) -> list[Place]:
        found: dict[Place, None] = {}
        for name, values in answers.disagreement.items():
            mean, spread = history.known(f"{self.name}/{name}", f"spread/{name}")
            if len(mean) >= SMALLEST:
                first, around = (course.values[:SMALLEST].mean() for course in (mean, spread))
                most = float(first + self.outlier * around)
                found |= dict.fromkeys(answers.places[i] for i in np.flatnonzero(values > most))
        return list(found)


@dataclass(frozen=True, slots=True)
class constant:  # noqa: N801
    """Groups whose answers all get one reward, and not for being right: `share` of them, `more` than before.

    A hack that every sibling uses has no advantage left, and so no trace in the loss. Groups that are right
    throughout are not counted; where nothing says so, groups at the highest reward that the run has seen.
    """

    name: ClassVar[str] = "constant"
    share: float = 0.8
    more: float = 0.3

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        move = unearned(
            history, self.name, lambda m: m.after >= self.share and m.after - m.before >= self.more
        )
        if move is None:
            return []
        message = (
            f"{move.after:.0%} of the groups get one reward for all their answers, {move.before:.0%} at "
            f"first, and not for right ones; {verdict_on(answers, history)}. The reward is saturated: read "
            "what it pays now"
        )
        return [Alarm(self.name, message, offenders=answers.worst(answers.reward))]
