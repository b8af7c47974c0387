"""Rows arrive whole from every kind of file, and a file that cannot be read is told with the way out."""

import gzip
import json
import re
import sys
from pathlib import Path

import pytest

from groupwise.tasks.data import DataError, read_rows

ROWS = [{"prompt": "2 + 2 =", "answer": "4"}, {"prompt": 'say "a,b"\nand c', "answer": "\u2028é"}]
CHAT = [{"role": "user", "content": "2 + 2 ="}]


def write(path: Path, content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def lines(rows: list[dict], ascii_only: bool = False) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows) + "\n"


def says(*words: str) -> str:
    """A pattern for these words, in this order."""
    return "(?s)" + ".*".join(re.escape(word) for word in words)


CSV = 'prompt,answer\n2 + 2 =,4\n"say ""a,b""\nand c",\u2028é\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", lines(ROWS)),
        ("rows.jsonl.gz", lines(ROWS)),
        ("rows.JSONL", lines(ROWS).replace("\n", "\r\n\r\n")),
        ("rows.json", json.dumps(ROWS, indent=2)),
        ("rows.json.gz", json.dumps(ROWS)),
        ("rows.json", "\ufeff" + lines(ROWS)),
        ("rows.csv", CSV),
        ("rows.csv.gz", "\ufeff" + CSV),
    ],
)
def test_each_text_format_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    """Quotes, line breaks, a byte order mark, blank lines, CRLF and U+2028 inside a text all survive."""
    assert read_rows(write(tmp_path / name, content)) == ROWS


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    pq.write_table(pa.Table.from_pylist([{"prompt": CHAT}]), tmp_path / "chat.parquet")
    assert read_rows(str(tmp_path / "rows.parquet")) == ROWS
    assert read_rows(str(tmp_path / "chat.parquet")) == [{"prompt": CHAT}]


def test_messages_written_as_json_in_a_cell_are_messages(tmp_path: Path) -> None:
    cell = json.dumps(CHAT).replace('"', '""')
    source = write(tmp_path / "rows.csv", f'prompt\n"{cell}"\n[{{not json\n"[{{""a"": 1}}]"\n')
    assert [row["prompt"] for row in read_rows(source)] == [CHAT, "[{not json", '[{"a": 1}]']


def test_the_same_text_in_json_stays_text(tmp_path: Path) -> None:
    """JSON can hold a list, so a text there is meant as one."""
    row = {"prompt": json.dumps(CHAT)}
    assert read_rows(write(tmp_path / "rows.jsonl", lines([row]))) == [row]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", ["a.jsonl", "empty"]),
        ("a.jsonl", "\n \n", ["a.jsonl", "no rows"]),
        ("a.json", "[]", ["a.json", "no rows"]),
        ("a.csv", "prompt,answer\n", ["a.csv", "no rows"]),
        ("a.jsonl", '{"prompt": "x"}\n\n{"prompt" "y"}\n', ["a.jsonl, line 3", "column 11", '"y"', "whole"]),
        ("a.jsonl", '{"prompt": "x"}\n["y"]\n', ["a.jsonl, line 2", '["y"]', "no object", '{"prompt"']),
        ("a.jsonl", '{"n": ' + "9" * 5000 + "}", ["a.jsonl, line 1", "cannot be held", "digits"]),
        ("a.jsonl", "[" * 200_000, ["a.jsonl, line 1", "cannot be held"]),
        ("a.json", '[\n{"prompt": "x"},\n{"prompt": }\n]', ["a.json, line 3", "column 12"]),
        ("a.json", '[{"prompt": "x"}, 5]', ["a.json, row 2 is 5", "no object"]),
        ("a.jsonl", b'{"prompt": "x"}\n{"prompt": "\xe9"}', ["line 2", "0xe9", "UTF-8", "Save"]),
        ("a.jsonl", gzip.compress(b"{}", mtime=0), ["a.jsonl", "UTF-8", "It is gzip: end its name in .gz"]),
        ("a.csv", "prompt,answer\nx,1\ny\n", ["a.csv, line 3", "1 cells under 2", "double quotes"]),
        ("a.csv", "prompt,answer\nx,y,z\n", ["a.csv, line 2", "3 cells under 2"]),
        ("a.csv", 'prompt\n"x\ny\n', ["a.csv, line 3", "not CSV", "double quote"]),
        ("a.csv", "prompt,prompt\nx,y\n", ["a.csv, line 1", "'prompt'", "twice"]),
        ("a.txt", "x", ["a.txt", ".jsonl, .json, .csv, .parquet", ".gz"]),
        ("a.gz", "x", ["a.gz", "name does not say"]),
    ],
)
def test_a_bad_file_is_told_with_the_place(
    tmp_path: Path, name: str, content: str | bytes, words: list[str]
) -> None:
    with pytest.raises(DataError, match=says(*words)):
        read_rows(write(tmp_path / name, content))


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-9], lambda d: b"no" + d, lambda d: d[:12] + b"\0\0" + d[14:]]
)
def test_broken_gzip_is_told(tmp_path: Path, damage) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(damage(gzip.compress(lines(ROWS).encode())))
    with pytest.raises(DataError, match=says("a.jsonl.gz", "broken gzip", "Fetch it again")):
        read_rows(str(path))


def test_broken_parquet_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=says("a.parquet", "not parquet", "Fetch it again")):
        read_rows(write(tmp_path / "a.parquet", "PAR1 no"))
    with pytest.raises(DataError, match=says("a.parquet.gz", "gunzip a.parquet.gz")):
        read_rows(write(tmp_path / "a.parquet.gz", "x"))


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=says("a.parquet", "pip install -e '.[parquet]'")):
        read_rows(write(tmp_path / "a.parquet", "x"))


def test_a_missing_file_brings_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", lines(ROWS))
    with pytest.raises(DataError, match=says("no file", "trian.jsonl", "Did you mean", "/train.jsonl?")):
        read_rows(str(tmp_path / "trian.jsonl"))
    with pytest.raises(DataError, match=says("no folder", "dta")):
        read_rows(str(tmp_path / "dta" / "train.jsonl"))


def test_a_folder_is_told_with_the_files_in_it(tmp_path: Path) -> None:
    write(tmp_path / "train.csv.gz", "prompt\nx\n")
    with pytest.raises(DataError, match=says("is a folder", "train.csv.gz")):
        read_rows(str(tmp_path))


def test_an_unreadable_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised by hand: a superuser, as in many containers, may read everything."""

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=says("a.jsonl", "Permission denied")):
        read_rows(write(tmp_path / "a.jsonl", lines(ROWS)))
