"""Short answers to questions as SQuAD scores them (arXiv 1606.05250, 1806.03822): exact match, token F1.

Both rewards read a column `answer`: a text, several of which the best counts, or SQuAD's {"text": [...]};
an empty list means that the question has no answer, and then only an empty answer is right.
None where the column is None.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from groupwise.rewards.words import Completion, plain, text_of

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_MARKER = re.compile(r"\banswer\s{0,8}:", re.IGNORECASE)


def normalised(answer: str) -> str:
    """SQuAD's rule: lower case, no ASCII punctuation, no English articles, single spaces.

    We differ in one thing: `words.plain` is applied first.

    >>> normalised("The  Eiffel-Tower, Paris!")
    'eiffeltower paris'
    """
    text = plain(answer).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", text).split())


def squad_exact(prediction: str, gold: str) -> float:
    """1 if both are equal when normalised, else 0."""
    return float(normalised(prediction) == normalised(gold))


def squad_f1(prediction: str, gold: str) -> float:
    """2PR / (P + R) over the shared words, a word counted as often as both have it; in [0, 1].

    If one of the two has no words: 1 when the other has none either, else 0 (SQuAD 2.0's rule).
    """
    ours, theirs = normalised(prediction).split(), normalised(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def answer_of(completion: Completion) -> str:
    """What follows the last "answer:", in any case; the whole text without one."""
    text = text_of(completion)
    ends = [m.end() for m in _MARKER.finditer(text)]
    return text[ends[-1] :] if ends else text


def exact_match(
    completions: Sequence[Completion], answer: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1 if the answer equals one of the column `answer` after SQuAD's normalisation, else 0."""
    return _best(squad_exact, completions, answer)


def token_f1(completions: Sequence[Completion], answer: Sequence[Any], **columns: Any) -> list[float | None]:
    """The answer's highest token F1 with one of the column `answer`, in [0, 1]."""
    return _best(squad_f1, completions, answer)


def _best(
    measure: Callable[[str, str], float], completions: Sequence[Completion], answer: Sequence[Any]
) -> list[float | None]:
    return [
        None if gold is None else max(measure(answer_of(c), g) for g in _golds(gold))
        for c, gold in zip(completions, answer, strict=True)
    ]


def _golds(gold: Any) -> list[str]:
    """Every accepted answer. As in SQuAD's script, those without words do not count beside others."""
    if isinstance(gold, Mapping):
        gold = gold["text"]
    golds = [gold] if isinstance(gold, (str, int, float)) else gold
    return [g for g in map(str, golds) if normalised(g)] or [""]
