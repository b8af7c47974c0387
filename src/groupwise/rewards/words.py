"""How the text rewards read an answer: which characters count, what a word and a sentence is.

Every function takes time linear in the length of the text, whatever is in it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TypeVar

from groupwise.rewards.texts import Completion as Completion
from groupwise.rewards.texts import text_of as text_of

T = TypeVar("T")

MOST_MARKS = 30
"""Combining marks kept on one character (the bound of Unicode's stream-safe format, UAX #15): sorting
a longer run of them takes time quadratic in its length."""

_INVISIBLE = {
    0x034F, 0x115F, 0x1160, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10),
    *range(0xE0100, 0xE01F0),
}  # fmt: skip
_KEPT = ("<super>", "<sub>", "<fraction>")


class _Plain(dict[int, "str | None"]):
    """Code point -> its plain form, None to drop it; filled as characters are met."""

    def __missing__(self, point: int) -> str | None:
        char = chr(point)
        category = unicodedata.category(char)
        unseen = category == "Cf" or (category == "Cc" and not char.isspace()) or point in _INVISIBLE
        kept = unicodedata.decomposition(char).startswith(_KEPT)
        self[point] = None if unseen else char if kept else unicodedata.normalize("NFKC", char)
        return self[point]


class _Shape(dict[int, int]):
    """Code point -> itself, or the acute accent for any combining mark; filled as characters are met."""

    def __missing__(self, point: int) -> int:
        self[point] = 0x301 if unicodedata.category(chr(point)).startswith("M") else point
        return self[point]


_PLAIN, _SHAPE = _Plain(), _Shape()
_PILE = re.compile(f"\u0301{{{MOST_MARKS},}}")
# A digit run with decimals; one Han or kana character; a word, with its accents and inner apostrophes.
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTER = rf"[^\W_{_CJK}]"
_WORD = re.compile(
    rf"[0-9]+(?:\.[0-9]+)+|[{_CJK}]|{_LETTER}(?:{_LETTER}|\u0301)*(?:['’](?:{_LETTER}|\u0301)+)*"
)
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=。)|\n+")


def plain(text: str) -> str:
    """The text without typographic disguises: what is compared, never what is trained on.

    Characters that cannot be seen go: Unicode category Cf (zero-width, soft hyphen, direction), control
    characters but white space, variation selectors, Hangul fillers. The rest becomes NFKC (full-width and
    styled letters and digits become plain ones, ligatures are taken apart), but super- and subscripts
    and fractions stay what they are, or 10² would equal 102. At most `MOST_MARKS` accents stay on one
    character. Letters of another script that look alike (Cyrillic а, Latin a) stay different.

    >>> plain("\uff11\uff12 \ufb01ne\u200b x²")
    '12 fine x²'
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.translate(_PLAIN)
    if piles := [m.span() for m in _PILE.finditer(text.translate(_SHAPE))]:
        ends = [0, *(end for _, end in piles)]
        starts = [*(start + MOST_MARKS for start, _ in piles), len(text)]
        text = "".join(text[a:b] for a, b in zip(ends, starts, strict=True))
    return unicodedata.normalize("NFC", text)


def words(text: str) -> list[str]:
    """Words of the plain text without regard to case and punctuation; 1,000 is 1000 and 2.5 is one word.

    Han and kana are taken character by character. Other scripts that write no spaces (Thai, Khmer)
    are not cut: a run of letters is one word.

    >>> words("It's the BEST_of 1,000 days: 2.5!")
    ["it's", 'the', 'best', 'of', '1000', 'days', '2.5']
    """
    text = _THOUSANDS.sub("", plain(text)).casefold()
    return [text[m.start() : m.end()].replace("’", "'") for m in _WORD.finditer(text.translate(_SHAPE))]


def sentences(text: str) -> list[str]:
    """Pieces with at least one word, cut at . ! ? before white space, at 。 and at line ends.

    A rule, no grammar: "Dr. Who" is cut in two.
    """
    return [s.strip() for s in _SENTENCE_END.split(plain(text)) if _has_word(s)]


def lines(text: str) -> list[str]:
    """Lines with at least one word."""
    return [s.strip() for s in plain(text).splitlines() if _has_word(s)]


def _has_word(text: str) -> bool:
    return _WORD.search(text.translate(_SHAPE)) is not None


def ngrams(tokens: Sequence[T], n: int) -> list[tuple[T, ...]]:
    """All runs of n tokens in order; none when there are fewer."""
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


_NEGATIONS = "no not never none nobody nothing neither nor cannot without"
_STOP = """a about above after again all also am an and any are as at be because been before being below
between both but by can could did do does doing down during each few for from further had has have
having he her here hers him his how i if in into is it it's its just me more most my of off on once
only or other our out over own same she should so some such than that the their them then there these
they this those through to too under until up very was we were what when where which while who whom
why will with would you your"""
_NEGATION, _EMPTY = frozenset(_NEGATIONS.split()), frozenset(_STOP.split())


def content_words(text: str) -> list[str]:
    """Words that carry content: no English stop words. Every negation (no, never, isn't, ...) is "not"."""
    return ["not" if w in _NEGATION or w.endswith("n't") else w for w in words(text) if w not in _EMPTY]
