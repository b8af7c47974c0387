"""Rows by the name of a file or a hub data set, and their split into two sides.

read_rows("train.jsonl") -> rows;   checked(rows, "train.jsonl") -> rows with a usable prompt
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from groupwise.tasks.files import rows_of, unfolded
from groupwise.tasks.rows import DataError as DataError
from groupwise.tasks.rows import checked as checked
from groupwise.tasks.task import Row

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_LETTERED_SUFFIX = re.compile(r"\.\w*[A-Za-z]\w*$")  # .jsonl, .7z; not the .1 of a hub's owner/name-v1.1


def read_rows(source: str, split: str = "train") -> list[Row]:
    """The rows of a file (see files.KINDS), or of a hub data set `owner/name` or `owner/name:config`.

    A file that exists is preferred to a hub data set of that name; `split` is for the hub alone.
    """
    path = Path(source).expanduser()
    if is_hub_id(source) and not os.path.lexists(path):
        return _from_hub(source, split)
    return rows_of(path)


def is_path(source: str) -> bool:
    """Whether a name is written as a path is: never asked of a hub, even where there is no such file."""
    return source.startswith((".", "/", "~")) or bool(_LETTERED_SUFFIX.search(source))


def is_hub_id(source: str) -> bool:
    return bool(_HUB_ID.fullmatch(source)) and not is_path(source)


def _from_hub(source: str, split: str) -> list[Row]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataError(
            f"{source!r} is no file here; to read it from the hub: pip install -e '.[data]'"
        ) from error
    name, _, config = source.partition(":")
    try:
        rows = [dict(row) for row in load_dataset(name, config or None, split=split)]
    except Exception as error:  # the hub and the library fail in many ways, all of them the world's
        raise DataError(
            f"the hub data set {source!r} did not load its split {split!r}: {error} "
            "Check owner/name:config, or name a local file."
        ) from error
    return [unfolded(row) for row in rows]


def sides(
    options: str, name: str, n: int, read: Callable[[str, str], list[Row]]
) -> tuple[list[Row], list[Row]]:
    """(train, held out) of `train.jsonl`, from which n rows are split off, or of `train.jsonl,test.jsonl`.

    `read` takes a file's name and the side; `name` is the task's, for what is said of other options.
    """
    files = [part.strip() for part in options.split(",")]
    if len(files) > 2 or "" in files:
        raise DataError(
            f"{name}:{options} does not name one or two files. Write {name}:train.jsonl or "
            f"{name}:train.jsonl,test.jsonl."
        )
    rows = read(files[0], "train")
    if len(files) == 1:
        return hold_out(rows, n, seed=0)
    held_out = read(files[1], "test")
    return apart(rows, held_out, files[0]), held_out


def hold_out(rows: Sequence[Row], n: int, seed: int, whole: bool = False) -> tuple[list[Row], list[Row]]:
    """(train, held out): n rows held out, a fifth of all rows at most; one at least on either side.

    Rows with an equal prompt stay together; `whole`: equal rows, where a prompt is not all that is asked.
    Prompts are ranked by a hash of seed and prompt, so that the split does not depend on the order of the
    rows and the first held-out rows are a fair sample.
    """
    key_of = _key_of_row if whole else _key
    if n < 1:
        raise DataError(f"cannot hold out {n} rows: ask for 1 or more.")
    sizes = Counter(map(key_of, rows))
    if len(sizes) < 2:
        if whole:
            raise DataError(f"{len(rows)} equal rows cannot be split: give 2 or more that differ.")
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
    keyed = [(key_of(row), row) for row in rows]
    held_out = sorted((pair for pair in keyed if pair[0] in chosen), key=lambda pair: chosen[pair[0]])
    return [row for key, row in keyed if key not in chosen], [row for _, row in held_out]


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


def _key_of_row(row: Row) -> str:
    return json.dumps(row, sort_keys=True, default=str)
