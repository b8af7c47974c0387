"""Programming tasks: rows with unit tests, or with inputs and outputs; answers run in the sandbox."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from typing import Any

from groupwise.rewards.code import code_rewards
from groupwise.sandbox import Sandbox
from groupwise.tasks.data import DataError, checked, read_rows, sides
from groupwise.tasks.task import Row, Task

HELD_OUT = 200
"""Rows split off a training file that comes without a test file."""
KINDS = "test and entry_point (HumanEval), test_list (MBPP), or inputs and outputs (of a program)"

_FUNCTION = (
    "Complete this Python function. Write the whole function, with its imports, in one ```python block."
)
_TESTED = "Write Python code for this task in one ```python block. It has to pass this test:"
_PROGRAM = (
    "Write a Python program in one ```python block. It reads standard input and writes standard output."
)


def code(options: str = "", allow_unsafe: bool = False, sandbox: Sandbox | None = None) -> Task:
    """The task from `train.jsonl`, or from `train.jsonl,test.jsonl`.

    From one file alone, rows to hold out are split off. The sandbox is one for this machine unless given.

    Raises:
        DataError: a file cannot be read, or a row lacks a column or has a test that is no Python.
        UnsafeError: this machine cannot keep answers apart, and `allow_unsafe` is not set.
    """
    train, held_out = sides(options, "code", HELD_OUT, _rows)
    rewards = code_rewards(sandbox or Sandbox(allow_unsafe=allow_unsafe))
    return Task(f"code:{options}", train, held_out, rewards, max_new_tokens=512)


def messages(row: Row) -> list[dict[str, str]]:
    """How a task is put to a chat model. One MBPP test is shown: it names the function."""
    prompt = row["prompt"].strip()
    if "entry_point" in row:
        text = f"{_FUNCTION}\n\n```python\n{prompt}\n```"
    elif "test_list" in row:
        text = f"{_TESTED}\n\n```python\n{row['test_list'][0]}\n```\n\n{prompt}"
    else:
        text = f"{_PROGRAM}\n\n{prompt}"
    return [{"role": "user", "content": text}]


def _rows(source: str, split: str) -> list[Row]:
    rows = checked(read_rows(source, split), source)
    return [_row(row, f"{source}, row {number}") for number, row in enumerate(rows, start=1)]


def _row(row: Row, where: str) -> Row:
    if not isinstance(row["prompt"], str):
        raise DataError(
            f"{where}: its prompt is a list of messages. Make it a text: messages are made of it."
        )
    row = {name: value for name, value in row.items() if value is not None}
    if "test" in row:
        _function_row(row, where)
        return row | {"prompt": messages(row), "given": row["prompt"]}
    if "test_list" in row:
        for name in ("test_list", *(["test_imports"] if "test_imports" in row else [])):
            _texts(row, name, where)
            for number, text in enumerate(row[name], start=1):
                _python(text, f"{where}, column {name}, text {number}")
    elif "inputs" in row:
        _texts(row, "inputs", where)
        _texts(row, "outputs", where)
        if len(row["inputs"]) != len(row["outputs"]):
            n, m = len(row["inputs"]), len(row["outputs"])
            raise DataError(f"{where}: {n} inputs and {m} outputs. Give each input its output.")
    else:
        raise DataError(
            f"{where} has no tests; its columns: {', '.join(map(str, row))}. "
            f"A row of code has prompt and {KINDS}."
        )
    return row | {"prompt": messages(row)}


def _function_row(row: Row, where: str) -> None:
    for name in ("test", "entry_point"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise DataError(
                f"{where} has no text in the column {name}: HumanEval rows have test and entry_point."
            )
    if not row["entry_point"].isidentifier():
        raise DataError(f"{where}, column entry_point: {row['entry_point']!r} is no name of a function.")
    tree = _python(row["test"], f"{where}, column test")
    if not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
        raise DataError(f"{where}, column test defines no check: write def check(candidate): assert ...")
    _python(f"{row['prompt'].rstrip()}\n    pass\n", f"{where}, column prompt, with `pass` as the body")


def _texts(row: Row, name: str, where: str) -> None:
    value: Any = row.get(name)
    empty_is_fine = name == "test_imports"
    if not isinstance(value, Sequence) or isinstance(value, str) or not (value or empty_is_fine):
        raise DataError(f"{where}, column {name}: {_short(value)} is no list of texts. Make it one.")
    for number, text in enumerate(value, start=1):
        if not isinstance(text, str):
            raise DataError(f"{where}, column {name}, {number}: {_short(text)} is no text. Put it in quotes.")


def _python(text: str, where: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as \d in a docstring: the data's style is its own
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{where} is no Python: {error}. It holds {_short(text)}.") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
