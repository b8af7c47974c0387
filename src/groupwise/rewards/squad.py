"""Short answers to questions as SQuAD scores them (arXiv 1606.05250, 1806.03822): exact match, token F1.

Both rewards read a column `answer`: a text, several of which the best counts, or SQuAD's {"text": [...]};
an empty list means that the question has no answer, and then only an empty answer is right.
None where the column is None.

As in SQuAD's script, accepted answers that its normalisation leaves empty do not count beside others. Where
there is no other we differ: for the script the gold answer "A" is empty and silence is right; we compare
such answers as they are written, without case and surrounding full stops, brackets and asterisks.
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
    text = plain(text_of(completion))
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
    pairs = zip(completions, answer, strict=True)
    return [None if gold is None else _score(measure, answer_of(c), _golds(gold)) for c, gold in pairs]


def _score(measure: Callable[[str, str], float], prediction: str, golds: Sequence[str]) -> float:
    if counted := [g for g in golds if normalised(g)]:
        return max(measure(prediction, g) for g in counted)
    if written := {_bare(g) for g in golds if _bare(g)}:
        return float(_bare(prediction) in written)
    return measure(prediction, "")


def _golds(gold: Any) -> list[str]:
    if isinstance(gold, Mapping):
        gold = gold["text"]
    return [str(g) for g in ([gold] if isinstance(gold, (str, int, float)) else gold)]


def _bare(text: str) -> str:
    return plain(text).casefold().strip(" \t\r\n.()*")
