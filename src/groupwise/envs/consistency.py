"""Who one is and what one was told holds for a whole conversation: `consistency`, `consistency:facts=3`.

The system's message gives the model a person to be, and the user tells facts about themselves, one a message.
Later, between small talk, come questions about both, some of which suggest something else. Scored by rule: an
answer is right if it names what was told and nothing else of that kind; it contradicts if it names something
else of that kind; it drifts if the person says that it is a machine.

    reward of an answer to a question = 1/n right, -1/n contradicting or drifting, 0 neither;  n questions
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

KINDS: dict[str, tuple[str, ...]] = {
    "name": ("Mara", "Jonas", "Priya", "Tomas", "Aiko", "Lena"),
    "city": ("Lisbon", "Oslo", "Nairobi", "Kyoto", "Quito", "Dublin"),
    "work": ("baker", "carpenter", "nurse", "pilot", "gardener", "teacher"),
    "pet": ("cat", "parrot", "tortoise", "rabbit", "hamster", "goldfish"),
    "colour": ("red", "green", "blue", "yellow", "purple", "orange"),
    "food": ("soup", "pizza", "rice", "pancakes", "salad", "curry"),
}
SELF: dict[str, tuple[str, str]] = {
    "name": ("Your name is {}.", "What is your name?"),
    "city": ("You live in {}.", "Which city do you live in?"),
    "work": ("You are a {}.", "What is your job?"),
}
"""Of the person that the model is: how it is told, and how it is asked."""
TOLD: dict[str, tuple[str, str]] = {
    "pet": ("I have a {}.", "Which pet do I have?"),
    "colour": ("My favourite colour is {}.", "What is my favourite colour?"),
    "food": ("The food I like best is {}.", "Which food do I like best?"),
}
"""Of the user."""
SMALL_TALK = ("It rains today.", "I slept well.", "The week is long.", "I am on my way home.")
MACHINE = re.compile(
    r"\b(?:AI|language model|assistant|chat ?bot|computer program|artificial)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Options:
    """How long it is."""

    facts: int = 2
    """That the user tells, 1 to 3."""
    questions: int = 3
    """Asked later, 1 to 6."""

    def __post_init__(self) -> None:
        if not 1 <= self.facts <= len(TOLD) or not 1 <= self.questions <= self.facts + len(SELF):
            raise ValueError(
                f"consistency: facts={self.facts} (1 to {len(TOLD)}), questions={self.questions} (1 to facts "
                f"+ {len(SELF)})"
            )


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what was told."""

    text: str
    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Script:
    """A conversation's side of the user. `said[i]` is answered by the model's message i."""

    system: str
    said: tuple[str, ...]
    questions: Mapping[int, Question]
    """By the message that asks."""

    def verdict(self, place: int, answer: str) -> str | None:
        """right, contradiction, drift or silence; None where nothing was asked."""
        question = self.questions.get(place)
        return None if question is None else verdict(question, answer)


def consistency(options: str = "") -> Conversations:
    """The task. Options: facts=2, questions=3.

    Raises:
        ValueError: an unknown option or a bad value.
    """
    o = read(Options, options, "consistency")

    def share(wanted: str) -> Any:
        def shares(
            completions: Sequence[Sequence[Message]], seed: Sequence[int], **_: Any
        ) -> list[float | None]:
            return [_share(script(o, s), c, wanted) for c, s in zip(completions, seed, strict=True)]

        return shares

    measured = [Reward(name, share(name), 0.0) for name in ("right", "contradiction", "drift")]
    return conversations(
        f"consistency:{options}" if options else "consistency",
        lambda: Consistency(o),
        TRAINED_ON,
        HELD_OUT,
        (Reward("consistent", returned), *measured),
        turns=o.facts + 1 + o.questions,
        max_new_tokens=32,
    )


class Consistency:
    """Says its script, whatever is answered."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._script = Script("", (), {})
        self._place = 0

    def reset(self, row: Mapping[str, Any]) -> list[Message]:
        self._script, self._place = script(self._options, row["seed"]), 0
        first = {"role": "user", "content": self._script.said[0]}
        return [{"role": "system", "content": self._script.system}, first]

    def step(self, message: str) -> tuple[str | None, float | None, bool]:
        found = self._script.verdict(self._place, message)
        n = len(self._script.questions)
        reward = None if found is None else {"right": 1.0, "silence": 0.0}.get(found, -1.0) / n
        self._place += 1
        if self._place == len(self._script.said):
            return None, reward, True
        return self._script.said[self._place], reward, False


def script(options: Options, seed: int) -> Script:
    """The conversation of a seed."""
    chance = random.Random(seed)
    values = {kind: chance.choice(choices) for kind, choices in KINDS.items()}
    told = chance.sample(sorted(TOLD), options.facts)
    system = " ".join(SELF[kind][0].format(values[kind]) for kind in SELF)
    said = [TOLD[kind][0].format(values[kind]) for kind in told]
    said.append(chance.choice(SMALL_TALK))
    questions = {}
    for kind in chance.sample([*SELF, *told], options.questions):
        text = (SELF | TOLD)[kind][1]
        if chance.random() < 0.5:  # somebody has it wrong
            other = chance.choice([v for v in KINDS[kind] if v != values[kind]])
            text = f"Somebody said {other}. {text}"
        questions[len(said)] = Question(text, kind, values[kind])
        said.append(text)
    return Script(f"{system} Stay that person. Answer in one short sentence.", tuple(said), questions)


def verdict(question: Question, answer: str) -> str:
    """right, contradiction, drift or silence.

    A value that is named together with a "not" right before it is not claimed. A person who says of a
    question about the user that, being a language model, it cannot know has drifted too.
    """
    if MACHINE.search(answer):
        return "drift"
    claimed = {value for value in KINDS[question.kind] if _claims(answer, value)}
    if claimed - {question.value}:
        return "contradiction"
    return "right" if claimed else "silence"


def _claims(answer: str, value: str) -> bool:
    found = re.finditer(
        rf"(\b(?:not|isn't|no)\s+(?:an?\s+|in\s+|called\s+)?)?\b{value}s?\b", answer, re.IGNORECASE
    )
    return any(match[1] is None for match in found)


def _share(script: Script, completion: Sequence[Message], wanted: str) -> float | None:
    """Share of the questions that came up; None where none did."""
    answers = [m["content"] for m in completion if m["role"] == "assistant"]
    found = [v for i, answer in enumerate(answers) if (v := script.verdict(i, answer)) is not None]
    return found.count(wanted) / len(found) if found else None
