"""Sums as rows without end, made when they are asked for, held out by operands.

Which side a question is on is a hash of its operands, sorted: 12 + 34, 34 + 12 and 34 - 12 are all
trained on or all held out, so a held-out score is not a memory of the mirrored sum.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from groupwise.tasks.task import Row

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


def messages(expression: str) -> list[dict[str, str]]:
    """How a question is put to a chat model: the answer is begun for it, so that it goes on with digits."""
    return [
        {"role": "system", "content": "Calculate."},
        {"role": "user", "content": expression},
        {"role": "assistant", "content": f"{expression} = "},
    ]


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
            right = np.flatnonzero((side_of(operands) < CUT) == self.held_out)
            if len(right):
                signs = int(_mixed(keys[right[:1]] ^ _SALT_SIGNS)[0]) % self.options.signs
                return operands[right[0]].tolist(), signs
            first += self.ATTEMPTS


def listed(options: Options) -> tuple[Listed, Listed]:
    """(train, held out). The tuples with the lowest hash are held out, with all their mirrors."""
    numbers = np.arange(options.tuples, dtype=np.uint64)
    side = side_of(_decoded(numbers, options))
    cut = np.partition(side, options.held_out - 1)[options.held_out - 1]
    return Listed(options, numbers[side > cut]), Listed(options, numbers[side <= cut])


def drawn(options: Options) -> tuple[Drawn, Drawn]:
    """(train, held out), where there are too many tuples to list."""
    return Drawn(options, LONGEST, held_out=False), Drawn(options, options.held_out, held_out=True)


def _decoded(numbers: Integers, options: Options) -> Integers:
    """Numbers below options.tuples -> the operands that each stands for. [n] -> [n, terms]."""
    places = np.array([options.span**j for j in range(options.terms)], dtype=np.uint64)
    return np.uint64(options.lowest) + numbers[:, None] // places % np.uint64(options.span)


def side_of(operands: Integers) -> Integers:
    """Which side a question is on: a hash of the operands whatever their order.

    [n, terms] -> [n], even over the 64-bit numbers.
    """
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
CUT = np.uint64(int(DRAWN_SHARE * 2**64))


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
