"""A row that no model could be asked is told with its number and the way out."""

import re

import pytest

from groupwise.tasks.data import DataError, checked

ROWS = [{"prompt": "2 + 2 =", "answer": "4"}, {"prompt": 'say "a,b"\nand c', "answer": "\u2028é"}]
CHAT = [{"role": "user", "content": "2 + 2 ="}]


def says(*words: str) -> str:
    """A pattern for these words, in this order."""
    return "(?s)" + ".*".join(re.escape(word) for word in words)


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


def test_rows_of_who_is_talked_to_may_do_without_a_prompt() -> None:
    """The environment says what is read first. Names that conversations take are refused."""
    rows = [{"seed": 1}, {"prompt": "x", "seed": 2}]
    assert checked(rows, "a.jsonl", talked_to=True) == rows
    with pytest.raises(DataError, match="row 1: it has no column prompt, only no columns"):
        checked([{}], "a.jsonl", talked_to=True)
    for name in ("asked", "returns", "environments"):
        with pytest.raises(DataError, match=f"row 1: the column {name} has a name that"):
            checked([{"seed": 1, name: 2}], "a.jsonl", talked_to=True)
    assert checked([{"prompt": "x", "asked": 1}], "a.jsonl")


def test_no_rows_are_told() -> None:
    with pytest.raises(DataError, match=r"a\.jsonl holds no rows"):
        checked([], "a.jsonl")
