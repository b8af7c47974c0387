"""Sums with whole numbers: what is asked, and what an answer is worth.

"12 + 34 =" -> "46"
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.rewards.answers import NUMBER, canonical, hyphened
from groupwise.rewards.scoring import Reward
from groupwise.rewards.texts import Completion
from groupwise.tasks.mixed import Mixed
from groupwise.tasks.sums import LONGEST, OPERATIONS, Options, drawn, listed
from groupwise.tasks.task import Rows, Task

LISTED = 1_000_000
"""Up to so many operand tuples are listed and split exactly; more are drawn by counter."""


def arithmetic(options: str = "") -> Task:
    """The task. Options: digits=2, ops=+, terms=2, held_out=500.

    digits=1-3 mixes the three in equal parts; a column `kind` says which.

    Raises:
        ValueError: an unknown option or a bad value; names it and the choices.
    """
    levels = {f"{o.digits}-digit": o for o in map(parse, expanded(options))}
    sides: dict[str, tuple[Rows, Rows]] = {
        kind: listed(o) if o.tuples <= LISTED else drawn(o) for kind, o in levels.items()
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


# ---------------------------------------------------------------------------- rewards

# Possessive (*+): a model may write ten thousand spaces, and trying all ways to share them takes minutes.
_ALONE = re.compile(r"=?\s*+\+?\s*+(-?)\s*+([0-9]{1,3}(?:[ ,][0-9]{3})+|[0-9]+)")


def correct(completions: Sequence[Completion], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where the completion is the number asked for, or the last number in it is; else 0."""
    return [
        float(_answered(hyphened(completion)) == canonical(truth))
        for completion, truth in zip(completions, answer, strict=True)
    ]


def alone(completions: Sequence[Completion], **_: Any) -> list[float]:
    """1 where the completion is one number and nothing else: the policy has to end its answer itself.

    >>> alone(["46", "46.", "= 46", "46 apples"])
    [1.0, 0.0, 1.0, 0.0]
    """
    return [float(_ALONE.fullmatch(hyphened(c).strip()) is not None) for c in completions]


def digits(completions: Sequence[Completion], answer: Sequence[str], **_: Any) -> list[float]:
    """The share of digits that are right, from the left; 0 where sign or length are wrong.

    >>> digits(["124", "12"], ["123", "123"])
    [0.6666666666666666, 0.0]
    """
    return [
        _matching(_answered(hyphened(completion)), canonical(truth))
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
