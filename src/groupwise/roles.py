"""Who speaks in a chat: tools' results where a template knows of no tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

_RESULT = (
    {"role": "user", "content": "Which one?"},
    {"role": "assistant", "content": "So"},
    {"role": "tool", "content": "fortytwo"},
)


def knows_tools(tokenizer: Any) -> bool:
    """Whether the chat template writes a tool's result, and apart from the answer before it."""
    try:
        text = tokenizer.apply_chat_template(list(_RESULT), add_generation_prompt=True, tokenize=False)
    except (TemplateError, TypeError, KeyError, ValueError):
        return False
    return "fortytwo" in text and "Sofortytwo" not in text


def understood(messages: Sequence[Mapping[str, Any]], tokenizer: Any) -> list[dict[str, Any]]:
    """The messages, tools' results as the user's where the chat template knows of no tools."""
    plain = [dict(message) for message in messages]
    if all(message["role"] != "tool" for message in plain) or knows_tools(tokenizer):
        return plain
    return [_as_users(message) if message["role"] == "tool" else message for message in plain]


def _as_users(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": f"<tool_response>\n{result['content']}\n</tool_response>"}
