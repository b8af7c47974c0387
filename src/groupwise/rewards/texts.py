"""The text of a completion, as rewards are given it.

What is then compared is another matter: words.plain for words, answers.ascii_end for numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Completion = str | Sequence[Mapping[str, Any]]
"""A text, or the messages of a conversation."""


def text_of(completion: Completion) -> str:
    """The answer: the text itself, or what the policy said last."""
    if isinstance(completion, str):
        return completion
    own = (message for message in reversed(completion) if message.get("role", "assistant") == "assistant")
    return content_of(next(own, {}))


def content_of(message: Mapping[str, Any]) -> str:
    """What a message says. Images in it are passed over."""
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        return "\n".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""
