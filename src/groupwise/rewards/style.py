"""Constraints on a text that can be counted: how long, which words. Each row brings its own.

Every value is in [0, 1] and rises towards what was asked, so that a group has a spread before any answer
is right. An empty answer gets 0; None where the column is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from groupwise.rewards.words import Completion, lines, sentences, text_of, words


def word_count(
    completions: Sequence[Completion], n_words: Sequence[Any], **columns: Any
) -> list[float | None]:
    """`closeness` of the number of words to the column `n_words`."""
    return _counted(words, completions, n_words)


def sentence_count(
    completions: Sequence[Completion], n_sentences: Sequence[Any], **columns: Any
) -> list[float | None]:
    """`closeness` of the number of sentences (`words.sentences`) to the column `n_sentences`."""
    return _counted(sentences, completions, n_sentences)


def line_count(
    completions: Sequence[Completion], n_lines: Sequence[Any], **columns: Any
) -> list[float | None]:
    """`closeness` of the number of lines with a word to the column `n_lines`."""
    return _counted(lines, completions, n_lines)


def closeness(count: int, wanted: float | Sequence[float]) -> float:
    """1 for a count within [least, most], or equal to one number; 0 for none, falling linearly outside.

    Below: count / least. Above: 2 − count / most, so twice too many is 0. Nothing written is 0.

    Raises:
        ValueError: `wanted` is not 1 <= least <= most.

    >>> closeness(9, 10), closeness(10, [8, 12]), closeness(18, [8, 12])
    (0.9, 1.0, 0.5)
    """
    least, most = (wanted, wanted) if isinstance(wanted, (int, float)) else wanted
    if not 1 <= least <= most:
        raise ValueError(f"wanted={wanted!r}: a number, or [least, most] with 1 <= least <= most")
    return max(0.0, min(1.0, count / least, 2 - count / most))


def required_words(
    completions: Sequence[Completion], required: Sequence[Any], **columns: Any
) -> list[float | None]:
    """The share of the words or phrases in the column `required` that the text has, as they are spelled."""
    pairs = zip(completions, required, strict=True)
    return [None if not wanted else _share(text_of(c), wanted) for c, wanted in pairs]


def forbidden_words(
    completions: Sequence[Completion], forbidden: Sequence[Any], **columns: Any
) -> list[float | None]:
    """1 − the share of the words or phrases in the column `forbidden` that the text has."""
    pairs = zip(completions, forbidden, strict=True)
    return [None if not banned else _without(text_of(c), banned) for c, banned in pairs]


def _counted(
    parts: Callable[[str], list[str]], completions: Sequence[Completion], wanted: Sequence[Any]
) -> list[float | None]:
    pairs = zip(completions, wanted, strict=True)
    return [None if want is None else closeness(len(parts(text_of(c))), want) for c, want in pairs]


def _without(text: str, banned: str | Sequence[str]) -> float:
    return 1 - _share(text, banned) if words(text) else 0.0


def _share(text: str, phrases: str | Sequence[str]) -> float:
    own = _framed(text)
    each = [phrases] if isinstance(phrases, str) else phrases
    return sum(_framed(phrase) in own for phrase in each) / len(each)


def _framed(text: str) -> str:
    """Words with a space on both sides, so that `art` is not found in `part`."""
    return f" {' '.join(words(text))} "
