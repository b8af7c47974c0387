"""Against degeneration: answers that say the same thing again and again."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.rewards.words import Completion, ngrams, plain, text_of, words


def repeated(tokens: Sequence[Hashable], n: int) -> float:
    """rep-n = 1 − distinct n-grams / all n-grams (arXiv 1908.04319), in [0, 1); 0 without an n-gram.

    >>> repeated("a a a a".split(), 1)
    0.75
    """
    grams = ngrams(tokens, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@dataclass(frozen=True, slots=True)
class repetition:  # noqa: N801 - reads as the function that it is
    """−rep-n of the words of an answer: 0 when no n words in a row come twice, down to −1.

    An empty answer gets 0. The repetition penalty of arXiv 2502.03373 (appendix C.2) as open-r1 has it is
    this one, with its greatest penalty as the weight.
    """

    n: int = 3
    """Words in a row."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n={self.n} words in a row: at least 1")

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        return [0.0 - repeated(words(text_of(c)), self.n) for c in completions]


@dataclass(frozen=True, slots=True)
class compression:  # noqa: N801
    """min(0, ratio / floor − 1), ratio = bytes of zlib's output ÷ bytes of the plain text; in (−1, 0].

    Sees what n-grams do not: repeats with small changes, within words, of any script. English
    prose of 500 to 30 000 characters has ratios of 0.6 to 0.34; below 0.25 are lists, tables and loops.
    """

    floor: float = 0.25
    """Ratio at which the penalty begins."""

    def __post_init__(self) -> None:
        if not 0 < self.floor <= 1:
            raise ValueError(f"floor={self.floor}: a ratio in (0, 1]")

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        return [min(0.0, self._ratio(text_of(c)) / self.floor - 1) for c in completions]

    def _ratio(self, text: str) -> float:
        data = plain(text).encode("utf-8", "replace")
        return len(zlib.compress(data, 6)) / len(data) if data else 1.0


def longest_repeat(tokens: Sequence[Hashable]) -> int:
    """The length of the longest run of tokens that begins at two places; the two may overlap.

    Exact in O(n log n): runs of 1, 2, 4, ... tokens get a number each, equal runs the same one; a run
    of any length is the pair of numbers of its first and its last power of two.

    >>> longest_repeat("a a a a".split()), longest_repeat("to be or not to be".split())
    (3, 2)
    """
    levels, length = [_numbered(tokens)], 1
    while _twice(levels[-1]):
        here = levels[-1]
        levels.append(_numbered(list(zip(here, here[length:], strict=False))))
        length *= 2
    # Some run of length / 2 comes twice and none of `length` does (or nothing at all comes twice).
    low, high = length // 2, length
    while high - low > 1:
        middle = (low + high) // 2
        half = levels[middle.bit_length() - 1]
        shift = middle - (1 << (middle.bit_length() - 1))
        if _twice(list(zip(half, half[shift:], strict=False))):
            low = middle
        else:
            high = middle
    return low


def _numbered(items: Sequence[Hashable]) -> list[int]:
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(item, len(numbers)) for item in items]


def _twice(items: Sequence[Hashable]) -> bool:
    return len(set(items)) < len(items)


@dataclass(frozen=True, slots=True)
class looping:  # noqa: N801
    """−max(0, L − free) / words, L = words of the longest run that comes twice; in (−1, 0].

    A refrain or a quoted question of `free` words costs nothing; an answer that is one loop nears −1.
    """

    free: int = 8
    """Words."""

    def __post_init__(self) -> None:
        if self.free < 0:
            raise ValueError(f"free={self.free} words: at least 0")

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        return [self._value(words(text_of(c))) for c in completions]

    def _value(self, tokens: Sequence[str]) -> float:
        return min(0, self.free - longest_repeat(tokens)) / max(1, len(tokens))


no_repeats = repetition()
no_loops = looping()
not_compressible = compression()
