"""Sums too big for a small model's head, and a calculator: `calculator`, `calculator:digits=3,ops=+-`.

The model calls `calculate` and is told the result; its first message without a call is its answer. Which side
a question is on is its row's seed.
"""

from __future__ import annotations

import ast
import json
import operator
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.envs.options import read
from groupwise.envs.text import HELD_OUT, TRAINED_ON, Conversations, Message, conversations, returned
from groupwise.envs.tools import Tooled, written
from groupwise.rewards.answers import answer_of, canonical
from groupwise.rewards.scoring import Reward

LONGEST = 200
"""Characters of an expression."""
SHOTS = 3_000_000
"""The first seed of those; neither trained on nor held out."""
LARGEST = 10**40
"""Beyond this a number is refused: a tower of products would take for ever."""

_TWO: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_ONE: dict[type, Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked."""

    digits: int = 4
    """Digits of an operand."""
    ops: str = "+-*"
    """Of + - *, together."""
    shots: int = 2
    """Questions answered before, for the model to see how: without any, SmolLM2-135M never calls the tool."""

    def __post_init__(self) -> None:
        good = 1 <= self.digits <= 12 and self.ops and not set(self.ops) - set("+-*")
        if not good or not 0 <= self.shots <= 8:
            raise ValueError(
                f"calculator: digits={self.digits} (1 to 12), ops={self.ops!r} (of + - *), "
                f"shots={self.shots} (0 to 8)"
            )


def calculator(options: str = "") -> Conversations:
    """The task. Options: digits=4, ops=+-*, shots=2.

    Raises:
        ValueError: an unknown option or a bad value.
    """
    o = read(Options, options, "calculator")
    return conversations(
        f"calculator:{options}" if options else "calculator",
        lambda: Tooled(Calculator(o), [calculate]),
        TRAINED_ON,
        HELD_OUT,
        (Reward("correct", returned), Reward("called", called, 0.2)),
        turns=3,
        max_new_tokens=40 + 2 * o.digits,
    )


class Calculator:
    """One question; the first message that calls nothing answers it."""

    def __init__(self, options: Options) -> None:
        self._options, self._result = options, ""

    def reset(self, row: Mapping[str, Any]) -> list[Message]:
        asked = question(self._options, row["seed"])
        self._result = canonical(calculate(asked))
        system = {"role": "system", "content": "Calculate with the tool, then say the result."}
        shots = [m for i in range(self._options.shots) for m in _shot(question(self._options, SHOTS + i))]
        return [system, *shots, {"role": "user", "content": f"What is {asked}?"}]

    def step(self, message: str) -> tuple[str | None, float, bool]:
        said = answer_of(message)
        right = said is not None and canonical(said) == self._result
        return None, float(right), True


def question(options: Options, seed: int) -> str:
    """The expression of a seed."""
    chance, digits = random.Random(seed), options.digits
    low, high = 10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1
    return f"{chance.randint(low, high)} {chance.choice(options.ops)} {chance.randint(low, high)}"


def _shot(expression: str) -> list[Message]:
    """A question with its answer, as a model that knows the tool would give it."""
    result = calculate(expression)
    return [
        {"role": "user", "content": f"What is {expression}?"},
        {"role": "assistant", "content": written("calculate", expression=expression)},
        {"role": "tool", "name": "calculate", "content": result},
        {"role": "assistant", "content": f"It is {result}."},
    ]


def called(completions: Sequence[Sequence[Message]], **_: Any) -> list[float]:
    """1 where a call had a result, 0 where none had."""
    return [
        float(any(m["role"] == "tool" and not _is_error(m["content"]) for m in completion))
        for completion in completions
    ]


def calculate(expression: str) -> str:
    """Work out an arithmetic expression.

    Args:
        expression: numbers with + - * / // % and parentheses, such as (12 + 3) * 4
    """
    if len(expression) > LONGEST:
        raise ValueError(f"an expression has at most {LONGEST} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError("this is no expression") from error
    value = _worked_out(tree.body)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _worked_out(node: ast.expr) -> int | float:
    """Numbers and signs only: nothing of Python is run."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            found: int | float = value
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _ONE:
            found = _ONE[type(sign)](_worked_out(operand))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _TWO:
            found = _TWO[type(sign)](_worked_out(left), _worked_out(right))
        case _:
            raise ValueError("only numbers, + - * / // % and parentheses can be worked out")
    if not abs(found) < LARGEST:
        raise ValueError("the number is too large")
    return found


def _is_error(result: str) -> bool:
    try:
        return "error" in json.loads(result)
    except (ValueError, TypeError):
        return False
