"""Questions about passages, in SQuAD's format: read, checked, and their passages shortened.

    {"context": "...", "question": "...", "answers": ["..."], "answer_start": [34], "title": "..."}

Taken too: `answers` as {"text": [...], "answer_start": [...]}, and SQuAD's own file, one object with `data`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from groupwise.tasks.data import DataError, read_rows
from groupwise.tasks.task import Row

_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\]%][.!?])[\"'”’)\]]*\s+(?=[\"'“‘(]?[A-Z0-9])|\n+")
_FORM = 'A row is {"context": "...", "question": "...", "answers": ["..."]}, and better has a title.'


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the passage to answer it from."""

    title: str
    """Of the article that the passage is from; the passage itself where none is given."""
    context: str
    question: str
    answers: tuple[str, ...]
    """Accepted ones, each without a full stop at its end; none where the passage does not tell."""
    at: int = 0
    """Index in `context` where the first accepted answer stands."""


def read_questions(source: str, split: str = "train") -> list[Question]:
    """The questions of a file (see `data.KINDS`) or a hub data set; a second of the same words is left out.

    Raises:
        DataError: the file cannot be read, or a row lacks a text or has an answer that its passage lacks;
            names the first, counted from 1.
    """
    rows = enumerate(_flat(read_rows(source, split), source), start=1)
    questions = [_question(row, f"{source}, row {number}") for number, row in rows]
    return list({(q.context, q.question.casefold()): q for q in reversed(questions)}.values())[::-1]


def excerpt(question: Question, words: int) -> Question:
    """The question with the sentences around its answer: as many as have `words` words together, or one.

    >>> q = Question("t", "Ann sang. Bob drew a cat. Cy slept.", "Who drew?", ("Bob",), 10)
    >>> excerpt(q, 6).context
    'Ann sang. Bob drew a cat.'
    """
    cuts = [0, *(m.end() for m in _SENTENCE_END.finditer(question.context)), len(question.context)]
    end = question.at + len(question.answers[0] if question.answers else "x")
    first = max(i for i, cut in enumerate(cuts[:-1]) if cut <= question.at)
    last = min(i for i, cut in enumerate(cuts) if cut >= end)

    def fits(a: int, b: int) -> bool:
        return a >= 0 and b < len(cuts) and len(question.context[cuts[a] : cuts[b]].split()) <= words

    grown = True
    while grown:
        before = first, last
        first -= fits(first - 1, last)
        last += fits(first, last + 1)
        grown = before != (first, last)
    text = question.context[cuts[first] : cuts[last]]
    shift = cuts[first] + len(text) - len(text.lstrip())
    return replace(question, context=text.strip(), at=question.at - shift)


def _flat(rows: Sequence[Row], source: str) -> Iterator[Row]:
    for row in rows:
        if "data" not in row:
            yield row
            continue
        try:
            for article in row["data"]:
                for paragraph in article["paragraphs"]:
                    for qa in paragraph["qas"]:
                        yield {**qa, "title": article.get("title"), "context": paragraph["context"]}
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{source}: it has data as SQuAD's own file does, but not of its form ({error!r}). Under "
                "data there are articles with title and paragraphs, in those context and qas."
            ) from error


def _question(row: Row, where: str) -> Question:
    for column in ("context", "question"):
        if not isinstance(row.get(column), str) or not row[column].strip():
            raise DataError(
                f"{where} has no text in the column {column}; its columns: {', '.join(map(str, row))}. "
                f"{_FORM}"
            )
    texts, starts = _answers(row, where)
    context = row["context"]
    answers = tuple(dict.fromkeys(text.strip().rstrip(".,") for text in texts))
    for text in answers:
        if not text or text not in context:
            raise DataError(
                f"{where}: its answer {text!r} stands nowhere in its context. Answers are copied from it."
            )
    at = context.find(answers[0]) if answers else 0
    if answers and starts and context.startswith(answers[0], starts[0]):
        at = starts[0]
    return Question(str(row.get("title") or context), context, row["question"].strip(), answers, at)


def _answers(row: Row, where: str) -> tuple[list[str], list[int]]:
    """Texts, and where they start as far as the row says so."""
    found: Any = row.get("answers")
    starts = row.get("answer_start") or []
    if isinstance(found, Mapping):
        found, starts = found.get("text"), found.get("answer_start") or []
    elif isinstance(found, list) and all(isinstance(a, Mapping) for a in found):  # SQuAD's own file
        found, starts = [a.get("text") for a in found], [a.get("answer_start") for a in found]
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise DataError(f"{where}, column answers: {row.get('answers')!r} is no list of texts. {_FORM}")
    numbers = starts if isinstance(starts, list) and all(type(s) is int and s >= 0 for s in starts) else []
    return found, numbers
