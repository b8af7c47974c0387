"""Sums with whole numbers: rows without end, made when they are asked for, held out by operands.

    "12 + 34 =" -> "46"

Which side a question is on is a hash of its operands, sorted: 12 + 34, 34 + 12 and 34 - 12 are all
trained on or all held out, so a held-out score is not a memory of the mirrored sum.
"""

from __future__ import annotations

import operator
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from groupwise.rewards.answers import NUMBER, Completion, canonical, text_of
from groupwise.rewards.scoring import Reward
from groupwise.tasks.mixed import Mixed
from groupwise.tasks.task import Row, Rows, Task

LISTED = 1_000_000
"""Up to so many operand tuples are listed and split exactly; more are drawn by counter."""
LONGEST = 1_000_000
"""Rows of a training side at most: a pass over the data is shuffled as a whole."""
DRAWN_SHARE = 0.1
"""Share of the operand tuples held out where they are drawn by counter."""

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}

Integers = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked. Written `digits=2,ops=+-,terms=2,held_out=500`, each part optional."""

    digits: int = 2
    """Digits of an operand, 1 to 9. Two digits are 10 to 99; one digit is 0 to 9."""
    ops: str = "+"
    """Any of + - *, together: `+-`."""
    terms: int = 2
    """Operands of a question, 2 to 6."""
    held_out: int = 500
    """Operand tuples held out at least. As a default, a fifth of all of them at most."""

    @property
    def lowest(self) -> int:
        return 0 if self.digits == 1 else int(10 ** (self.digits - 1))

    @property
    def span(self) -> int:
        """Values an operand may have."""
        return int(10**self.digits) - self.lowest

    @property
    def largest(self) -> int:
        """No result has more digits than this."""
        operand = int(10**self.digits) - 1
        return operand**self.terms if "*" in self.ops else operand * self.terms

    @property
    def tuples(self) -> int:
        return int(self.span**self.terms)

    @property
    def signs(self) -> int:
        """Ways to put operations between the operands."""
        return int(len(self.ops) ** (self.terms - 1))


def arithmetic(options: str = "") -> Task:
    """The task. Options: digits=2, ops=+, terms=2, held_out=500.

    digits=1-3 mixes the three in equal parts; a column `kind` says which.

    Raises:
        ValueError: an unknown option or a bad value; names it and the choices.
    """
    levels = {f"{o.digits}-digit": o for o in map(parse, expanded(options))}
    sides: dict[str, tuple[Rows, Rows]] = {
        kind: _listed(o) if o.tuples <= LISTED else _drawn(o) for kind, o in levels.items()
    }
    chosen = [*levels.values()][-1]
    train, held_out = _mixed_sides(sides) if len(sides) > 1 else sides.popitem()[1]
    name = f"arithmetic:{options}" if options else "arithmetic"
    return Task(
        name,
        train,
        held_out,
        rewards=(Reward("correct", correct), Reward("digits", digits, 0.5), Reward("alone", alone, 0.2)),
        max_new_tokens=len(str(chosen.largest)) + 1 + ("-" in chosen.ops),  # digits, an end, a sign
    )


def _mixed_sides(sides: Mapping[str, tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    train, held_out = ({kind: both[i] for kind, both in sides.items()} for i in (0, 1))
    return Mixed(train, LONGEST), Mixed(held_out, LONGEST)


def messages(expression: str) -> list[dict[str, str]]:
    """How a question is put to a chat model: the answer is begun for it, so that it goes on with digits."""
    return [
        {"role": "system", "content": "Calculate."},
        {"role": "user", "content": expression},
        {"role": "assistant", "content": f"{expression} = "},
    ]


def expanded(options: str) -> list[str]:
    """A range of digits as the options of each.

    >>> expanded("digits=1-3,ops=+")
    ['digits=1,ops=+', 'digits=2,ops=+', 'digits=3,ops=+']
    """
    found = re.search(r"\bdigits\s*=\s*([1-9])-([1-9])(?=\s*(,|$))", options)
    if found is None:
        return [options]
    first, last = int(found[1]), int(found[2])
    if first >= last:
        raise ValueError(f"arithmetic's option digits={first}-{last}: a range rises, as in digits=1-3.")
    before, after = options[: found.start()], options[found.end() :]
    return [f"{before}digits={n}{after}" for n in range(first, last + 1)]


def parse(options: str) -> Options:
    """`digits=3,ops=+-` -> Options(digits=3, ops="+-", ...).

    >>> parse("digits=3,ops=+-")
    Options(digits=3, ops='+-', terms=2, held_out=500)
    """
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in options.split(","))):
        key, _, value = (text.strip() for text in part.partition("="))
        if key not in Options.__dataclass_fields__:
            known = ", ".join(Options.__dataclass_fields__)
            raise ValueError(f"arithmetic has no option {key!r}: choose from {known}, as in digits=2,ops=+-.")
        if key in given:
            raise ValueError(f"arithmetic's option {key} is given twice: {options!r}. Leave one away.")
        given[key] = value
    digits = _whole(given, "digits", 2, 1, 9)
    terms = _whole(given, "terms", 2, 2, 6)
    ops = given.get("ops", "+")
    if not ops or len(set(ops)) < len(ops) or not set(ops) <= OPERATIONS.keys():
        raise ValueError(f"arithmetic's option ops={ops}: choose from + - *, each once, as in ops=+-.")
    tuples = min(Options(digits, ops, terms).tuples, LONGEST)
    held_out = _whole(given, "held_out", min(500, tuples // 5), 1, tuples // 2)
    return Options(digits, ops, terms, held_out)


def _whole(given: dict[str, str], key: str, default: int, low: int, high: int) -> int:
    value = given.get(key, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
        raise ValueError(f"arithmetic's option {key}={value}: choose a whole number from {low} to {high}.")
    return int(value)


# ---------------------------------------------------------------------------- rows


class Questions(Sequence[Row]):
    """Rows made when they are asked for, a function of the index alone."""

    def __init__(self, options: Options, length: int) -> None:
        self.options = options
        self.length = length

    @abstractmethod
    def _operands(self, i: int) -> tuple[list[int], int]:
        """The operands of row i, and the number of its way to put operations between them."""

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | Sequence[Row]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(self.length))]
        operands, signs = self._operands(range(self.length)[at])
        ops = [
            self.options.ops[signs // len(self.options.ops) ** j % len(self.options.ops)]
            for j in range(self.options.terms - 1)
        ]
        return _row(operands, ops)


class Listed(Questions):
    """All questions with the operand tuples of one side, in a fixed pseudo-random order.

    Each tuple comes once, with operations chosen by its hash, before any comes a second time: the
    first rows are a fair sample of all.
    """

    def __init__(self, options: Options, numbers: Integers) -> None:
        super().__init__(options, min(LONGEST, len(numbers) * options.signs))
        self.order = numbers[np.argsort(_mixed(numbers ^ _SALT_ORDER), kind="stable")]

    def _operands(self, i: int) -> tuple[list[int], int]:
        turn, at = divmod(i, len(self.order))
        number = self.order[at : at + 1]
        signs = (int(_mixed(number ^ _SALT_SIGNS)[0]) + turn) % self.options.signs
        return _decoded(number, self.options)[0].tolist(), signs


class Drawn(Questions):
    """Questions drawn by a hash of (side, index, attempt); an attempt on the wrong side is rejected.

    There are too many to list, so two rows may be equal; never across the sides.
    """

    ATTEMPTS = 32

    def __init__(self, options: Options, length: int, held_out: bool) -> None:
        super().__init__(options, length)
        self.held_out = held_out

    def _operands(self, i: int) -> tuple[list[int], int]:
        first = 0
        while True:
            attempts = np.arange(first, first + self.ATTEMPTS, dtype=np.uint64)
            keys = _mixed(_mixed(attempts ^ _SALT_ORDER) + np.uint64(2 * i + self.held_out))
            columns = [_mixed(keys + np.uint64(j)) for j in range(self.options.terms)]
            operands = self.options.lowest + np.stack(columns, axis=1) % np.uint64(self.options.span)
            right = np.flatnonzero((_side(operands) < _CUT) == self.held_out)
            if len(right):
                signs = int(_mixed(keys[right[:1]] ^ _SALT_SIGNS)[0]) % self.options.signs
                return operands[right[0]].tolist(), signs
            first += self.ATTEMPTS


def _listed(options: Options) -> tuple[Listed, Listed]:
    """(train, held out). The tuples with the lowest hash are held out, with all their mirrors."""
    numbers = np.arange(options.tuples, dtype=np.uint64)
    side = _side(_decoded(numbers, options))
    cut = np.partition(side, options.held_out - 1)[options.held_out - 1]
    return Listed(options, numbers[side > cut]), Listed(options, numbers[side <= cut])


def _drawn(options: Options) -> tuple[Drawn, Drawn]:
    return Drawn(options, LONGEST, held_out=False), Drawn(options, options.held_out, held_out=True)


def _decoded(numbers: Integers, options: Options) -> Integers:
    """Numbers below options.tuples -> the operands that each stands for. [n] -> [n, terms]."""
    places = np.array([options.span**j for j in range(options.terms)], dtype=np.uint64)
    return np.uint64(options.lowest) + numbers[:, None] // places % np.uint64(options.span)


def _side(operands: Integers) -> Integers:
    """A hash of the operands whatever their order. [n, terms] -> [n], even over the 64-bit numbers."""
    hashed = np.zeros(len(operands), dtype=np.uint64)
    for column in np.sort(operands, axis=1).T:
        hashed = _mixed(hashed ^ column)
    return hashed


def _mixed(x: Integers) -> Integers:
    """splitmix64: a fixed hash of 64-bit numbers. [n] -> [n]. (Steele, Lea and Flood, OOPSLA 2014)"""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_SALT_ORDER = np.uint64(0x6F72646572)
_SALT_SIGNS = np.uint64(0x7369676E73)
_CUT = np.uint64(int(DRAWN_SHARE * 2**64))


def _row(operands: list[int], ops: list[str]) -> Row:
    words = [str(operands[0])]
    for op, operand in zip(ops, operands[1:], strict=True):
        words += [op, str(operand)]
    return {"prompt": messages(" ".join(words)), "answer": str(_value(operands, ops))}


def _value(operands: list[int], ops: list[str]) -> int:
    """Products first, then from left to right.

    >>> _value([10, 2, 3], ["-", "*"])
    4
    """
    summands, signs = [operands[0]], ["+"]
    for op, operand in zip(ops, operands[1:], strict=True):
        if op == "*":
            summands[-1] *= operand
        else:
            summands.append(operand)
            signs.append(op)
    total = 0
    for sign, summand in zip(signs, summands, strict=True):
        total = OPERATIONS[sign](total, summand)
    return total


# ---------------------------------------------------------------------------- rewards

# Possessive (*+): a model may write ten thousand spaces, and trying all ways to share them takes minutes.
_ALONE = re.compile(r"=?\s*+\+?\s*+(-?)\s*+([0-9]{1,3}(?:[ ,][0-9]{3})+|[0-9]+)")


def correct(completions: Sequence[Completion], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where the completion is the number asked for, or the last number in it is; else 0."""
    return [
        float(_answered(text_of(completion)) == canonical(truth))
        for completion, truth in zip(completions, answer, strict=True)
    ]


def alone(completions: Sequence[Completion], **_: Any) -> list[float]:
    """1 where the completion is one number and nothing else: the policy has to end its answer itself.

    >>> alone(["46", "46.", "= 46", "46 apples"])
    [1.0, 0.0, 1.0, 0.0]
    """
    return [float(_ALONE.fullmatch(text_of(c).strip()) is not None) for c in completions]


def digits(completions: Sequence[Completion], answer: Sequence[str], **_: Any) -> list[float]:
    """The share of digits that are right, from the left; 0 where sign or length are wrong.

    >>> digits(["124", "12"], ["123", "123"])
    [0.6666666666666666, 0.0]
    """
    return [
        _matching(_answered(text_of(completion)), canonical(truth))
        for completion, truth in zip(completions, answer, strict=True)
    ]


def _answered(text: str) -> str | None:
    if alone := _ALONE.fullmatch(text.strip()):
        return canonical(alone[1] + alone[2])
    numbers = re.findall(NUMBER, text)
    return canonical(numbers[-1]) if numbers else None


def _matching(said: str | None, truth: str) -> float:
    if said is None or len(said) != len(truth) or said.startswith("-") != truth.startswith("-"):
        return 0.0
    pairs = list(zip(said.removeprefix("-"), truth.removeprefix("-"), strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)
