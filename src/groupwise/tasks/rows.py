"""What a row must be before a model sees it: a prompt, and no column that we take ourselves.

What can be wrong with rows is found here and said with the place, what is there, and the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from groupwise.tasks.task import Row

TAKEN = frozenset(
    {"prompts", "completions", "completion_ids", "group_ids", "trainer_state"}
    | {"log_extra", "log_metric", "environments"}
)
"""Arguments that every reward receives from the trainer; a column of that name would be lost."""
ASKED = "asked"
"""The column that keeps a row's own prompt, where an environment makes its opening from one."""
OF_CONVERSATIONS = frozenset({"returns", ASKED})
"""The same, in conversations alone."""
OFTEN_MEANT = ("prompt", "prompts", "question", "query", "problem", "instruction", "input")
"""What others call the column `prompt`, the likeliest first."""


class DataError(ValueError):
    """Rows that cannot be trained on. Says where, what was found and the way out."""


def checked(rows: Sequence[Row], source: str, talked_to: bool = False) -> list[Row]:
    """The rows, once each has a `prompt` of text or chat messages and no column that we take ourselves.

    Those of an environment that is talked to may do without: it says what the model reads first.

    Raises:
        DataError: names the first row at fault; rows count from 1, blank lines are not rows.
    """
    if not rows:
        raise DataError(f"{source} holds no rows: there is nothing to ask.")
    for number, row in enumerate(rows, start=1):
        if fault := _fault(row, talked_to):
            raise DataError(f"{source}, row {number}: {fault}")
    return list(rows)


def _fault(row: Row, talked_to: bool) -> str:
    """What is wrong with a row and the way out; empty where nothing is."""
    if "prompt" not in row and not (talked_to and row):
        return f"it has no column prompt, only {', '.join(map(str, row)) or 'no columns'}. {_rename(row)}"
    if taken := sorted((TAKEN | OF_CONVERSATIONS if talked_to else TAKEN) & set(row)):
        return f"the column {taken[0]} has a name that rewards receive from the trainer. Rename the column."
    if "prompt" not in row:
        return ""
    prompt = row["prompt"]
    if isinstance(prompt, str):
        return _fault_of_text(prompt, "its prompt")
    if not isinstance(prompt, list) or not prompt:
        found = "an empty list" if prompt == [] else excerpt(repr(prompt))
        return f"its prompt is {found}. Make it a text, or a list of messages {_MESSAGE}."
    faults = (fault_of_message(message, i) for i, message in enumerate(prompt, start=1))
    return next(filter(None, faults), "")


_MESSAGE = '{"role": "user", "content": "..."}'


def _rename(row: Row) -> str:
    columns = {str(column).strip().lower(): str(column) for column in row}
    meant = [name for name in OFTEN_MEANT if name in columns]
    meant += difflib.get_close_matches("prompt", columns, n=1)
    return f"Rename {columns[meant[0]]!r} to prompt." if meant else "Call the column to be asked prompt."


def fault_of_message(message: Any, i: int) -> str:
    """What is wrong with the i-th message of a prompt and the way out; empty where nothing is."""
    if not isinstance(message, dict):
        return f"message {i} of its prompt is {excerpt(repr(message))}. Make it {_MESSAGE}."
    for name in ("role", "content"):
        if not isinstance(message.get(name), str):
            found = f"{name} {excerpt(repr(message[name]))}" if name in message else f"no {name}"
            return (
                f"message {i} of its prompt has {found} (its keys: {', '.join(map(str, message))}). "
                f"Make it {_MESSAGE}, both texts."
            )
    if message["role"] == "":
        return f"message {i} of its prompt has an empty role. Make it {_MESSAGE}."
    return _fault_of_text(message["content"], f"message {i} of its prompt")


def _fault_of_text(text: str, what: str) -> str:
    if not text.strip():
        return f"{what} is empty. Fill it, or leave the row away."
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"{what} has half a surrogate pair at character {error.start + 1}, which no tokenizer reads."
    return ""


def excerpt(text: str) -> str:
    """So much of a text as a sentence about it can hold."""
    text = text.strip()
    return text if len(text) <= 60 else text[:60] + "..."
