"""Rewards for answers to problems of mathematics, with the right one in the column `answer`.

exact()         the number itself, by its value
equivalent()    a formula of equal value, by math-verify in worker processes
concise(right)  among right answers to one prompt, the shortest first
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.rewards.answers import NUMBER, answer_of, ascii_end, canonical
from groupwise.rewards.pool import isolated
from groupwise.rewards.scoring import Failed, Value, accepted
from groupwise.rewards.siblings import by_group
from groupwise.rewards.texts import Completion, text_of

LONGEST = 200
"""Characters of a formula that is compared; a longer one is refused."""
DEEPEST = 20
"""Brackets within each other, likewise."""
MEMORY_MB = 2048

_HUGE = re.compile(r"[0-9]{51}|\^[\s{(+-]*[0-9.]{5}")
_TOWER = re.compile(r"\^[\s{(]*[0-9.]+\s*\^")


@dataclass(frozen=True, slots=True)
class exact:  # noqa: N801 - reads as the function that it makes
    """1 where the answer is one number, of the right value, else 0. A unit beside it does no harm.

    Nothing is rounded and no formula is worked out: 0.5 is .50, but 1/2 is two numbers. `strict` and what
    counts as the answer: answers.answer_of.

    >>> exact()(["2 * 500 = 1,000.0", "#### 8 apples", "#### 7 or 8"], answer=["1000", "8", "8"])
    [1.0, 1.0, 0.0]
    """

    strict: bool = False

    def __call__(self, completions: Sequence[Completion], answer: Sequence[Any], **_: Any) -> list[float]:
        said = [_number(answer_of(text_of(c), self.strict)) for c in completions]
        return [
            float(s is not None and s == canonical(str(truth))) for s, truth in zip(said, answer, strict=True)
        ]


class equivalent:  # noqa: N801 - reads as the function that it makes
    r"""1 where the answer is a formula equal to the truth, else 0. Needs math-verify (extra `math`).

    0 without work: no answer, and one that is refused: more than LONGEST characters, brackets deeper than
    DEEPEST, a literal of more than 50 digits, an exponent of 5 digits or more or with an exponent of its own.
    What gets past that and takes longer than `seconds` has failed: no reward, not in the baseline. None where
    the truth is no formula.

    Raises:
        ImportError: math-verify is not installed.
    """

    def __init__(self, strict: bool = False, workers: int | None = None, seconds: float = 1.0) -> None:
        if importlib.util.find_spec("math_verify") is None:
            raise ImportError("equivalent() needs math-verify: pip install -e '.[math]'.")
        self.strict, self.ahead = strict, True
        self.judge = isolated("groupwise.rewards.equivalence:same_value", workers, seconds, MEMORY_MB)

    def begin(self, completions: Sequence[Completion], answer: Sequence[Any]) -> None:
        read = self._read(completions, answer)
        if read.hard:
            self.judge.begin(**read.asked)

    def __call__(
        self, completions: Sequence[Completion], answer: Sequence[Any], **columns: Any
    ) -> list[Value]:
        read = self._read(completions, answer)
        values: list[Value] = list(map(float, read.equal))
        found = self.judge(**read.asked) if read.hard else []
        for i, value in zip(read.hard, found, strict=True):
            values[i] = value
        if log := columns.get("log_metric"):
            log("maths/refused", read.refused / len(values))
            log("maths/no_answer", read.silent / len(values))
        return values

    def _read(self, completions: Sequence[Completion], answer: Sequence[Any]) -> _Read:
        said = [answer_of(text_of(c), self.strict) for c in completions]
        refused = [s is not None and is_refused(s) for s in said]
        formulas = [None if s is None or no else _formula(s) for s, no in zip(said, refused, strict=True)]
        truths = [_formula(str(truth)) for truth in answer]
        equal = [formula == truth for formula, truth in zip(formulas, truths, strict=True)]
        hard = [i for i, formula in enumerate(formulas) if formula is not None and not equal[i]]
        asked: dict[str, list[Any]] = {
            "said": [formulas[i] for i in hard],
            "truth": [truths[i] for i in hard],
        }
        asked |= {"prompts": asked["said"], "completions": asked["said"]}
        return _Read(said.count(None), sum(refused), equal, hard, asked)


@dataclass(frozen=True, slots=True)
class _Read:
    """What answers say, and what of it is left to the judge."""

    silent: int
    """Answers that say nothing."""
    refused: int
    equal: list[bool]
    hard: list[int]
    """Those that may be equal all the same."""
    asked: dict[str, list[Any]]
    """What the judge is asked about them."""


def is_refused(formula: str) -> bool:
    """Whether comparing it would be too much work for what it can be worth.

    >>> [is_refused(f) for f in ("2^{10}", "9^9^9^9", "2^{100000}", "(" * 21)]
    [False, True, True, True]
    """
    if len(formula) > LONGEST or _HUGE.search(formula) or _TOWER.search(formula):
        return True
    depth = deepest = 0
    for sign in formula:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return deepest > DEEPEST


def tokens(completion: Completion, ids: Sequence[int]) -> int:
    return len(ids)


def steps(completion: Completion, ids: Sequence[int]) -> int:
    """Steps of a derivation: lines, sentences and equality signs, each at least one.

    >>> steps("2 + 3 = 5. Then 5 * 2 = 10.", [])
    4
    """
    text = ascii_end(text_of(completion))
    parts = [part for part in re.split(r"\n|[.!?](?=\s|$)", text) if part.strip()]
    return len(parts) + sum(part.count("=") for part in parts)


def concise(
    right: Callable[..., Sequence[Value]], cost: Callable[[Completion, Sequence[int]], int] = tokens
) -> Callable[..., list[Value]]:
    """(lowest cost of a right sibling) / (own cost) for an answer with right = 1, else 0.

    1 for the shortest right answer of a group, and never more for a wrong one, however short. `cost` is
    `tokens`, or `steps` for the elegance of the derivation. None where `right` has no value.
    """

    def shares(
        completions: Sequence[Completion], completion_ids: Sequence[Sequence[int]], **columns: Any
    ) -> list[Value]:
        given = {**columns, "completions": completions, "completion_ids": completion_ids}
        values = right(**accepted(right, given))
        costs = [max(cost(c, ids), 1) for c, ids in zip(completions, completion_ids, strict=True)]
        good = [not isinstance(v, Failed) and v is not None and v >= 1 for v in values]
        lowest = min((c for c, ok in zip(costs, good, strict=True) if ok), default=1)
        return [
            None if v is None or isinstance(v, Failed) else lowest / c if ok else 0.0
            for v, c, ok in zip(values, costs, good, strict=True)
        ]

    return by_group(shares, ahead=getattr(right, "ahead", False))


def _number(said: str | None) -> str | None:
    numbers = re.findall(NUMBER, (said or "").replace("{,}", ","))
    return canonical(numbers[0]) if len(numbers) == 1 else None


def _formula(text: str) -> str:
    """One spelling for equal numbers, else the text without what TeX does not need."""
    text = text.replace("{,}", ",").replace("\\!", "").replace("\\$", "")
    text = text.lstrip(" $").rstrip(" $.")  # a point at its end closes a sentence, one before it is .5
    return canonical(text) if re.fullmatch(NUMBER, text) else text
