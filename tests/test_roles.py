"""Results of tools are said by somebody whom the template knows."""

from __future__ import annotations

from typing import Any

import pytest

import tiny_folder
from groupwise.roles import knows_tools, understood

SAID = [
    {"role": "user", "content": "a"}, {"role": "assistant", "content": "c"},
    {"role": "tool", "name": "add", "content": "4"}, {"role": "assistant", "content": "d"},
]  # fmt: skip
EVERY = "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}"


def tokenizer(template: str) -> Any:
    words = tiny_folder.tokenizer()
    words.chat_template = template
    return words


@pytest.mark.parametrize(
    "template",
    [
        tiny_folder.CHAT,  # writes no mark for it
        EVERY.replace("m['role'] +", "{'user': 'u', 'assistant': 'a'}[m['role']] +"),  # fails
        EVERY.replace(
            "}}{% endfor", "}}{% if m['role'] == 'tool' %}{{ raise_exception('') }}{% endif %}{% endfor"
        ),
        "{% for m in messages %}{% if m['role'] != 'tool' %}{{ m['content'] }}{% endif %}{% endfor %}",
    ],
)
def test_a_result_is_the_users_where_a_template_knows_no_tools(template: str) -> None:
    assert not knows_tools(tokenizer(template))
    said = understood(SAID, tokenizer(template))
    assert [m["role"] for m in said] == ["user", "assistant", "user", "assistant"]
    assert said[2]["content"] == "<tool_response>\n4\n</tool_response>"
    assert SAID[2]["role"] == "tool", "what was said is as it was"


def test_a_result_is_the_tools_where_the_template_knows_them() -> None:
    assert knows_tools(tokenizer(EVERY))
    assert understood(SAID, tokenizer(EVERY)) == SAID
