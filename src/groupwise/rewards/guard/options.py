"""From what a user writes to a guard: `flag`, `stop,length=flag`, `copied=drop,kl:0.5=stop`, `off`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from groupwise.rewards.guard.alarms import Detector, Screen
from groupwise.rewards.guard.guard import Action, Guard, Watch
from groupwise.rewards.guard.judged import agreement, form, gold, hollow, takeover
from groupwise.rewards.guard.signs import constant, copied, disagreement, kl, length, repetition

DETECTORS: tuple[Detector, ...] = (
    gold(), hollow(), agreement(), form(), takeover(),
    length(), repetition(), copied(), constant(), disagreement(), kl(),
)  # fmt: skip
OFF = "off"


def guard_of(options: str, weights: Mapping[str, float]) -> Guard:
    """The guard that `options` describe: an action for all detectors, then NAME=ACTION for some.

    Detectors that cannot point at single answers flag where `drop` is said to all.

    Raises:
        ValueError: an unknown action or detector, or one that cannot do what is asked.
    """
    everyone, own, budget = Action.FLAG.value, dict[str, str](), kl()
    for part in filter(None, (part.strip() for part in options.split(","))):
        name, equals, action = (text.strip() for text in part.partition("="))
        if not equals:
            everyone = _action(name, part, options)
            continue
        name, colon, number = name.partition(":")
        _known(name, options)
        own[name] = _action(action, part, options)
        if colon:
            budget = kl(_number(name, number, options))
    detectors = [budget if detector.name == kl.name else detector for detector in DETECTORS]
    actions = {d.name: own.get(d.name) or _fitting(everyone, d) for d in detectors}
    for detector in detectors:
        if actions[detector.name] == Action.DROP and not isinstance(detector, Screen):
            able = ", ".join(d.name for d in DETECTORS if isinstance(d, Screen))
            raise ValueError(
                f"--guard {options}: {detector.name} is about the run and points at no single answer, so it "
                f"cannot drop any. Choose flag or stop; {able} can drop."
            )
    watches = (Watch(d, Action(actions[d.name])) for d in detectors if actions[d.name] != OFF)
    return Guard(tuple(watches), weights)


def _fitting(action: str, detector: Detector) -> str:
    return Action.FLAG if action == Action.DROP and not isinstance(detector, Screen) else action


def _action(text: str, part: str, options: str) -> str:
    if text not in (*Action, OFF):
        raise ValueError(
            f"--guard {options}: {part!r} is no action. Write flag, drop, stop or off for all detectors, and "
            "NAME=ACTION for one, as in flag,length=stop,copied=drop,kl:0.5=stop."
        )
    return text


def _known(name: str, options: str) -> None:
    names = [detector.name for detector in DETECTORS]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"--guard {options}: there is no detector {name!r}.{hint} There are {', '.join(names)}."
        )


def _number(name: str, text: str, options: str) -> float:
    if name != kl.name:
        raise ValueError(f"--guard {options}: {name} takes no number; kl:NATS is the budget of kl.")
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"--guard {options}: {text!r} is no number of nats, as in kl:0.5=stop.") from error
