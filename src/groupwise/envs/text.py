"""Worlds to talk to: what an environment of text is, and the tasks that are made of one.

    class Guess:
        def reset(self, row):                       # a row of data, or {"seed": n}
            self.number = row["seed"] % 10
            return [{"role": "user", "content": "I think of a digit. Which?"}]

        def step(self, message):                    # what the model said -> reply, reward, done
            right = str(self.number) in message
            return "No.", float(right), right

`tools`, if there is such an attribute, are typed functions that the model may call (envs.tools). `cut`, if
there is such a method, gives the last reward, or None, of a conversation that a limit ends.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from groupwise.envs.guarded import SECONDS, Guarded, seed_of
from groupwise.rewards.scoring import Reward
from groupwise.tasks import seeds
from groupwise.tasks.rows import ASKED
from groupwise.tasks.task import Row, Rows, Task
from groupwise.user_code import where

Message = dict[str, Any]
"""`role` and `content`; of a tool `name`, and of who called one `tool_calls`."""


class TextEnv(Protocol):
    """One conversation. A new one is made for each; siblings get the same row and have to begin alike.

    Messages may end with an assistant's: the model's next message begins so, which is read and not decided.
    """

    def reset(self, row: Mapping[str, Any]) -> Sequence[Message]:
        """The messages that the model answers first."""

    def step(self, message: str) -> tuple[str | Sequence[Message] | None, float | None, bool]:
        """(reply, reward, done) to what the model said, the beginning that it was given included.

        A text is a user's message. No reward is None.
        """


class WorldError(ValueError):
    """An environment that cannot be talked to; names it, the reason and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations(Task):
    """A task whose prompts are the openings of an environment's conversations.

    `max_new_tokens` is that of a turn.
    """

    world: Callable[[], TextEnv]
    turns: int = 8
    """Turns of the model in a conversation, unless the user says otherwise."""

    @property
    def paid_on_the_way(self) -> bool:
        """Whether what the environment gives turn by turn is trained on."""
        return any(reward.function is returned and reward.weight for reward in self.rewards)


def conversations(
    name: str,
    world: Callable[[], TextEnv],
    train: Rows,
    held_out: Rows,
    rewards: Sequence[Reward],
    turns: int = 8,
    max_new_tokens: int = 64,
    stop: tuple[str, ...] = (),
) -> Conversations:
    """The task, once a first conversation has been opened.

    Raises:
        WorldError: the environment cannot begin.
    """
    opened(name, world, train[0])
    return Conversations(
        name=name,
        train=Openings(train, world),
        held_out=Openings(held_out, world),
        rewards=tuple(rewards),
        max_new_tokens=max_new_tokens,
        stop=stop,
        world=world,
        turns=turns,
    )


def returned(returns: Sequence[float | None], **_: Any) -> list[float]:
    """The sum of what its environment gave a conversation; 0 where it gave nothing, as where it was cut."""
    return [0.0 if value is None else value for value in returns]


TRAINED_ON, HELD_OUT = seeds.trained_on("seed"), seeds.held_out("seed")


@dataclass(frozen=True, slots=True)
class Openings:
    """Rows with what the environment says first as their prompt."""

    rows: Rows
    world: Callable[[], TextEnv]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        row = self.rows[index]
        try:
            opening = opened("", self.world, row)
        except WorldError as error:  # its siblings' will fail too, and be counted
            opening = [{"role": "user", "content": f"(there is no conversation: {error})"}]
        kept = {ASKED: row["prompt"]} if "prompt" in row else {}
        return {**row, **kept, "prompt": opening}


def row_of(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The row that an opening was made from, of the columns of its prompt."""
    row = {name: value for name, value in columns.items() if name != ASKED}
    return {**row, "prompt": columns[ASKED]} if ASKED in columns else row


def opened(name: str, world: Callable[[], TextEnv], row: Row, seconds: float = SECONDS) -> list[Message]:
    """The opening of a conversation about this row.

    Raises:
        WorldError: it raised, took too long, or gave no messages.
    """
    guarded = Guarded(seed_of(row), seconds)
    try:
        messages = messages_of(guarded(lambda: world().reset(copy.deepcopy(row))))
        if not messages:
            raise WorldError("reset returned nothing to answer")
        return messages
    except Exception as error:
        why = str(error) if isinstance(error, WorldError) else reason(error)
        why += _given(row) if isinstance(error, KeyError) else ""
        raise WorldError(f"{name or 'the environment'} cannot begin: {why}") from error


def _given(row: Row) -> str:
    """What there is, for one who looked for something else."""
    said = f". The row has: {', '.join(row)}"
    return said if set(row) != {"seed"} else f"{said}; rows of a data file are given by env:FILE.py:NAME,ROWS"


def messages_of(said: str | Sequence[Message] | None, role: str = "user") -> list[Message]:
    """Messages as a list; a text is one of that role.

    Raises:
        WorldError: it is neither.
    """
    if said is None or said == "":
        return []
    if isinstance(said, str):
        return [{"role": role, "content": said}]
    good = isinstance(said, Sequence) and all(
        isinstance(m, Mapping) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in said
    )
    if not good:
        raise WorldError(f"{said!r:.200} is no text, and no list of messages with `role` and `content`")
    return [{key: m[key] for key in ("role", "name", "content") if key in m} for m in said]


def last_reward(env: Any) -> float | None:
    """What an environment gives a conversation that a limit ends, if it gives something then."""
    cut = getattr(env, "cut", None)
    return cut() if callable(cut) else None


def begun_in(messages: Sequence[Message]) -> str:
    """How the answer to these messages begins, where the last of them is an assistant's."""
    return messages[-1]["content"] if messages and messages[-1]["role"] == "assistant" else ""


def reason(error: BaseException) -> str:
    """A few words, and the line of the user's that raised it; what comes before the colon is the kind."""
    return f"{type(error).__name__}: {str(error)[:200]}{where(error)}"
