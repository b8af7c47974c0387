"""One conversation: what the policy says, the environment that hears it, and the trajectory of both."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from groupwise.engine.replies import Said
from groupwise.envs.guarded import SECONDS, Guarded, seed_of
from groupwise.envs.shapes import behind
from groupwise.envs.template import Continuation
from groupwise.envs.text import (
    Message,
    TextEnv,
    WorldError,
    begun_in,
    last_reward,
    messages_of,
    reason,
    row_of,
)
from groupwise.envs.tools import calls
from groupwise.trajectory import PolicyTag, Prompt, StopReason, Trajectory, Turn

OF_A_TURN = "--max-new-tokens"
"""The limit that a single turn reaches."""
OF_ALL = "--max-context"


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a conversation that nobody ends."""

    turns: int
    """Of the model."""
    tokens: int
    """Of the whole conversation, its prompt included."""
    seconds: float = SECONDS
    """That the environment may take for a reply."""

    def __post_init__(self) -> None:
        if self.turns < 1 or self.tokens < 2 or self.seconds <= 0:
            raise ValueError(f"{self}: a turn, two tokens and some time at least")


@dataclass(frozen=True, slots=True)
class Terms:
    """What all conversations of a run have in common."""

    world: Callable[[], TextEnv]
    tokenizer: Any
    follows: Continuation
    limits: Limits


class _World:
    """The environment of one conversation; siblings have the same random numbers.

    Raises:
        Exception: whatever it raises; OverdueError; WorldError where it begins in another way than before.
    """

    def __init__(self, world: Callable[[], TextEnv], prompt: Prompt, seconds: float) -> None:
        row = copy.deepcopy(row_of(prompt.columns))  # it is the environment's own, to do with as it likes
        self._call = Guarded(seed_of(row), seconds)
        self._env = self._call(world)
        if messages_of(self._call(self._env.reset, row)) != prompt.content:
            raise WorldError(
                "it does not begin as it did for the same row: draw from the row's seed, or from Python's or "
                "numpy's global generator"
            )
        self.own = behind(self._env)

    def step(self, text: str) -> tuple[list[Message], float, bool]:
        """(replies, reward or NaN, done)"""
        reply, reward, done = self._call(self._env.step, text)
        replies = messages_of(reply)
        if not done and not replies:
            raise WorldError("it says nothing and has not ended: give a reply, or done")
        return replies, _value(reward), bool(done)

    def cut(self) -> float:
        """The reward, or NaN, of a conversation that a limit ends."""
        return _value(self._call(last_reward, self._env))


def _value(reward: float | None) -> float:
    value = np.nan if reward is None else float(reward)
    if reward is not None and not np.isfinite(value):
        raise WorldError(f"a reward of {reward}: give a number, or None where there is none")
    return value


@dataclass(slots=True)
class Play:
    """A conversation under way."""

    terms: Terms
    prompt: Prompt
    read: np.ndarray
    """What the model read last: the prompt's tokens or a reply's."""
    begun: str
    """How its next message begins."""
    turns: list[Turn] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    length: int = 0
    """Tokens so far."""
    stopped: StopReason | None = None
    error: str = ""
    limit: str = ""
    """The flag of the limit that ended it."""
    _env: _World | None = None

    def answered(self, said: Said) -> list[int] | None:
        """What the model reads after a turn; None where the conversation has ended."""
        text = self.begun + self.terms.tokenizer.decode(said.tokens, skip_special_tokens=True)
        self.messages.append({"role": "assistant", "content": text})
        try:
            replies, tokens, reward = self._replied(text, said)
        except Exception as error:  # whatever an environment raises costs one conversation
            self._write(said, np.nan)
            self.stopped, self.error = StopReason.ERROR, reason(error)
            return None
        self._write(said, reward)
        self.begun = begun_in(replies)
        self.messages += replies[:-1] if self.begun else replies
        if self.stopped is not None:
            return None
        self.read = np.array(tokens)
        return tokens

    def _replied(self, text: str, said: Said) -> tuple[list[Message], list[int], float]:
        """(replies, their tokens, reward or NaN); `stopped` is set where it ends."""
        assert isinstance(self.prompt.content, list)
        if self._env is None:
            self._env = _World(self.terms.world, self.prompt, self.terms.limits.seconds)
        replies, reward, done = self._env.step(text)
        if any(reply["role"] == "tool" for reply in replies):
            self.messages[-1]["tool_calls"] = calls(text)
        if done:
            self.stopped = StopReason.FINISHED
            return replies, [], reward
        tokens = self.terms.follows(self.prompt.content, replies, said.tokens[-1])
        self.limit = self._limit(said, len(tokens))
        if self.limit:
            last = self._env.cut()
            self.stopped = StopReason.LENGTH
            reward = reward if np.isnan(last) else np.nansum([reward, last])
        return replies, tokens, reward

    def _limit(self, said: Said, reply: int) -> str:
        """Which limit ends it after this turn, if any; `reply` are the tokens that would be read next."""
        limits, length = self.terms.limits, self.length + len(self.read) + len(said.tokens)
        if said.stopped is StopReason.LENGTH:
            return OF_A_TURN if length < limits.tokens else OF_ALL
        if len(self.turns) + 1 >= limits.turns:
            return "--max-turns"
        return OF_ALL if length + reply + 1 > limits.tokens else ""

    def _write(self, said: Said, reward: float) -> None:
        rewards = np.full(len(said.tokens), np.nan)
        rewards[-1] = reward
        logp = np.array(said.logp, dtype=np.float32)
        self.turns.append(Turn(self.read, np.array(said.tokens), logp, rewards))
        self.length += len(self.read) + len(said.tokens)

    def trajectory(self, tag: PolicyTag) -> Trajectory:
        assert self.stopped is not None
        turns = self.turns
        if all(np.isnan(turn.rewards).all() for turn in turns if turn.rewards is not None):
            turns = [replace(turn, rewards=None) for turn in turns]
        return Trajectory(
            turns=tuple(turns),
            policy=tag,
            stopped=self.stopped,
            text="\n".join(m["content"] for m in self.messages if m["role"] == "assistant"),
            messages=tuple(self.messages),
            extra={key: said for key in ("error", "limit") if (said := getattr(self, key))},
            environment=None if self.error or self._env is None else self._env.own,
        )
