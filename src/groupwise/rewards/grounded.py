"""Answering from the passage that is given, and saying so where it does not tell.

Rows have the columns `answer` (accepted texts; an empty list where the passage does not tell), `kind`, and
`old` (the world's answer where the passage says otherwise, else None). What follows the last "answer:" is
read, else all of the text; compared as SQuAD does (`rewards.squad`).

An answer abstains if it is one of the forms below and nothing else: "The text does not say. Rome" answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.rewards.squad import answer_of, exact_match, normalised, token_f1
from groupwise.rewards.words import Completion

NOT_TOLD = "The text does not say."
"""How a model is told to abstain."""
_SUBJECTS = "The text", "The context", "The passage", "This text", "This context", "This passage", "It"
_VERBS = "say", "tell", "state", "mention"
_PLACES = "", " in the text", " in the context", " in the passage"
ABSTENTIONS = frozenset(
    normalised(form)
    for form in (
        *(f"{who} {does} {verb}" for who in _SUBJECTS for does in ("does not", "doesn't") for verb in _VERBS),
        *(f"Not {told}{place}" for told in ("said", "stated", "mentioned") for place in _PLACES),
    )
)
"""All forms that count, normalised."""


def abstains(completion: Completion) -> bool:
    """Whether the whole answer says that the passage does not tell.

    >>> [abstains(text) for text in ("The context doesn't say.", "Not stated", "Not stated. Rome", "")]
    [True, True, False, False]
    """
    return normalised(answer_of(completion)) in ABSTENTIONS


def exact(completions: Sequence[Completion], answer: Sequence[Any], **columns: Any) -> list[float | None]:
    """1 for an accepted answer, or for abstaining where the passage does not tell; else 0."""
    return _judged(exact_match, completions, answer)


def f1(completions: Sequence[Completion], answer: Sequence[Any], **columns: Any) -> list[float | None]:
    """The highest token F1 with an accepted answer, in [0, 1]; 0 for abstaining.

    Where the passage does not tell: 1 for abstaining, else 0.
    """
    return _judged(token_f1, completions, answer)


def not_from_memory(
    completions: Sequence[Completion], old: Sequence[Any], **columns: Any
) -> list[float | None]:
    """0 where the answer has the world's one in it, or a short form of that: remembered, not read; else 1.

    None where the column `old` is None.
    """
    pairs = zip(completions, old, strict=True)
    return [None if forms is None else float(not _has(answer_of(c), forms)) for c, forms in pairs]


@dataclass(frozen=True, slots=True)
class exact_of:  # noqa: N801 - reads as the function that it is
    """`exact` for the rows of one kind, None for the others: a held-out score for each kind."""

    kind: str

    def __call__(
        self, completions: Sequence[Completion], answer: Sequence[Any], kind: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        pairs = zip(exact(completions, answer), kind, strict=True)
        return [value if of == self.kind else None for value, of in pairs]


def _judged(
    measure: Callable[..., list[float | None]], completions: Sequence[Completion], answer: Sequence[Any]
) -> list[float | None]:
    values = measure(completions=completions, answer=answer)
    silent = map(abstains, completions)
    rows = zip(values, silent, answer, strict=True)
    return [v if v is None else v * (not quiet) if gold else float(quiet) for v, quiet, gold in rows]


def _has(text: str, forms: Sequence[str]) -> bool:
    said = f" {normalised(text)} "
    return any(f" {normalised(form)} " in said for form in forms if normalised(form))
