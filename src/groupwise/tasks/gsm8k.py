"""GSM8K: school problems in words, answered with reasoning and `#### N`.  (arXiv 2110.14168)"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from groupwise.rewards.answers import NUMBER, ascii_end, canonical
from groupwise.rewards.scoring import Reward
from groupwise.rewards.texts import Completion, text_of
from groupwise.tasks.data import DataError, read_rows, sides
from groupwise.tasks.task import Row, Task

HUB = "openai/gsm8k:main"
HELD_OUT = 500
"""Rows split off a training file that comes without a test file."""

_CALCULATOR = re.compile(r"<<.*?>>")
_UNIT = r"\s*+\\?\$?\s*+"
_MARKED = re.compile(rf"####{_UNIT}({NUMBER})")
_BOXED = re.compile(rf"\\boxed\{{{_UNIT}({NUMBER})")
_ANY = re.compile(f"({NUMBER})")


def gsm8k(options: str = "") -> Task:
    """The task from the hub, or from `train.jsonl.gz`, or from `train.jsonl.gz,test.jsonl.gz`.

    From one file alone, rows to hold out are split off.

    Raises:
        DataError: a file cannot be read, or a row lacks question, answer or `#### N`.
    """
    train, held_out = sides(options or f"{HUB},{HUB}", "gsm8k", HELD_OUT, _rows)
    name = f"gsm8k:{options}" if options else "gsm8k"
    return Task(name, train, held_out, (Reward("exact", exact),), max_new_tokens=320)


def messages(question: str) -> list[dict[str, str]]:
    """How a problem is put to a chat model."""
    how = "Reason step by step. Then write the answer as a plain number on a last line: #### N"
    return [{"role": "user", "content": f"{question.strip()}\n\n{how}"}]


def exact(completions: Sequence[Completion], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where the number given as the answer has the right value, else 0.

    It is the one after the last `####`, else in the last boxed{}, else the last in the text.

    >>> exact(["2 * 500 = 1,000.0", "#### 7 or 8"], ["1000", "8"])
    [1.0, 0.0]
    """
    return [
        float(_answered(text_of(completion)) == canonical(truth))
        for completion, truth in zip(completions, answer, strict=True)
    ]


def _answered(text: str) -> str | None:
    text = ascii_end(text).replace("{,}", ",")  # 1{,}000 is how TeX sets 1,000
    for form in (_MARKED, _BOXED, _ANY):
        if found := form.findall(text):
            return canonical(found[-1])
    return None


def _rows(source: str, split: str) -> list[Row]:
    rows = enumerate(read_rows(source, split), start=1)
    return [_row(row, f"{source}, row {number}") for number, row in rows]


def _row(row: Row, where: str) -> Row:
    for column in ("question", "answer"):
        if not isinstance(row.get(column), str) or not row[column].strip():
            raise DataError(
                f"{where} has no text in the column {column}; its columns: {', '.join(map(str, row))}. "
                "GSM8K rows have question and answer; load other data by its file name, without gsm8k:."
            )
    solution = _CALCULATOR.sub("", row["answer"]).strip()
    final = _MARKED.findall(solution)
    if not final:
        raise DataError(
            f"{where}: its answer has no number after ####; it ends {solution[-40:]!r}. "
            "End it with a line such as #### 42."
        )
    return {"prompt": messages(row["question"]), "answer": canonical(final[-1]), "solution": solution}
