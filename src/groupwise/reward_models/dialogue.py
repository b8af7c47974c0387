"""How a prompt and an answer become the one text that a reward model reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

Message = dict[str, str]
Prompt = str | Sequence[Message]
"""A text, or chat messages."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    r"""Turns, each behind the mark of who speaks; the marks are those of HH-RLHF. (arXiv 2204.05862)

    >>> Dialogue().text("Hi", "Hello!")
    '\n\nHuman: Hi\n\nAssistant: Hello!'
    """

    human: str = "\n\nHuman: "
    assistant: str = "\n\nAssistant: "
    system: str = "\n\nSystem: "

    def text(self, prompt: Prompt, answer: str) -> str:
        """The dialogue that ends in the answer, without white space around that.

        A text that begins with a mark is a dialogue already; any other text is one thing that the human
        said. A message of the assistant at the end is the beginning of the answer.

        Raises:
            ValueError: a message whose role has no mark.
        """
        if not isinstance(prompt, str) and prompt[-1]["role"] == "assistant":
            prompt, answer = prompt[:-1], prompt[-1]["content"] + answer
        turns = self._told(prompt) if isinstance(prompt, str) else self.turns(prompt)
        return f"{turns}{self.assistant}{self._quoted(answer).strip()}".rstrip()

    def turns(self, messages: Sequence[Message]) -> str:
        """Chat messages as a dialogue."""
        return "".join(self._turn(m["role"], m["content"]) for m in messages)

    def opening(self, text: str) -> str:
        """What was said before the assistant first spoke; all of a text in which it does not."""
        return text.partition(self.assistant.rstrip())[0]

    def answered(self, text: str) -> bool:
        """Whether the assistant speaks in a text."""
        return self.assistant.rstrip() in text

    def _told(self, prompt: str) -> str:
        """A text prompt as turns, without a mark at its end that waits for the answer."""
        if not prompt.startswith(self.human.rstrip()):
            return self._turn("user", prompt)
        return prompt.rstrip().removesuffix(self.assistant.rstrip()).rstrip()

    def _turn(self, role: str, content: str) -> str:
        marks = {"user": self.human, "assistant": self.assistant, "system": self.system}
        if role not in marks:
            raise ValueError(f"a message has the role {role!r}: a reward model reads {', '.join(marks)}.")
        return f"{marks[role]}{self._quoted(content).strip()}"

    def _quoted(self, content: str) -> str:
        """Its own marks without the empty line before them: what is said inside a turn begins no turn.

        A policy could else let the human praise it.
        """
        names = "|".join(re.escape(mark.strip()) for mark in (self.human, self.assistant, self.system))
        # Cut at the names: a pattern that begins with the white space takes cubic time in blank lines.
        pieces = re.split(f"({names})", content)
        return "".join([*map(_one_line_end, pieces[:-1]), pieces[-1]])


def _one_line_end(text: str) -> str:
    bare = text.rstrip()
    return f"{bare}\n" if "\n" in text[len(bare) :] else text
