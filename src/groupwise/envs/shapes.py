"""What a user may hand in as an environment: our own shape, or those of TRL's trainer.

- a class with `reset(row)` and `step(message)`, and `tools` if it has some: ours (envs.text);
- a class with `reset(**row) -> str | None`: TRL's `environment_factory`. Its other public methods are tools,
  a `step` among them too; what `reset` returns is added to the row's prompt, and `get_reward()`, if there
  is one, is asked at the end. Reward functions are given the environment itself, under `environments`;
- a mapping of names to such classes: TRL's too. A row's column `environment` says which of them it is for;
- a list of functions: TRL's `tools`. The prompt is the row's.

In those of TRL a conversation ends with the first message that calls nothing, and `get_reward` is asked where
a limit ends it too.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from groupwise.envs.text import Message, TextEnv, WorldError, last_reward, messages_of
from groupwise.envs.tools import Toolbox, Tooled
from groupwise.rewards.scoring import accepted


def world_of(thing: Any, name: str) -> Callable[[], TextEnv]:
    """What makes an environment.

    Raises:
        WorldError: it is none of these.
    """
    if isinstance(thing, list | tuple) and thing and all(callable(tool) for tool in thing):
        return lambda: Tooled(_Asked(), thing)
    if isinstance(thing, Mapping) and thing:
        several = {key: world_of(one, f"{name}[{key!r}]") for key, one in thing.items()}
        return lambda: _Chosen(several)
    if not callable(thing):
        raise WorldError(
            f"{name} is a {type(thing).__name__}: a class with reset and step, several by name, or a list of "
            "tools"
        )
    has = [method for method in ("reset", "step") if callable(getattr(thing, method, None))]
    if inspect.isclass(thing) and "reset" not in has:
        raise WorldError(
            f"{name} has no method reset: it needs reset(row) and step(message), see docs/conversations.md"
        )
    return lambda: _shaped(thing())


def gives_rewards(thing: Any) -> bool:
    """Whether conversations with what `world_of` was given have rewards of their own."""
    if isinstance(thing, list | tuple):
        return False
    if isinstance(thing, Mapping):
        return any(map(gives_rewards, thing.values()))
    env = thing if inspect.isclass(thing) else thing()
    return _is_ours(env) or callable(getattr(env, "get_reward", None))


def behind(env: TextEnv) -> Any:
    """The user's own environment, where this is made of one."""
    if isinstance(env, Tooled):
        return behind(env.inner)
    if isinstance(env, _Chosen):
        return behind(env.inner)
    return env.environment if isinstance(env, _Asked) else env


def toolbox(env: TextEnv, row: Mapping[str, Any]) -> Toolbox | None:
    """The functions that may be called in the conversation of a row."""
    if isinstance(env, _Chosen):
        return toolbox(env.chosen(row), row)
    return env.tools if isinstance(env, Tooled) else None


def _is_ours(env: Any) -> bool:
    """Of a class or an instance. TRL's `reset` takes a row by its columns."""
    if not callable(getattr(env, "step", None)):
        return False
    kinds = {p.kind for p in inspect.signature(env.reset).parameters.values()}
    return inspect.Parameter.VAR_KEYWORD not in kinds


def _shaped(env: Any) -> TextEnv:
    if _is_ours(env):
        tools = getattr(env, "tools", ())
        return Tooled(env, tools) if tools else env
    # listed on the class: on the environment, properties would be evaluated and attributes taken for tools
    public = [
        getattr(env, name)
        for name, _ in inspect.getmembers(type(env), inspect.isfunction)
        if not name.startswith("_") and name not in ("reset", "get_reward")
    ]
    return Tooled(_Asked(env), public) if public else _Asked(env)


class _Asked:
    """The prompt of a row, perhaps with what an environment of TRL's shape adds to it."""

    def __init__(self, env: Any = None) -> None:
        self.environment = env

    def reset(self, row: Mapping[str, Any]) -> list[Message]:
        messages = messages_of(row.get("prompt"))
        reset = getattr(self.environment, "reset", None)
        added = None if reset is None else _value(reset(**accepted(reset, dict(row))))
        if added and messages and messages[-1]["role"] == "user":
            messages[-1]["content"] += added
        elif added:
            messages += messages_of(added)
        if not messages:
            raise WorldError(
                "there is nothing to answer: the row has no `prompt`, and reset returned no text"
            )
        return messages

    def step(self, message: str) -> tuple[str | Sequence[Message] | None, float | None, bool]:
        return None, self.cut(), True

    def cut(self) -> float | None:
        judge = getattr(self.environment, "get_reward", None)
        return None if judge is None else float(_value(judge()))


class _Chosen:
    """The environment that a row names."""

    def __init__(self, several: Mapping[str, Callable[[], TextEnv]]) -> None:
        self._several = several
        self.inner: Any = None

    def chosen(self, row: Mapping[str, Any]) -> TextEnv:
        name = row.get("environment")
        if name is None or name not in self._several:
            known = ", ".join(map(str, self._several))
            raise WorldError(f"the row's column `environment` is {name!r}, and there are: {known}")
        return self._several[name]()

    def reset(self, row: Mapping[str, Any]) -> Sequence[Message]:
        self.inner = self.chosen(row)
        return messages_of(self.inner.reset({k: v for k, v in row.items() if k != "environment"}))

    def step(self, message: str) -> tuple[str | Sequence[Message] | None, float | None, bool]:
        return self.inner.step(message)

    def cut(self) -> float | None:
        return last_reward(self.inner)


def _value(given: Any) -> Any:
    async def awaited() -> Any:
        return await given

    return asyncio.run(awaited()) if inspect.isawaitable(given) else given
