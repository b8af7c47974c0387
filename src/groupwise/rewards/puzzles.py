"""Scores reasoning-gym puzzles by their own rules: imported and run in a locked worker only.

Some of those rules evaluate the answer as Python, some by way of sympy. The worker's lock keeps that from the
machine. So that no answer meddles with the rules themselves, one that could call what it likes is worth 0.

The text that gives the answer is taken out before it is scored: many of those rules give credit for an
answer that merely contains the right one.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from groupwise.rewards.answers import READ, answer_of, hyphened
from groupwise.rewards.texts import Completion

with contextlib.suppress(ImportError):  # tasks.reasoning has asked for it before
    from reasoning_gym import get_score_answer_fn

WHOLE = 0.999
"""A score from which on an answer is right."""

_CODE = re.compile(
    r"__|\blambda\b.*:|\b(?:open|input)\s*[()]"
    r"|\b(?:eval|exec|compile|getattr|setattr|delattr|vars|globals|locals|breakpoint)\b"
    r"|[\w)\]]\s*\([^()]*['\"]"  # a call with a text: sympy evaluates those
)
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)


def solved(completion: Completion, entry: Mapping[str, Any]) -> float:
    """1 for a right answer, else 0: no credit for a part, which texts that list everything would collect."""
    return float(progress(completion, entry) >= WHOLE)


def progress(completion: Completion, entry: Mapping[str, Any]) -> float:
    """The puzzle's own score, 0 to 1. 0 for no answer, for code, and where the rules themselves break."""
    said = said_in(hyphened(completion))
    if not said or _CODE.search(said):
        return 0.0
    score = _rules(entry["metadata"]["source_dataset"])
    try:
        return min(max(float(score(said, entry)), 0.0), 1.0)
    except Exception:  # prime_factorization's, for one, raises on words
        return 0.0


@functools.cache  # some read files for half a second
def _rules(puzzle: str) -> Callable[..., Any]:
    return get_score_answer_fn(puzzle)


def said_in(text: str) -> str | None:
    """What stands in the last <answer></answer>; else after ####, or boxed; else the last line.

    >>> said_in("I think 5. <answer> 4 </answer>"), said_in("so\\n6\\n")
    ('4', '6')
    """
    text = text[-READ:].strip()
    if tagged := _TAGGED.findall(text):
        return tagged[-1].strip() or None
    if "####" in text or "\\boxed" in text:
        return answer_of(text)
    return text.rpartition("\n")[2].strip() or None
