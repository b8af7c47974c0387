"""Small worlds to talk to, and a tiny model that talks: what the tests of conversations share."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

import tiny_folder
from groupwise.engine.model import CausalLM
from groupwise.engine.sampling import Sampling
from groupwise.envs.conversation import ConversationSampler
from groupwise.envs.dialogue import Limits
from groupwise.envs.text import messages_of, opened
from groupwise.groups import Order
from groupwise.policies import LanguagePolicy
from groupwise.trajectory import Prompt

CHATML = (
    "{% for m in messages %}{{ '<user>' + m['role'][:1] + '\n' + m['content'] + '<eos>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<user>a\n' }}{% endif %}"
)
"""Like ChatML, and short."""


class Counting:
    """Replies with how long the message was, for three turns; every turn is worth its number."""

    turns = 3

    def __init__(self) -> None:
        self.turn = 0

    def reset(self, row: Mapping[str, Any]) -> str:
        return f"q{row['seed']}"

    def step(self, message: str) -> tuple[Any, float | None, bool]:
        self.turn += 1
        return f"{len(message)}!", float(self.turn), self.turn == self.turns


class Endless(Counting):
    turns = 1 << 30


class Raises(Counting):
    def step(self, message: str) -> tuple[Any, float | None, bool]:
        if self.turn == 1:
            raise KeyError("no such door")
        return super().step(message)


class Hangs(Counting):
    def step(self, message: str) -> tuple[Any, float | None, bool]:
        if self.turn == 1:
            threading.Event().wait()
        return super().step(message)


class Stuck(Counting):
    def step(self, message: str) -> tuple[Any, float | None, bool]:
        threading.Event().wait()
        return super().step(message)


BEGIN = {"role": "assistant", "content": "I say "}


class Begun(Counting):
    """Every message of the model begins alike."""

    def reset(self, row: Mapping[str, Any]) -> Any:
        return [{"role": "user", "content": super().reset(row)}, BEGIN]

    def step(self, message: str) -> tuple[Any, float | None, bool]:
        reply, reward, done = super().step(message)
        return [{"role": "user", "content": reply}, BEGIN], reward, done


class Exits(Counting):
    def step(self, message: str) -> tuple[Any, float | None, bool]:
        raise SystemExit(1)


class NotANumber(Counting):
    def step(self, message: str) -> tuple[Any, float | None, bool]:
        return "x", float("nan"), False


class Silent(Counting):
    def step(self, message: str) -> tuple[Any, float | None, bool]:
        return "", 1.0, False


class Nonsense(Counting):
    def step(self, message: str) -> tuple[Any, float | None, bool]:
        return 7, 1.0, False


class WrongShape(Counting):
    def step(self, message: str) -> Any:
        return "only a text"


class Fickle(Counting):
    """Begins in another way every time: its numbers are nobody's."""

    def reset(self, row: Mapping[str, Any]) -> str:
        return str(random.SystemRandom().randrange(10**9))


class Global(Counting):
    """Draws from the global generator, as many environments do."""

    def reset(self, row: Mapping[str, Any]) -> str:
        return str(random.randrange(1000))

    def step(self, message: str) -> tuple[Any, float | None, bool]:
        _, reward, done = super().step(message)
        return str(random.randrange(1000)), reward, done


@functools.cache
def policy() -> LanguagePolicy:
    words = tiny_folder.tokenizer()
    return LanguagePolicy(CausalLM(tiny_folder.model(len(words))))


def tokenizer() -> Any:
    words = tiny_folder.tokenizer()
    words.chat_template = CHATML
    return words


def sampler(
    world: Callable[[], Any],
    turns: int = 8,
    tokens: int = 160,
    seconds: float = 5.0,
    seed: int = 0,
    **sampling: Any,
) -> ConversationSampler:
    options = {"max_new_tokens": 12, "stop": tuple("aeiouAEIOU"), **sampling}  # about one token in nine
    limits = Limits(turns, tokens, seconds)
    return ConversationSampler(policy(), tokenizer(), Sampling(**options), seed, world, limits)


def order(world: Callable[[], Any], seed: int = 5, count: int = 4) -> Order:
    row = {"seed": seed}
    return Order(Prompt(seed, messages_of(opened("it", world, row)), row), count)
