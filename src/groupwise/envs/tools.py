"""Functions that a model may call in the middle of a conversation.

A tool is a Python function with type hints and a docstring that says what each argument is (Google style).
The model calls it as Hermes, Qwen and SmolLM2 were taught to, and is told the result in a message of a tool:

    <tool_call>{"name": "calculate", "arguments": {"expression": "17 * 3"}}</tool_call>
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from groupwise.envs.text import Message, TextEnv, WorldError, last_reward, messages_of

Tool = Callable[..., Any]

_CALL = re.compile(r"<tool_call>(.*?)(</tool_call>|$)", re.DOTALL)
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


class CallError(ValueError):
    """A call that cannot be made; the model is told why."""


class Toolbox:
    """Tools by name.

    Raises:
        WorldError: a function that does not say what its arguments are.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.__name__: tool for tool in tools}
        self.schemas = [_schema(tool) for tool in tools]
        self._parameters = {s["name"]: s["parameters"] for s in self.schemas}

    def described(self, messages: Sequence[Message]) -> list[Message]:
        """The messages, with the tools and how to call them in the system's."""
        schemas = "\n".join(json.dumps(schema) for schema in self.schemas)
        text = (
            f"You can call these functions:\n<tools>\n{schemas}\n</tools>\nTo call one, write its name and "
            'arguments as JSON: <tool_call>{"name": ..., "arguments": {...}}</tool_call>. You are then told '
            "its result."
        )
        if messages and messages[0]["role"] == "system":
            first, *rest = messages
            return [{"role": "system", "content": f"{first['content']}\n\n{text}"}, *rest]
        return [{"role": "system", "content": text}, *messages]

    def replies(self, message: str) -> list[Message]:
        """The result of every call in a message, in order; none where it calls nothing."""
        return [self._reply(*found) for found in _CALL.findall(message)]

    def _reply(self, body: str, end: str) -> Message:
        """Errors are results too: the model can read them and do better."""
        named = {}
        try:
            name, arguments = _read(body, end)
            named = {"name": name}
            value = self._called(name, arguments)
        except CallError as error:
            value = {"error": str(error)}
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        return {"role": "tool", **named, "content": text}

    def _called(self, name: str, arguments: Any) -> Any:
        if name not in self._tools:
            raise CallError(f"there is no function {name}. There are: {', '.join(self._tools)}")
        check(arguments, self._parameters[name])
        try:
            value = self._tools[name](**arguments)
            return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value
        except Exception as error:
            raise CallError(f"{type(error).__name__}: {str(error)[:200]}") from error


def calls(message: str) -> list[dict[str, Any]]:
    """Those calls of a message that can be read, as chat messages have them under `tool_calls`."""
    found = []
    for body, end in _CALL.findall(message):
        with suppress(CallError):
            name, arguments = _read(body, end)
            found.append({"type": "function", "function": {"name": name, "arguments": arguments}})
    return found


def written(name: str, **arguments: Any) -> str:
    """A call as a model writes it."""
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def check(arguments: Any, parameters: Mapping[str, Any]) -> None:
    """Raises CallError where arguments are not those of a JSON schema: strict, and nothing is converted."""
    if not isinstance(arguments, dict):
        raise CallError("`arguments` is an object")
    known = parameters.get("properties", {})
    if missing := [name for name in parameters.get("required", ()) if name not in arguments]:
        raise CallError(f"the argument {missing[0]} is missing")
    for name, value in arguments.items():
        if name not in known:
            raise CallError(f"there is no argument {name}. There are: {', '.join(known) or 'none'}")
        if not _fits(value, known[name]):
            kind = known[name].get("enum") or known[name].get("type", "another type")
            raise CallError(f"{name} is {json.dumps(value)[:100]}, and has to be: {kind}")


class Tooled:
    """An environment whose model may call functions: a message with calls is answered by their results.

    Such a turn has no reward. Any other message goes to the environment.
    """

    def __init__(self, inner: TextEnv, tools: Sequence[Tool]) -> None:
        self.inner, self.tools = inner, Toolbox(tools)

    def reset(self, row: Mapping[str, Any]) -> list[Message]:
        return self.tools.described(messages_of(self.inner.reset(row)))

    def step(self, message: str) -> tuple[str | Sequence[Message] | None, float | None, bool]:
        if results := self.tools.replies(message):
            return results, None, False
        return self.inner.step(message)

    def cut(self) -> float | None:
        return last_reward(self.inner)


def _read(body: str, end: str) -> tuple[str, Any]:
    """(name, arguments)"""
    if not end:
        raise CallError("the call has no </tool_call>")
    try:
        call = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CallError(f"the call is not JSON: {error}") from error
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise CallError('a call is {"name": ..., "arguments": {...}}')
    return call["name"], call.get("arguments", {})


async def _awaited(value: Any) -> Any:
    return await value


def _schema(tool: Tool) -> dict[str, Any]:
    from transformers.utils import get_json_schema

    try:
        schema: dict[str, Any] = get_json_schema(tool)["function"]
    except Exception as error:  # of several kinds, some of them private
        name = getattr(tool, "__name__", tool)
        raise WorldError(
            f"the tool {name} cannot be described to a model: {error} Give every argument a type, and a line "
            "`name: what it is` under `Args:` in the docstring."
        ) from error
    return {name: schema[name] for name in ("name", "description", "parameters")}


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    if value is None and schema.get("nullable"):
        return True
    if "anyOf" in schema:
        return any(_fits(value, one) for one in schema["anyOf"])
    kinds = schema.get("type", [])
    allowed = [k for kind in ([kinds] if isinstance(kinds, str) else kinds) for k in _KINDS.get(kind, ())]
    if allowed and not isinstance(value, tuple(allowed)):
        return False
    if allowed and isinstance(value, bool) and bool not in allowed:  # which Python takes for a whole number
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, list) and "items" in schema:
        return all(_fits(item, schema["items"]) for item in value)
    return True
