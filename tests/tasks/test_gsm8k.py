"""GSM8K rows become questions with a number for an answer, and only that number's value counts."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from groupwise.tasks.data import DataError
from groupwise.tasks.gsm8k import exact, gsm8k

SMALL = Path(__file__).parents[1] / "data" / "gsm8k_small.jsonl"


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_one_file_is_split_and_none_is_on_both_sides() -> None:
    task = gsm8k(str(SMALL))
    prompts = [[row["prompt"][0]["content"] for row in side] for side in (task.train, task.held_out)]
    assert (len(prompts[0]), len(prompts[1])) == (16, 4)
    assert set(prompts[0]).isdisjoint(prompts[1])
    assert gsm8k(str(SMALL)) == task


def test_a_row_has_question_number_and_solution_without_calculator_marks(tmp_path: Path) -> None:
    row = {"question": "What is 3 * 400?", "answer": "It is <<3*400=1200>>1,200 dollars.\n#### 1,200"}
    other = {"question": "What is 2 - 9?", "answer": "#### -7"}
    task = gsm8k(f"{write(tmp_path / 'a.jsonl', [row])},{write(tmp_path / 'b.jsonl', [other])}")
    assert task.train[0]["answer"] == "1200"
    assert task.train[0]["solution"] == "It is 1,200 dollars.\n#### 1,200"
    prompt = task.train[0]["prompt"][0]
    assert prompt["role"] == "user"
    assert prompt["content"].startswith("What is 3 * 400?")
    assert "#### N" in prompt["content"]
    assert task.held_out[0]["answer"] == "-7"


def test_a_question_of_the_test_file_is_not_trained_on(tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "answer": f"#### {i}"} for i in range(5)]
    train, test = write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", rows[3:])
    assert [row["answer"] for row in gsm8k(f"{train},{test}").train] == ["0", "1", "2"]


def test_alone_it_loads_both_splits_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, config: str | None, split: str) -> list[dict]:
        asked.append((name, config, split))
        return [{"question": f"{split}?", "answer": "#### 1"}]

    fake = ModuleType("datasets")
    fake.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", fake)
    task = gsm8k()
    assert asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    assert task.train[0]["prompt"][0]["content"].startswith("train?")
    assert task.held_out[0]["prompt"][0]["content"].startswith("test?")


def test_every_reference_solution_is_rewarded() -> None:
    rows = list(gsm8k(str(SMALL)).train)
    assert exact([row["solution"] for row in rows], [row["answer"] for row in rows]) == [1.0] * len(rows)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "x", "answer": "#### 1"}, ["column question", "prompt, answer", "without gsm8k:"]),
        ({"question": "x"}, ["column answer", "question"]),
        ({"question": " ", "answer": "#### 1"}, ["column question"]),
        ({"question": "x", "answer": 5}, ["column answer"]),
        ({"question": "x", "answer": "it is 5"}, ["no number after ####", "it is 5", "#### 42"]),
        ({"question": "x", "answer": "#### five"}, ["no number after ####"]),
    ],
)
def test_a_bad_row_is_told_with_its_number(tmp_path: Path, row: dict, words: list[str]) -> None:
    source = write(tmp_path / "a.jsonl", [{"question": "x", "answer": "#### 1"}, row])
    with pytest.raises(DataError, match=".*".join(map(re.escape, ["a.jsonl, row 2", *words]))):
        gsm8k(source)


@pytest.mark.parametrize("options", ["a.jsonl,", ",", "a.jsonl,b.jsonl,c.jsonl"])
def test_one_or_two_files_are_taken(options: str) -> None:
    with pytest.raises(DataError, match=r"one or two files.*gsm8k:train\.jsonl,test\.jsonl"):
        gsm8k(options)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### 1000", "1000"),
        ("#### 1,000", "1000"),
        ("#### 1000.0", "1000"),
        ("####$1,000.", "1000"),
        ("#### -7", "-7"),
        ("#### .5", "0.5"),
        ("3 apples #### 18 or so, of 20", "18"),
        ("#### 17. No: #### 18", "18"),
        (r"So \boxed{18} of 20", "18"),
        (r"So \boxed{\$1{,}000} of 2000", "1000"),
        ("#### N means \\boxed{18}", "18"),
        ("That makes 18.", "18"),
        ("She pays $18", "18"),
        ("wait...5", "5"),
        ("20-2=18", "18"),
    ],
)
def test_the_value_counts_not_the_spelling(text: str, answer: str) -> None:
    assert exact([text], [answer]) == [1.0]
    assert exact([[{"role": "assistant", "content": text}]], [answer]) == [1.0]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "18"),
        ("####", "18"),
        ("18 #### 17", "18"),
        (r"18 \boxed{17}", "18"),
        ("18 or 17", "18"),
        ("#### 180", "18"),
        ("#### 18.5", "18"),
        ("#### -18", "18"),
        ("#### " + "9" * 5000, "18"),
        ("#### " + " " * 100_000 + "x", "18"),
    ],
)
def test_another_value_does_not_count(text: str, answer: str) -> None:
    assert exact([text], [answer]) == [0.0]


@pytest.mark.parametrize("text", ["#### １８", "#### 1\u200b8", "#### \u200b18", "the sum is ١٨"])
def test_digits_of_other_scripts_count_and_signs_without_width_do_not(text: str) -> None:
    assert exact([text], ["18"]) == [1.0]
