"""Functions that a model calls: what it is told of them, and what comes back, whatever it writes."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from groupwise.envs.text import WorldError
from groupwise.envs.tools import Toolbox, Tooled


def add(a: int, b: float, note: str | None = None) -> float:
    """Add two numbers.

    Args:
        a: the first
        b: the second
        note: anything
    """
    return a + b


def choose(options: list[str], how: Literal["first", "last"] = "first") -> dict[str, Any]:
    """Choose one.

    Args:
        options: to choose from
        how: which
    """
    return {"chosen": options[0 if how == "first" else -1]}


async def later(text: str) -> str:
    """Say it later.

    Args:
        text: what to say
    """
    return text.upper()


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def results(message: str) -> list[str]:
    replies = Toolbox([add, choose, later]).replies(message)
    assert all(reply["role"] == "tool" for reply in replies)
    return [reply["content"] for reply in replies]


def test_every_call_in_a_message_is_answered_in_order() -> None:
    said = f"Let me see. {call('add', a=1, b=2.5)} and\n{call('choose', options=['x', 'y'], how='last')}"
    assert results(said) == ["3.5", '{"chosen": "y"}']
    assert results(call("later", text="ab")) == ["AB"], "a coroutine is waited for, a text is as it is"
    assert results("no call") == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (call("sub", a=1), "there is no function sub. There are: add, choose, later"),
        (call("add", a=1), "the argument b is missing"),
        (call("add", a="1", b=2), 'a is "1", and has to be: integer'),
        (call("add", a=True, b=2), "a is true, and has to be: integer"),
        (call("add", a=1.5, b=2), "a is 1.5, and has to be: integer"),
        (call("add", a=1, b=2, c=3), "there is no argument c"),
        (call("choose", options="x"), 'options is "x", and has to be: array'),
        (call("choose", options=[1]), "options is [1], and has to be: array"),
        (call("choose", options=["x"], how="worst"), "has to be: ['first', 'last']"),
        (call("choose", options=[]), "IndexError"),
        ('<tool_call>{"name": "add"</tool_call>', "the call is not JSON"),
        ("<tool_call>[1]</tool_call>", "a call is"),
        ('<tool_call>{"name": "add", "arguments": [1, 2]}</tool_call>', "`arguments` is an object"),
        ('<tool_call>{"name": "add", "arguments": {"a": 1', "the call has no </tool_call>"),
        (f"<tool_call>{'[' * 100_000}</tool_call>", "the call is not JSON"),
    ],
)
def test_a_wrong_call_is_answered_with_what_was_wrong(said: str, words: str) -> None:
    """Nothing that a model writes may end the run; and nothing is converted to make it fit."""
    (result,) = results(said)
    assert words in json.loads(result)["error"]


def test_a_number_may_be_whole_and_an_optional_argument_none() -> None:
    assert results(call("add", a=1, b=2, note=None)) == ["3"]


def test_tools_are_described_in_the_system_message() -> None:
    box = Toolbox([add])
    user = {"role": "user", "content": "?"}
    [system, rest] = box.described([{"role": "system", "content": "Be kind."}, user])
    assert system["content"].startswith("Be kind.\n\n")
    described = json.loads(system["content"].partition("<tools>\n")[2].partition("\n</tools>")[0])
    assert described["parameters"]["required"] == ["a", "b"]
    assert (rest, box.described([user])[0]["role"]) == (user, "system")


def untyped(a):  # type: ignore[no-untyped-def]
    """Say.

    Args:
        a: what
    """


def undescribed(a: int) -> None: ...


@pytest.mark.parametrize("tool", [untyped, undescribed])
def test_a_tool_that_cannot_be_described_is_refused_by_name(tool: Any) -> None:
    with pytest.raises(
        WorldError, match=f"the tool {tool.__name__} cannot be described.*Give every argument"
    ):
        Toolbox([tool])


class Echo:
    def reset(self, row: Any) -> str:
        return "begin"

    def step(self, message: str) -> tuple[str, float, bool]:
        return message, 1.0, True


def test_a_message_with_calls_does_not_reach_the_environment() -> None:
    env = Tooled(Echo(), [add])  # type: ignore[arg-type]
    assert env.reset({})[-1] == {"role": "user", "content": "begin"}
    replies, reward, done = env.step(call("add", a=1, b=1))
    assert (replies, reward, done) == ([{"role": "tool", "name": "add", "content": "2"}], None, False)
    assert env.step("two") == ("two", 1.0, True)
