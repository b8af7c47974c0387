"""Detectors that hold the reward, or its parts, against what the run is judged by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from groupwise.rewards.guard.alarms import FALLEN, VISIBLE, Alarm, Z, unearned, verdict_on
from groupwise.rewards.guard.answers import Answers, Place
from groupwise.rewards.guard.history import (
    CORRECT,
    SMALLEST,
    Change,
    Course,
    History,
    change,
    paired,
    windows,
)


@dataclass(frozen=True, slots=True)
class gold:  # noqa: N801 - reads as the function that it is
    """The reward rises while a gold reward falls: over-optimisation.  (Gao et al., arXiv 2210.10760)

    Of training answers: two windows of one length, the later one the run's last, between which the reward
    has risen by `risen` standard errors and gold has fallen by `FALLEN` and by `VISIBLE`. The earlier window
    is any of the run's, so the fall is seen from the peak on, and nothing fires while gold still rises. Of
    held-out answers: the same prompts' answers now and at the best evaluation, paired.
    """

    name: ClassVar[str] = "gold"
    risen: float = 3.0

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        found = []
        for name in history.names("gold"):
            fall, where = self._trained(history, name), "training answers"
            if fall is None:
                fall, where = self._held_out(history, name), "held-out answers"
            if fall is not None:
                message = (
                    f"the reward rises while gold/{name} falls, on {where} from {fall.before:.3g} to "
                    f"{fall.after:.3g} ({-fall.z:.1f} standard errors): the reward pays for something else. "
                    "Take the best checkpoint, mend the reward, or hold the policy closer (--kl-scale)"
                )
                found.append(Alarm(self.name, message, name, _overpaid(answers, name)))
        return found

    def examined(self, answers: Answers, history: History) -> list[Alarm]:
        return self(answers, history)

    def _trained(self, history: History, name: str) -> Change | None:
        reward, own, deviation = history.known("reward", f"gold/{name}", f"deviation/{name}")
        for width in windows(len(own)):
            for start in range(0, len(own) - 2 * width + 1, width):
                fall = change(own, width, start)
                seen = fall.before - fall.after >= VISIBLE * float(deviation.values.mean())
                if fall.z <= -FALLEN and seen and change(reward, width, start).z >= self.risen:
                    return fall
        return None

    def _held_out(self, history: History, name: str) -> Change | None:
        peak, latest = history.peaks.get(name), history.latest.get(name)
        [reward] = history.known("reward")
        if peak is None or latest is None or peak.step == latest.step or len(reward) < 2 * SMALLEST:
            return None
        known = np.array([value for value in peak.values if value is not None])
        start = min(max(0, peak.step - SMALLEST), len(reward) - 2 * SMALLEST)
        fall = paired(peak, latest)
        seen = fall.before - fall.after >= VISIBLE * float(known.std())
        rose = change(reward, SMALLEST, start).z >= self.risen
        return fall if fall.z <= -FALLEN and seen and rose else None


@dataclass(frozen=True, slots=True)
class hollow:  # noqa: N801
    """The reward has risen on the held-out prompts since the first evaluation, and gold has not.

    Prompt by prompt, so a few dozen of them tell much sooner than training answers, each time to other
    prompts: what is learnt earns more and is no better, and gold is the next to fall. Risen: by `Z` standard
    errors and by `VISIBLE`; not risen: by less than one. Of a gold reward that is trained on, as a part, the
    others may be learnt first: that is for `format` and `takeover`.
    """

    name: ClassVar[str] = "hollow"

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        if len(history.paid) < 2:
            return []
        rise = paired(*history.paid)
        known = np.array([value for value in history.paid[1].values if value is not None])
        if not (rise.z >= Z and rise.after - rise.before >= VISIBLE * float(known.std())):
            return []
        found = []
        for name, before in history.begun.items():
            move = paired(before, history.latest[name])
            if name in history.names("part") or not move.z < 1.0:
                continue
            message = (
                f"on the same held-out prompts the reward rose from {rise.before:.3g} to {rise.after:.3g} "
                f"({rise.z:.1f} standard errors) and gold/{name} did not ({move.before:.3g} to "
                f"{move.after:.3g}): what is learnt is not what the run is judged by. Read the samples"
            )
            found.append(Alarm(self.name, message, name, _overpaid(answers, name)))
        return found

    def examined(self, answers: Answers, history: History) -> list[Alarm]:
        return self(answers, history)


@dataclass(frozen=True, slots=True)
class agreement:  # noqa: N801
    """The reward prefers what gold does not: their correlation within groups is below 0, or has fallen.

    By how much a selection moves any quantity is its covariance with what is selected for (Price, Nature 227,
    1970): while answers are preferred that gold does not prefer, gold has nothing to rise by, and this shows
    before it falls. Below 0: by `sure` standard errors, and −`negative` or less, over the last 4, 8, 16 ...
    steps. Fallen: by `fallen` or more.
    """

    name: ClassVar[str] = "agreement"
    negative: float = 0.1
    sure: float = 4.5
    """Less than `Z`: 0 is known, and of a change both ends have to be found out."""
    fallen: float = 0.3

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        found = []
        for name in history.names("agreement"):
            column = f"agreement/{name}"
            [course] = history.known(column)
            fall = unearned(history, column, lambda m: m.before - m.after >= self.fallen, upwards=False)
            if fall is not None:
                what = f"agreed with gold/{name} at {fall.before:.2f} and now at {fall.after:.2f}"
            elif (against := self._against(course)) is not None:
                what = f"is against gold/{name}, at {against:.2f}"
            else:
                continue
            message = (
                f"among siblings the reward {what} (a correlation, from −1 to 1): what is learnt from it is "
                "not what the run is judged by. Read the samples for what it pays"
            )
            found.append(Alarm(self.name, message, name, _overpaid(answers, name)))
        return found

    def _against(self, course: Course) -> float | None:
        """Mean of the shortest last stretch that is clearly below 0: what is weak takes many steps."""
        width = SMALLEST
        while width <= len(course):
            last = float(course.values[-width:].mean())
            if last <= -self.negative and last <= -self.sure * course.noise / math.sqrt(width):
                return last
            width *= 2
        return None


@dataclass(frozen=True, slots=True)
class form:  # noqa: N801
    """A part of the reward rises while what the run is judged by falls: form is bought with substance."""

    name: ClassVar[str] = "format"
    risen: float = 3.0

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        found = []
        for name in history.names("part"):
            part, correct, deviation = history.known(f"part/{name}", CORRECT, "deviation")
            if name == answers.correct_name:
                continue
            for width in windows(len(part)):
                rise, fall = change(part, width), change(correct, width)
                seen = fall.before - fall.after >= VISIBLE * float(deviation.values.mean())
                if rise.z >= self.risen and fall.z <= -FALLEN and seen:
                    message = (
                        f"{name} rises ({rise.before:.3g} to {rise.after:.3g}) while "
                        f"{answers.correct_name} falls ({fall.before:.3g} to {fall.after:.3g}, {-fall.z:.1f} "
                        f"standard errors). Pay {name} only where the answer is right, or lower its weight"
                    )
                    found.append(Alarm(self.name, message, name, answers.worst(answers.parts[name])))
                    break
        return found


@dataclass(frozen=True, slots=True)
class takeover:  # noqa: N801
    """One part decides which sibling is better: its share of the rewards' variance within groups is `share`,
    and `more` than at first. The part that the run is judged by may."""

    name: ClassVar[str] = "takeover"
    share: float = 0.8
    more: float = 0.3

    def __call__(self, answers: Answers, history: History) -> list[Alarm]:
        found = []
        for name in history.names("share"):
            move = unearned(
                history, f"share/{name}", lambda m: m.after >= self.share and m.after - m.before >= self.more
            )
            if move is not None and name != answers.correct_name:
                message = (
                    f"{name} decides {move.after:.0%} of what siblings differ by, {move.before:.0%} at first "
                    f"({move.z:.1f} standard errors); {verdict_on(answers, history)}. Lower its weight, or "
                    "pay it only where the answer is right"
                )
                found.append(Alarm(self.name, message, name, answers.worst(answers.parts[name])))
        return found


def _overpaid(answers: Answers, name: str) -> tuple[Place, ...]:
    """The answers with the highest reward among those that gold values least."""
    if name not in answers.gold:
        return ()
    values = answers.gold[name]
    known = values[~np.isnan(values)]
    low = values <= (np.quantile(known, 0.25) if len(known) else -np.inf)
    return answers.worst(np.where(low, answers.reward, np.nan))
