"""A hub is asked for what is no file; held-out rows are a fair sample, and on one side alone."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from groupwise.tasks.data import DataError, apart, hold_out, read_rows, sides

ROWS = [{"prompt": "2 + 2 =", "answer": "4"}, {"prompt": 'say "a,b"\nand c', "answer": "\u2028é"}]


def says(*words: str) -> str:
    """A pattern for these words, in this order."""
    return "(?s)" + ".*".join(re.escape(word) for word in words)


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
    with pytest.raises(DataError, match=says("owner/name", "pip install -e '.[data]'")):
        read_rows("owner/name")


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


# ---------------------------------------------------------------------------- files for either side


def reading(**files: list[dict]) -> Any:
    return lambda file, side: files[f"{file}_{side}"]


def test_a_second_file_is_held_out_and_its_prompts_are_not_trained_on() -> None:
    train, held_out = sides(" a , b ", "code", 1, reading(a_train=numbered(9), b_test=numbered(2)))
    assert (train, held_out) == (numbered(9)[2:], numbered(2))


def test_one_file_is_split() -> None:
    assert sides("a", "code", 3, reading(a_train=numbered(30))) == hold_out(numbered(30), 3, seed=0)


@pytest.mark.parametrize("options", ["", "a,", ",a", "a,b,c"])
def test_other_numbers_of_files_are_refused_in_the_tasks_name(options: str) -> None:
    with pytest.raises(DataError, match=says(f"mine:{options} does not name", "mine:train.jsonl,test.jsonl")):
        sides(options, "mine", 3, reading())
