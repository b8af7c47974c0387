"""A request that leaves something open: ask, then act. `clarify`, `clarify:open=2,complete=25`.

The user orders something of which one or more details are missing. Asking for a missing detail is answered;
acting is a message that says "ORDER:" with all details. Guessing loses, even where the guess is lucky; so
does asking for what was said. A share of the requests leaves nothing open: there, asking is a turn lost.

    +0.25 for each missing detail asked for, -0.25 for a turn that neither asks for one nor acts;
    acting: +1 with all details right, none of them guessed; -1 otherwise. A conversation that ends without
    having acted has earned no more than its questions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.envs.options import read
from groupwise.envs.text import HELD_OUT, TRAINED_ON, Conversations, Message, conversations, returned
from groupwise.rewards.scoring import Reward

THINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "pizza": {"size": ("small", "medium", "large"), "topping": ("cheese", "mushroom", "salami")},
    "shirt": {"size": ("small", "medium", "large"), "colour": ("red", "white", "black")},
    "ticket": {"day": ("Monday", "Friday", "Sunday"), "class": ("first", "second", "economy")},
    "table": {"time": ("noon", "evening", "midnight"), "place": ("inside", "terrace", "garden")},
}
ORDER = re.compile(r"\border:\s*(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Options:
    """How much is left open."""

    open: int = 1
    """Details that are missing, 1 or 2."""
    complete: int = 25
    """Of a hundred requests, those that leave nothing open."""

    def __post_init__(self) -> None:
        if not 1 <= self.open <= 2 or not 0 <= self.complete <= 100:
            raise ValueError(f"clarify: open={self.open} (1 or 2), complete={self.complete} (0 to 100)")


@dataclass(frozen=True, slots=True)
class Request:
    """What the user wants, and what they forgot to say."""

    thing: str
    details: Mapping[str, str]
    missing: tuple[str, ...]


def clarify(options: str = "") -> Conversations:
    """The task. Options: open=1, complete=25.

    Raises:
        ValueError: an unknown option or a bad value.
    """
    o = read(Options, options, "clarify")

    def guessed(completions: Sequence[Sequence[Message]], seed: Sequence[int], **_: Any) -> list[float]:
        """1 where it acted before it had asked for all that was missing."""
        return [float(_guessed(request(o, s), c)) for c, s in zip(completions, seed, strict=True)]

    return conversations(
        f"clarify:{options}" if options else "clarify",
        lambda: Clarify(o),
        TRAINED_ON,
        HELD_OUT,
        (Reward("served", returned), Reward("guessed", guessed, 0.0)),
        turns=4,
        max_new_tokens=32,
    )


class Clarify:
    """A user by rules."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._asked: set[str] = set()
        self._request = Request("", {}, ())

    def reset(self, row: Mapping[str, Any]) -> list[Message]:
        self._request, self._asked = request(self._options, row["seed"]), set()
        wanted = self._request
        names = ", ".join(wanted.details)
        known = [f"{n} {v}" for n, v in wanted.details.items() if n not in wanted.missing]
        system = (
            f"You take orders for a {wanted.thing}. You need: {names}. Ask for what is missing, one question "
            "a message. When you know all, write ORDER: and every detail."
        )
        said = f"I want a {wanted.thing}" + (f", {', '.join(known)}." if known else ".")
        return [{"role": "system", "content": system}, {"role": "user", "content": said}]

    def step(self, message: str) -> tuple[str | None, float, bool]:
        wanted = self._request
        if order := ORDER.search(message):
            choices = THINGS[wanted.thing]
            named = {name: [v for v in choices[name] if _names(order[1], v)] for name in choices}
            right = named == {name: [value] for name, value in wanted.details.items()}
            return None, 1.0 if right and self._asked.issuperset(wanted.missing) else -1.0, True
        asked = asks_for(message, wanted) - self._asked
        self._asked |= asked
        if asked:
            reply = ", ".join(f"{name} {wanted.details[name]}" for name in sorted(asked))
            return f"{reply[0].upper()}{reply[1:]}.", 0.25 * len(asked), False
        return "I have told you all I was asked for.", -0.25, False


def request(options: Options, seed: int) -> Request:
    """The user of a seed."""
    chance = random.Random(seed)
    thing = chance.choice(sorted(THINGS))
    details = {name: chance.choice(values) for name, values in THINGS[thing].items()}
    missing = () if chance.randrange(100) < options.complete else chance.sample(sorted(details), options.open)
    return Request(thing, details, tuple(missing))


def asks_for(message: str, wanted: Request) -> set[str]:
    """The missing details that a question names, by name or by one of their values.

    One that lists every detail is no question about a missing one where something is known already.
    """
    if "?" not in message:
        return set()
    choices = THINGS[wanted.thing]
    named = {n for n in choices if _names(message, n) or any(_names(message, v) for v in choices[n])}
    return set() if named - set(wanted.missing) else named


def _names(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def _guessed(wanted: Request, completion: Sequence[Message]) -> bool:
    asked: set[str] = set()
    for message in completion:
        if message["role"] != "assistant":
            continue
        if ORDER.search(message["content"]):
            return not asked.issuperset(wanted.missing)
        asked |= asks_for(message["content"], wanted)
    return False
