"""What a user writes to say what is done about signs of hacking."""

from __future__ import annotations

import re

import pytest

from groupwise.rewards.guard import guard_of
from groupwise.rewards.guard.options import DETECTORS
from groupwise.rewards.guard.signs import kl

SCREENS = {"repetition", "copied", "disagreement"}


def actions(options: str) -> dict[str, str]:
    return {watch.detector.name: str(watch.action) for watch in guard_of(options, {}).watches}


def test_every_detector_flags_unless_told_otherwise() -> None:
    names = [detector.name for detector in DETECTORS]
    assert len(set(names)) == len(names) == 11
    assert actions("flag") == actions("") == dict.fromkeys(names, "flag")
    assert actions("stop") == dict.fromkeys(names, "stop")


def test_to_drop_is_for_those_that_can_and_the_others_flag() -> None:
    assert {name for name, action in actions("drop").items() if action == "drop"} == SCREENS
    assert set(actions("drop").values()) == {"drop", "flag"}


def test_one_detector_may_do_something_else() -> None:
    got = actions("stop, length=flag, copied=drop, format=off")
    assert (got["length"], got["copied"], got["gold"]) == ("flag", "drop", "stop")
    assert "format" not in got
    assert actions("off,kl=stop") == {"kl": "stop"}


def test_the_budget_of_kl_stands_behind_its_name() -> None:
    def budget(options: str) -> float:
        [found] = [w.detector for w in guard_of(options, {}).watches if isinstance(w.detector, kl)]
        return found.budget

    assert (budget("flag"), budget("kl:0.25=stop"), actions("kl:0.25=stop")["kl"]) == (5.0, 0.25, "stop")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("warn", "'warn' is no action"),
        ("length=warn", "'length=warn' is no action"),
        ("lenght=stop", "no detector 'lenght'. Did you mean length?"),
        ("length=drop", "length is about the run and points at no single answer"),
        ("length:5=stop", "length takes no number"),
        ("kl:much=stop", "'much' is no number of nats"),
        ("kl:0=stop", "KL budget of 0"),
    ],
)
def test_a_mistake_is_told(options: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        guard_of(options, {})
