"""Rows out of files: JSON lines, JSON, CSV, parquet, packed or not."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import os
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from groupwise.tasks.rows import DataError, excerpt, fault_of_message
from groupwise.tasks.task import Row

KINDS = (".jsonl", ".json", ".csv", ".parquet")
"""What a file's name may end in; the text ones also with .gz after it."""


def rows_of(path: Path) -> list[Row]:
    """The rows of a file, as they are written.

    Raises:
        DataError: it cannot be read, or holds none.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = "".join(suffixes[-2:-1] if zipped else suffixes[-1:])
    if os.path.isfile(path) and kind not in KINDS:
        raise DataError(
            f"{path}: the name does not say what is in it. It may end in {', '.join(KINDS)}; "
            "the first three also in .gz after that."
        )
    if zipped and kind == ".parquet":
        raise DataError(f"{path}: parquet is compressed already. Unpack it: gunzip {path.name}")
    data = _bytes(path)
    rows = _parsed(_unzipped(data, path) if zipped else data, kind, path)
    if not rows:
        what = "holds no rows" if data else "is an empty file"
        raise DataError(f"{path} {what}: there is nothing to ask.")
    return rows


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(_missing(path)) from None
    except IsADirectoryError:
        inside = sorted(name for name in _names(path) if name.removesuffix(".gz").endswith(KINDS))
        there = f"Name a file in it: {', '.join(inside[:5])}" if inside else f"No {', '.join(KINDS)} is in it"
        raise DataError(f"{path} is a folder. {there}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _missing(path: Path) -> str:
    if not os.path.isdir(path.parent):
        return f"There is no file {path}: there is no folder {path.parent}."
    near = difflib.get_close_matches(path.name, _names(path.parent), n=1)
    hint = f" Did you mean {path.parent / near[0]}?" if near else f" It was sought from {Path.cwd()}."
    return f"There is no file {path}.{hint}"


def _names(folder: Path) -> list[str]:
    """What is in a folder, for a hint: nothing where it may not be listed."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _unzipped(data: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} is broken gzip ({error}). Fetch it again, or take .gz off its name if it is not packed."
        ) from error


def _parsed(data: bytes, kind: str, path: Path) -> list[Row]:
    if kind == ".parquet":
        return _from_parquet(data, path)
    text = _text(data, path)
    if kind == ".csv":
        return _from_csv(text, path)
    if kind == ".json" and text.lstrip().startswith("["):
        return _from_array(text, path)
    return _from_lines(text, path)


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        packed = data.startswith(b"\x1f\x8b")
        way_out = "It is gzip: end its name in .gz." if packed else "Save the file as UTF-8."
        raise DataError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. {way_out}"
        ) from error


def _from_lines(text: str, path: Path) -> list[Row]:
    # Not splitlines(): that cuts at U+2028 and others, which JSON allows inside a text.
    lines = enumerate(text.split("\n"), start=1)
    return [_object(line, f"{path}, line {number}") for number, line in lines if line.strip()]


def _object(line: str, where: str) -> Row:
    value = _json(line, where)
    if not isinstance(value, dict):
        raise DataError(
            f"{where} holds {excerpt(line)}, which is no object. "
            'Write one on each line: {"prompt": "...", "answer": "..."}'
        )
    return value


def _from_array(text: str, path: Path) -> list[Row]:
    values = _json(text, str(path))
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise DataError(
                f"{path}, row {number} is {excerpt(json.dumps(value))}, which is no object. "
                'Write the list as [{"prompt": "...", "answer": "..."}, ...]'
            )
    rows: list[Row] = values
    return rows


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text.rstrip() else ""
        near = excerpt(text[max(0, error.pos - 30) :].replace("\n", " "))
        raise DataError(
            f"{where}{line} is not JSON: {error.msg} at column {error.colno}, near {near}. "
            "Each row is one whole object, and in .jsonl it has a line to itself."
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, a list 10000 deep
        raise DataError(f"{where} is JSON that cannot be held: {error}. Near {excerpt(text)}.") from error


def _from_csv(text: str, path: Path) -> list[Row]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        header = next(lines, [])
        if twice := [name for name, n in Counter(header).items() if n > 1 or not name.strip()]:
            raise DataError(
                f"{path}, line 1: the column name {twice[0]!r} is empty or there twice. "
                "Give each column a name of its own."
            )
        for cells in filter(None, lines):
            if len(cells) != len(header):
                raise DataError(
                    f"{path}, line {lines.line_num}: {len(cells)} cells under {len(header)} column names "
                    f"({', '.join(header)}). Put a cell with a comma or a line break in double quotes."
                )
            rows.append(unfolded(dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {lines.line_num} is not CSV: {error}. Look for a double quote without its partner."
        ) from error
    return rows


def _from_parquet(data: bytes, path: Path) -> list[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(f"{path}: parquet needs pyarrow: pip install -e '.[parquet]'") from error
    try:
        rows = pq.read_table(pa.BufferReader(data)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not parquet that can be read: {error} Fetch it again.") from error
    return [unfolded(row) for row in rows]


def unfolded(row: dict[str, Any]) -> Row:
    """The row with chat messages where a cell, which can only hold text, holds them as JSON."""
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt.lstrip().startswith("[{"):
        return row
    try:
        messages = json.loads(prompt)
    except (ValueError, RecursionError):
        return row
    if any(fault_of_message(message, i) for i, message in enumerate(messages)):
        return row
    return row | {"prompt": messages}
