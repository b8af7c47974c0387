"""Rows arrive whole from every kind of file, and whatever is wrong is said with place and way out."""

import gzip
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from groupwise.tasks.data import DataError, apart, checked, hold_out, read_rows

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
        ("a.jsonl", gzip.compress(b"{}"), ["a.jsonl", "UTF-8", "It is gzip: end its name in .gz"]),
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
    with pytest.raises(DataError, match=says("a.parquet", "pip install 'groupwise[parquet]'")):
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


# ---------------------------------------------------------------------------- the hub


class Hub(ModuleType):
    """Stands in for the `datasets` package and remembers what was asked."""

    def __init__(self, rows: list[dict]) -> None:
        super().__init__("datasets")
        self.rows, self.asked = rows, []

    def load_dataset(self, name: str, config: str | None, split: str) -> list[dict]:
        self.asked.append((name, config, split))
        if split == "no":
            raise ValueError("Unknown split")
        return self.rows


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub(ROWS)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def test_a_hub_id_is_loaded_with_its_config_and_split(hub: Hub) -> None:
    assert read_rows("openai/gsm8k:main", split="test") == ROWS
    assert read_rows("owner/name-v1.1") == ROWS
    assert hub.asked == [("openai/gsm8k", "main", "test"), ("owner/name-v1.1", None, "train")]


@pytest.mark.parametrize("path", ["data/train.jsonl", "./data/train", "/data/train", "data/train.7z", "rows"])
def test_a_missing_path_is_never_asked_of_the_hub(hub: Hub, path: str) -> None:
    with pytest.raises(DataError, match="no file"):
        read_rows(path)
    assert hub.asked == []


def test_a_folder_that_is_there_wins_over_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(DataError, match="owner/name is a folder"):
        read_rows("owner/name")
    assert hub.asked == []


def test_a_hub_that_fails_is_told_with_its_reason(hub: Hub) -> None:
    with pytest.raises(
        DataError, match=says("owner/name", "split 'no'", "Unknown split", "owner/name:config")
    ):
        read_rows("owner/name", split="no")


def test_the_hub_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=says("owner/name", "pip install 'groupwise[data]'")):
        read_rows("owner/name")


# ---------------------------------------------------------------------------- rows


def test_good_rows_pass_as_they_are() -> None:
    rows = [*ROWS, {"prompt": CHAT, "level": 3}]
    assert checked(rows, "a.jsonl") == rows


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "x", "answer": 1}, ["no column prompt", "question, answer", "Rename 'question'"]),
        ({"answer": 1, "Prompt": "x"}, ["answer, Prompt", "Rename 'Prompt' to prompt"]),
        ({"promt": "x"}, ["Rename 'promt' to prompt"]),
        ({"prompts": "x"}, ["Rename 'prompts' to prompt"]),
        ({"body": "x"}, ["body", "Call the column to be asked prompt"]),
        ({}, ["no columns"]),
        ({"prompt": ""}, ["prompt is empty", "leave the row away"]),
        ({"prompt": " \n"}, ["prompt is empty"]),
        ({"prompt": "\ud800"}, ["surrogate", "character 1"]),
        ({"prompt": None}, ["prompt is None", "Make it a text"]),
        ({"prompt": 5}, ["prompt is 5", "Make it a text"]),
        ({"prompt": []}, ["an empty list", "messages"]),
        ({"prompt": ["x"]}, ["message 1", "'x'", '{"role": "user"']),
        (
            {"prompt": [*CHAT, {"from": "human", "value": "x"}]},
            ["message 2", "no role", "from, value", "Make"],
        ),
        ({"prompt": [{"role": "user", "content": None}]}, ["message 1", "content None", "texts"]),
        ({"prompt": [{"role": "", "content": "x"}]}, ["message 1", "empty role"]),
        ({"prompt": [{"role": "user", "content": " "}]}, ["message 1", "is empty"]),
        ({"prompt": "x", "completions": "y"}, ["column completions", "rewards receive", "Rename"]),
        ({"prompt": "x", "log_metric": "y"}, ["column log_metric"]),
    ],
)
def test_a_bad_row_is_told_with_its_number_and_the_way_out(row: dict, words: list[str]) -> None:
    with pytest.raises(DataError, match=says("a.jsonl, row 3", *words)):
        checked([*ROWS, row], "a.jsonl")


def test_no_rows_are_told() -> None:
    with pytest.raises(DataError, match=r"a\.jsonl holds no rows"):
        checked([], "a.jsonl")


# ---------------------------------------------------------------------------- the split


def numbered(n: int) -> list[dict]:
    return [{"prompt": f"question {i}", "i": i} for i in range(n)]


def test_the_split_is_the_same_each_time_and_another_with_another_seed() -> None:
    train, kept = hold_out(numbered(100), 10, seed=0)
    assert (len(train), len(kept)) == (90, 10)
    assert hold_out(numbered(100), 10, seed=0) == (train, kept)
    assert hold_out(numbered(100), 10, seed=1)[1] != kept, "equal by luck with p < 1e-13"
    assert sorted(r["i"] for r in train + kept) == list(range(100))


def test_the_split_does_not_depend_on_the_order_of_the_rows() -> None:
    assert hold_out(numbered(100)[::-1], 10, seed=0)[1] == hold_out(numbered(100), 10, seed=0)[1]


def test_a_fifth_is_held_out_at_most() -> None:
    train, kept = hold_out(numbered(100), 1000, seed=0)
    assert (len(train), len(kept)) == (80, 20)


def test_equal_prompts_stay_on_one_side() -> None:
    """50 pairs of equal prompts; a split by rows would keep all together with p < 1e-9."""
    rows = [{"prompt": [{"role": "user", "content": str(i % 50)}], "i": i} for i in range(100)]
    train, kept = hold_out(rows, 20, seed=0)
    prompts = [{r["prompt"][0]["content"] for r in side} for side in (train, kept)]
    assert prompts[0].isdisjoint(prompts[1])
    assert len(kept) == 20


@pytest.mark.parametrize("copies", [[1, 1], [3, 1], [5, 5], [1, 9]])
def test_both_sides_get_a_row_however_few_there_are(copies: list[int]) -> None:
    rows = [{"prompt": str(i)} for i, n in enumerate(copies) for _ in range(n)]
    train, kept = hold_out(rows, 200, seed=0)
    assert len(kept) == min(copies)
    assert len(train) == max(copies)


def test_one_distinct_prompt_cannot_be_split() -> None:
    with pytest.raises(DataError, match=says("3 rows with 1 distinct prompts", "2 or more")):
        hold_out([{"prompt": "x"}] * 3, 1, seed=0)
    with pytest.raises(DataError, match="0 rows"):
        hold_out(numbered(10), 0, seed=0)


def test_a_held_out_prompt_is_taken_out_of_training() -> None:
    assert apart(numbered(5), numbered(3), "a.jsonl") == numbered(5)[3:]
    with pytest.raises(DataError, match=says("a.jsonl", "5 rows", "none is left")):
        apart(numbered(5), numbered(5), "a.jsonl")
