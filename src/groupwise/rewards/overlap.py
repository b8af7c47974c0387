"""What words say about relevance and truth, where no model judges: overlap with prompt, context, reference.

Words are compared as they are spelled (`words.words`): no synonyms, no inflections, and content words are
told apart by an English list. Rank answers with these; do not read the values as shares of truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.rewards.texts import Completion, content_of, text_of
from groupwise.rewards.words import content_words, ngrams, sentences, words


def copied(answer: Sequence[str], source: Sequence[str], n: int) -> float:
    """The share of the answer's words that lie in a run of n words which the source has too, in [0, 1].

    >>> copied("a b c d".split(), "x a b c".split(), n=2)
    0.75
    """
    there, count, end = set(ngrams(source, n)), 0, 0
    for i, gram in enumerate(ngrams(answer, n)):
        if gram in there:
            count += i + n - max(i, end)
            end = i + n
    return count / len(answer) if answer else 0.0


@dataclass(frozen=True, slots=True)
class relevance:  # noqa: N801 - reads as the function that it is
    """min(1, share / enough) · (1 − copied), in [0, 1]: does the answer speak of what the prompt asks.

    share = the prompt's distinct content words that the answer has, copied = the share of its words in
    runs taken from the prompt, so that repeating the question earns nothing. Of a conversation the last
    user message counts. 0 for an empty answer; None where the prompt has no content words.
    """

    enough: float = 0.5
    """Share of the prompt's content words at which more of them earn no more."""
    n: int = 4
    """Words in a row that count as copied; all of a prompt that has fewer."""

    def __post_init__(self) -> None:
        if not 0 < self.enough <= 1 or self.n < 1:
            raise ValueError(f"enough={self.enough}, n={self.n}: 0 < enough <= 1 and n >= 1")

    def __call__(
        self, prompts: Sequence[Completion], completions: Sequence[Completion], **columns: Any
    ) -> list[float | None]:
        pairs = zip(prompts, completions, strict=True)
        return [self._value(asked(p), text_of(c)) for p, c in pairs]

    def _value(self, prompt: str, answer: str) -> float | None:
        topics = set(content_words(prompt))
        if not topics:
            return None
        source = words(prompt)
        share = len(topics & set(content_words(answer))) / len(topics)
        return min(1.0, share / self.enough) * (1 - copied(words(answer), source, min(self.n, len(source))))


def asked(prompt: Completion) -> str:
    """The text that is answered: of a conversation the last user message."""
    if isinstance(prompt, str):
        return prompt
    said = [message for message in prompt if message.get("role") == "user"]
    return content_of(said[-1]) if said else ""


@dataclass(frozen=True, slots=True)
class grounding:  # noqa: N801
    """Supported sentences / sentences, in [0, 1]: is what the answer says in the column `context`.

    A sentence is supported if at least `support` of its distinct content words stand in the context, and
    so do its numbers, and a negation if it has one. A sentence said twice counts once; one without content
    words does not count. 0 for an answer with nothing to check; None where the context is None.

    It sees which words are there, not who did what to whom: "Rome beat Carthage" and "Carthage beat Rome"
    score the same, and a negation is excused if the context has one anywhere.
    """

    support: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.support <= 1:
            raise ValueError(f"support={self.support}: a share in (0, 1]")

    def __call__(
        self, completions: Sequence[Completion], context: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        pairs = zip(completions, context, strict=True)
        return [None if source is None else self._value(text_of(c), source) for c, source in pairs]

    def _value(self, answer: str, source: str | Sequence[str]) -> float:
        text = source if isinstance(source, str) else "\n".join(source)
        known = set(content_words(text))
        claims = {frozenset(content_words(s)) for s in sentences(answer)} - {frozenset()}
        held = sum(self._holds(claim, known) for claim in claims)
        return held / len(claims) if claims else 0.0

    def _holds(self, claim: frozenset[str], known: set[str]) -> bool:
        strict = {w for w in claim if w == "not" or w[0].isdigit()}
        return strict <= known and len(claim & known) >= self.support * len(claim)


@dataclass(frozen=True, slots=True)
class likeness:  # noqa: N801
    """F1 of the answer's n-grams with those of the column `reference`, as ROUGE-n has it; in [0, 1].

    2 · shared / (all of both), an n-gram counted as often as both have it; the best of several references.
    0 if one side has no n-gram; None where the reference is None. We do not stem.
    """

    n: int = 2
    """Words in a row; 1 does not see their order."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n={self.n} words in a row: at least 1")

    def __call__(
        self, completions: Sequence[Completion], reference: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        pairs = zip(completions, reference, strict=True)
        return [None if golds is None else self._best(text_of(c), golds) for c, golds in pairs]

    def _best(self, answer: str, golds: str | Sequence[str]) -> float:
        ours = Counter(ngrams(words(answer), self.n))
        texts = [golds] if isinstance(golds, str) else golds
        return max((_f1(ours, Counter(ngrams(words(text), self.n))) for text in texts), default=0.0)


def _f1(a: Counter[tuple[str, ...]], b: Counter[tuple[str, ...]]) -> float:
    return 2 * (a & b).total() / (a.total() + b.total()) if a and b else 0.0


on_topic = relevance()
grounded = grounding()
like_reference = likeness()
