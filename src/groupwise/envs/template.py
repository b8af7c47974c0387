"""What a chat template puts between an answer and the next: read as tokens, after the tokens already there.

What the model decided is never rendered and tokenised again. A placeholder stands for it in the template, and
only what follows the placeholder is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from groupwise.envs.text import Message, WorldError, begun_in
from groupwise.roles import understood

_OPENING = [{"role": "user", "content": "Which one?"}]
_REPLY = [{"role": "user", "content": "And then?"}]


class Continuation:
    """Tokens that follow an answer, up to where the next one begins.

    The token that ends a turn in the template belongs to the model's answer. An answer that was ended without
    it (by a stop string, or another end token) is followed by the template's.

    Raises:
        WorldError: there is no template, or it writes what was said before in another way once there is more,
            so that what the model has read and decided would not be the beginning of what it reads next.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer, self._name = tokenizer, name
        if not tokenizer.chat_template:
            raise WorldError(
                f"the tokenizer of {name} has no chat template, and a conversation needs one: use an "
                "instruction-tuned model"
            )
        self._check()
        self._end = self._ending()

    @property
    def ends(self) -> frozenset[int]:
        """The token that ends a turn, where the template has one."""
        return frozenset(self._end[-1:])

    @property
    def drops_thinking(self) -> bool:
        """Whether the template leaves <think>...</think> out of earlier answers; here it stays."""
        said = {"role": "assistant", "content": "<think>wherefore</think>this"}
        return "wherefore" not in self._render([*_OPENING, said, *_REPLY])

    def __call__(self, opening: Sequence[Message], replies: Sequence[Message], last: int) -> list[int]:
        """Token ids of the replies and of how the next answer begins, after one that ended with `last`.

        An assistant's message at the end of the replies is the beginning of that answer, to be gone on with.
        """
        ids = self._encoded(self._after(*(understood(m, self._tokenizer) for m in (opening, replies))))
        if self._end and last == self._end[-1] and ids[: len(self._end)] == self._end:
            return ids[len(self._end) :]
        return ids

    def _after(self, opening: Sequence[Message], replies: Sequence[Message]) -> str:
        mark = _mark([*opening, *replies])
        _, found, tail = self._render([*_answered(opening, mark), *replies]).partition(mark)
        if not found:
            raise WorldError(f"the chat template of {self._name} leaves out an answer that was given")
        return tail

    def _check(self) -> None:
        mark = _mark(_OPENING)
        first = self._render(_OPENING)
        second = self._render([*_answered(_OPENING, mark), *_REPLY])
        if not second.startswith(first + mark):
            raise WorldError(
                f"the chat template of {self._name} writes an answer in another way once it has been given: "
                f"asked to begin after {first[-40:]!r}, it then stands after "
                f"{second.partition(mark)[0][-40:]!r}. What the model decided on would not be what it reads "
                "in later turns; use another chat template."
            )
        longer = [*_answered(_OPENING, "So."), *_REPLY, {"role": "assistant", "content": mark}, *_REPLY]
        before, _, tail = self._render(longer).partition(mark)
        if tail != second.partition(mark)[2] or not before.startswith(
            self._render([*_answered(_OPENING, "So."), *_REPLY])
        ):
            raise WorldError(
                f"the chat template of {self._name} writes earlier turns in another way when there are more "
                "of them, so that tokens already read would change; use another chat template."
            )
        whole, end = self._encoded(second), self._encoded(tail)
        if not end or whole[-len(end) :] != end:
            raise WorldError(
                f"the tokenizer of {self._name} joins the end of an answer and what follows it into one "
                "token, so that what was said cannot stay as it is; use another model"
            )

    def _ending(self) -> list[int]:
        """Tokens from the end of an answer to the one that ends its turn; empty where none does."""
        mark = _mark(_OPENING)
        text = self._render(_answered(_OPENING, mark), begins=False).partition(mark)[2]
        ids = self._encoded(text)
        special = set(self._tokenizer.all_special_ids)
        places = [i for i, token in enumerate(ids) if token in special]
        return ids[: places[0] + 1] if places else []

    def _render(self, messages: Sequence[Message], begins: bool = True) -> str:
        """Up to where an answer begins, or is gone on with; with `begins` False, to the end of the last."""
        begun = begins and begun_in(messages) != ""
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    list(messages),
                    add_generation_prompt=begins and not begun,
                    continue_final_message=begun,
                    tokenize=False,
                )
            )
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            raise WorldError(
                f"the chat template of {self._name} refuses a conversation of "
                f"{', '.join(m['role'] for m in messages)}: {error}"
            ) from error

    def _encoded(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def _answered(opening: Sequence[Message], answer: str) -> list[Message]:
    """With an answer; one that was begun in the opening is gone on with."""
    if begun_in(opening):
        *before, begun = opening
        return [*before, {"role": "assistant", "content": begun["content"] + answer}]
    return [*opening, {"role": "assistant", "content": answer}]


def _mark(messages: Sequence[Message]) -> str:
    """A word that is in none of the messages."""
    mark, number = "Placeholder", 0
    while any(mark in m["content"] for m in messages):
        number += 1
        mark = f"Placeholder{number}"
    return mark
