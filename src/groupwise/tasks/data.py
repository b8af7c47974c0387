"""Rows out of a file or a hub data set, checked before a model sees any of them.

    read_rows("train.jsonl") -> rows;   checked(rows, "train.jsonl") -> rows with a usable prompt

What can be wrong with a file is found here and said with the place, what is there, and the way out.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groupwise.tasks.task import Row

KINDS = (".jsonl", ".json", ".csv", ".parquet")
"""What a file's name may end in; the text ones also with .gz after it."""
TAKEN = frozenset(
    {"prompts", "completions", "completion_ids", "group_ids", "trainer_state"}
    | {"log_extra", "log_metric", "environments"}
)
"""Arguments that every reward receives from the trainer; a column of that name would be lost."""
OFTEN_MEANT = ("prompt", "prompts", "question", "query", "problem", "instruction", "input")
"""What others call the column `prompt`, the likeliest first."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_LETTERED_SUFFIX = re.compile(r"\.\w*[A-Za-z]\w*$")  # .jsonl, .7z; not the .1 of a hub's owner/name-v1.1


class DataError(ValueError):
    """Rows that cannot be trained on. Says where, what was found and the way out."""


def read_rows(source: str, split: str = "train") -> list[Row]:
    """The rows of a file (see KINDS), or of a hub data set `owner/name` or `owner/name:config`.

    A file that exists is preferred to a hub data set of that name; `split` is for the hub alone.
    """
    path = Path(source).expanduser()
    if is_hub_id(source) and not os.path.lexists(path):
        return _from_hub(source, split)
    return _from_file(path)


def is_path(source: str) -> bool:
    """Whether a name is written as a path is: never asked of a hub, even where there is no such file."""
    return source.startswith((".", "/", "~")) or bool(_LETTERED_SUFFIX.search(source))


def is_hub_id(source: str) -> bool:
    return bool(_HUB_ID.fullmatch(source)) and not is_path(source)


def checked(rows: Sequence[Row], source: str) -> list[Row]:
    """The rows, once each has a `prompt` of text or chat messages and no column that we take ourselves.

    Raises:
        DataError: names the first row at fault; rows count from 1, blank lines are not rows.
    """
    if not rows:
        raise DataError(f"{source} holds no rows: there is nothing to ask.")
    for number, row in enumerate(rows, start=1):
        if fault := _fault(row):
            raise DataError(f"{source}, row {number}: {fault}")
    return list(rows)


def hold_out(rows: Sequence[Row], n: int, seed: int) -> tuple[list[Row], list[Row]]:
    """(train, held out): n rows held out, a fifth of all rows at most; one at least on either side.

    Rows with an equal prompt stay together. Prompts are ranked by a hash of seed and prompt, so that
    the split does not depend on the order of the rows and the first held-out rows are a fair sample.
    """
    if n < 1:
        raise DataError(f"cannot hold out {n} rows: ask for 1 or more.")
    sizes = Counter(_key(row) for row in rows)
    if len(sizes) < 2:
        raise DataError(
            f"{len(rows)} rows with {len(sizes)} distinct prompts cannot be split: give 2 or more distinct "
            "prompts, or a file of rows to hold out."
        )
    ranked = sorted(sizes, key=lambda key: hashlib.blake2b(f"{seed}:{key}".encode()).digest())
    room = max(1, min(n, len(rows) // 5))
    chosen: dict[str, int] = {}
    for key in ranked:
        if sizes[key] <= room:
            chosen[key] = len(chosen)
            room -= sizes[key]
    chosen = chosen or {min(ranked, key=lambda key: sizes[key]): 0}
    held_out = sorted((r for r in rows if _key(r) in chosen), key=lambda row: chosen[_key(row)])
    return [row for row in rows if _key(row) not in chosen], held_out


def apart(train: Sequence[Row], held_out: Sequence[Row], source: str) -> list[Row]:
    """The training rows whose prompt is not held out: an answer learnt by heart proves nothing."""
    known = {_key(row) for row in held_out}
    rest = [row for row in train if _key(row) not in known]
    if not rest:
        raise DataError(
            f"{source}: each of its {len(train)} rows is held out too, so none is left to train on. "
            "Give different files, or leave the held-out file away to have one split off."
        )
    return rest


def _key(row: Row) -> str:
    return json.dumps(row["prompt"], sort_keys=True)


# ---------------------------------------------------------------------------- what a row must be


def _fault(row: Row) -> str:
    """What is wrong with a row and the way out; empty where nothing is."""
    if "prompt" not in row:
        return f"it has no column prompt, only {', '.join(map(str, row)) or 'no columns'}. {_rename(row)}"
    if taken := sorted(TAKEN & set(row)):
        return f"the column {taken[0]} has a name that rewards receive from the trainer. Rename the column."
    prompt = row["prompt"]
    if isinstance(prompt, str):
        return _fault_of_text(prompt, "its prompt")
    if not isinstance(prompt, list) or not prompt:
        found = "an empty list" if prompt == [] else _excerpt(repr(prompt))
        return f"its prompt is {found}. Make it a text, or a list of messages {_MESSAGE}."
    faults = (_fault_of_message(message, i) for i, message in enumerate(prompt, start=1))
    return next(filter(None, faults), "")


_MESSAGE = '{"role": "user", "content": "..."}'


def _rename(row: Row) -> str:
    columns = {str(column).strip().lower(): str(column) for column in row}
    meant = [name for name in OFTEN_MEANT if name in columns]
    meant += difflib.get_close_matches("prompt", columns, n=1)
    return f"Rename {columns[meant[0]]!r} to prompt." if meant else "Call the column to be asked prompt."


def _fault_of_message(message: Any, i: int) -> str:
    if not isinstance(message, dict):
        return f"message {i} of its prompt is {_excerpt(repr(message))}. Make it {_MESSAGE}."
    for name in ("role", "content"):
        if not isinstance(message.get(name), str):
            found = f"{name} {_excerpt(repr(message[name]))}" if name in message else f"no {name}"
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


# ---------------------------------------------------------------------------- files


def _from_file(path: Path) -> list[Row]:
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
            f"{where} holds {_excerpt(line)}, which is no object. "
            'Write one on each line: {"prompt": "...", "answer": "..."}'
        )
    return value


def _from_array(text: str, path: Path) -> list[Row]:
    values = _json(text, str(path))
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise DataError(
                f"{path}, row {number} is {_excerpt(json.dumps(value))}, which is no object. "
                'Write the list as [{"prompt": "...", "answer": "..."}, ...]'
            )
    rows: list[Row] = values
    return rows


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text.rstrip() else ""
        near = _excerpt(text[max(0, error.pos - 30) :].replace("\n", " "))
        raise DataError(
            f"{where}{line} is not JSON: {error.msg} at column {error.colno}, near {near}. "
            "Each row is one whole object, and in .jsonl it has a line to itself."
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, a list 10000 deep
        raise DataError(f"{where} is JSON that cannot be held: {error}. Near {_excerpt(text)}.") from error


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
            rows.append(_unfolded(dict(zip(header, cells, strict=True))))
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
        raise DataError(f"{path}: parquet needs pyarrow: pip install 'groupwise[parquet]'") from error
    try:
        rows = pq.read_table(pa.BufferReader(data)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not parquet that can be read: {error} Fetch it again.") from error
    return [_unfolded(row) for row in rows]


def _unfolded(row: dict[str, Any]) -> Row:
    """The row with chat messages where a cell, which can only hold text, holds them as JSON."""
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt.lstrip().startswith("[{"):
        return row
    try:
        messages = json.loads(prompt)
    except (ValueError, RecursionError):
        return row
    if any(_fault_of_message(message, i) for i, message in enumerate(messages)):
        return row
    return row | {"prompt": messages}


def _from_hub(source: str, split: str) -> list[Row]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataError(
            f"{source!r} is no file here; to read it from the hub: pip install 'groupwise[data]'"
        ) from error
    name, _, config = source.partition(":")
    try:
        rows = [dict(row) for row in load_dataset(name, config or None, split=split)]
    except Exception as error:  # the hub and the library fail in many ways, all of them the world's
        raise DataError(
            f"the hub data set {source!r} did not load its split {split!r}: {error} "
            "Check owner/name:config, or name a local file."
        ) from error
    return [_unfolded(row) for row in rows]


def _excerpt(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 60 else text[:60] + "..."
