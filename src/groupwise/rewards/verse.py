"""Forms of English verse: haiku, acrostic, rhyme scheme. Values in [0, 1]; an empty answer gets 0."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from groupwise.rewards.words import Completion, lines, text_of, words

_VOWELS = re.compile("[aeiouy]+")
_SILENT = re.compile(r"(?:[^aeiouyl]|[aeiouy]l|[^aeiouy]rl)e$|[^aeiouytd]ed$|[^aeiouyscxzgh]es$")
_SPLIT = re.compile("[^aeiouytscgx]i[aou]|[aeiouy]ing|[^aeiouylr]les$")
HAIKU = (5, 7, 5)


def syllables(word: str) -> int:
    """A guess for an English word: groups of vowels, less a silent -e, -ed or -es, more for the two
    of -ia-, -ying, -bles; at least 1.

    A heuristic: right for 98% of the words of running technical prose and 91% of all entries of the CMU
    dictionary ("poet" and "idea" get one too few). Numbers and other scripts count as 1.

    >>> [syllables(w) for w in ("frog", "silent", "table", "jumped", "wanted", "the")]
    [1, 2, 2, 1, 2, 1]
    """
    silent = _SILENT.search(word) is not None
    return max(1, len(_VOWELS.findall(word)) + len(_SPLIT.findall(word)) - silent)


def haiku(completions: Sequence[Completion], **columns: Any) -> list[float]:
    """Nearness to three lines of 5, 7 and 5 syllables, counted by `syllables`.

    The sum over the three lines of max(0, 1 − |syllables − wanted| / wanted), divided by the number of
    lines, at least three.
    """
    return [_haiku(lines(text_of(c))) for c in completions]


def _haiku(written: Sequence[str]) -> float:
    counts = [sum(map(syllables, words(line))) for line in written[:3]]
    near = [max(0.0, 1 - abs(n - wanted) / wanted) for n, wanted in zip(counts, HAIKU, strict=False)]
    return sum(near) / max(3, len(written))


def acrostic(
    completions: Sequence[Completion], acrostic: Sequence[Any], **columns: Any
) -> list[float | None]:
    """Do the lines begin with the letters of the column `acrostic`: right lines ÷ lines or letters.

    The larger of the two counts. None where the column is None or has no letter.
    """
    letters = [[c for w in words(text or "") for c in w if c.isalnum()] for text in acrostic]
    pairs = zip(completions, letters, strict=True)
    return [_acrostic(lines(text_of(c)), wanted) if wanted else None for c, wanted in pairs]


def _acrostic(written: Sequence[str], wanted: Sequence[str]) -> float:
    right = sum(words(line)[0][0] == w for line, w in zip(written, wanted, strict=False))
    return right / max(len(written), len(wanted))


def rhymes(
    completions: Sequence[Completion], rhyme_scheme: Sequence[Any], **columns: Any
) -> list[float | None]:
    """The share of the rhymes in the column `rhyme_scheme` that the line ends make; ABAB has two of them.

    Each line has to rhyme with the last one before it of the same letter: other words, whose sounds from
    the last stressed vowel on are equal in a pronunciation of each (the CMU dictionary, American English).
    Words it does not know and lines that are missing make no rhyme.

    None where the column is None or has no letter twice, and everywhere without the package `pronouncing`
    (pip install pronouncing).
    """
    if _dictionary() is None:
        return [None] * len(completions)
    pairs = zip(completions, rhyme_scheme, strict=True)
    return [None if scheme is None else _rhymed(lines(text_of(c)), scheme) for c, scheme in pairs]


def _rhymed(written: Sequence[str], scheme: str) -> float | None:
    scheme = "".join(scheme.upper().split())
    ends = [words(line)[-1] for line in written[: len(scheme)]]
    ends += [""] * (len(scheme) - len(ends))
    before: dict[str, str] = {}
    made = []
    for letter, end in zip(scheme, ends, strict=True):
        if letter in before:
            made.append(end != before[letter] and bool(_sounds(end) & _sounds(before[letter])))
        before[letter] = end
    return sum(made) / len(made) if made else None


def _sounds(word: str) -> frozenset[str]:
    """The rhyming part of every pronunciation of a word."""
    dictionary = _dictionary()
    return frozenset(dictionary.rhyming_part(p) for p in dictionary.phones_for_word(word))


@lru_cache(maxsize=1)
def _dictionary() -> Any:
    try:
        return importlib.import_module("pronouncing")
    except ModuleNotFoundError:
        return None
