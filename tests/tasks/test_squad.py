"""SQuAD's rows in all their forms become questions; a shortened passage keeps the answer."""

import json
import re
from pathlib import Path

import pytest

from groupwise.tasks.data import DataError
from groupwise.tasks.grounded import XQUAD
from groupwise.tasks.squad import Question, excerpt, read_questions

ROW = {"title": "Cats", "context": "Ann has 3 cats.", "question": "How many?", "answers": ["3"]}


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize(
    "form",
    [
        {"answers": ["3", "3 cats."], "answer_start": [8, 8]},
        {"answers": {"text": ["3", "3 cats."], "answer_start": [8, 8]}},
        {"answers": [{"text": "3", "answer_start": 8}, {"text": "3 cats.", "answer_start": 8}]},
        {"answers": ["3", "3 cats."]},
    ],
)
def test_answers_are_read_in_every_form(tmp_path: Path, form: dict) -> None:
    (got,) = read_questions(write(tmp_path / "a.jsonl", [ROW | form]))
    assert got == Question("Cats", "Ann has 3 cats.", "How many?", ("3", "3 cats"), 8)


def test_squads_own_file_is_read(tmp_path: Path) -> None:
    """Its questions are three levels down; one without answers is kept as such."""
    qas = [
        {"id": "1", "question": "How many?", "answers": [{"text": "3", "answer_start": 8}]},
        {"id": "2", "question": "How old?", "answers": [], "is_impossible": True},
    ]
    paragraphs = [{"context": "Ann has 3 cats.", "qas": qas}]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": "2.0", "data": [{"title": "Cats", "paragraphs": paragraphs}]}))
    assert read_questions(str(path)) == [
        Question("Cats", "Ann has 3 cats.", "How many?", ("3",), 8),
        Question("Cats", "Ann has 3 cats.", "How old?", ()),
    ]


def test_the_place_that_a_row_gives_is_believed_only_if_the_answer_is_there(tmp_path: Path) -> None:
    context = "3 of Ann's 3 cats."
    rows = [
        {**ROW, "context": context, "question": str(at), "answer_start": [at]} for at in (11, 5, 500, None)
    ]
    assert [q.at for q in read_questions(write(tmp_path / "a.jsonl", rows))] == [11, 0, 0, 0]


def test_a_question_asked_twice_is_read_once_and_a_passage_is_its_own_title(tmp_path: Path) -> None:
    row = {k: v for k, v in ROW.items() if k != "title"}
    (got,) = read_questions(write(tmp_path / "a.jsonl", [row, row | {"question": "how many? "}]))
    assert (got.title, got.question) == ("Ann has 3 cats.", "How many?")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"context": "x"}, ["column question", "context", '"answers": ["..."]']),
        (ROW | {"context": " "}, ["column context"]),
        (ROW | {"question": 5}, ["column question"]),
        (ROW | {"answers": "3"}, ["column answers", "'3' is no list of texts"]),
        (ROW | {"answers": [3]}, ["column answers"]),
        (ROW | {"answers": None}, ["column answers"]),
        (ROW | {"answers": ["4"]}, ["its answer '4' stands nowhere"]),
        (ROW | {"answers": [" "]}, ["its answer '' stands nowhere"]),
    ],
)
def test_a_bad_row_is_told_with_its_number(tmp_path: Path, row: dict, words: list[str]) -> None:
    source = write(tmp_path / "a.jsonl", [ROW, row])
    with pytest.raises(DataError, match=".*".join(map(re.escape, ["a.jsonl, row 2", *words]))):
        read_questions(source)


def test_an_own_file_of_another_form_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl.*not of its form.*paragraphs"):
        read_questions(write(tmp_path / "a.jsonl", [{"data": [{"title": "Cats"}]}]))


TEXT = "Ann sang a song. Dr. Bob of the U.S. Army drew 3.5 cats! Cy slept.\nDee ran home, 2 miles."


@pytest.mark.parametrize(
    ("answer", "words", "context"),
    [
        ("Bob", 1, "Bob of the U.S. Army drew 3.5 cats!"),
        ("Bob", 9, "Dr. Bob of the U.S. Army drew 3.5 cats!"),
        ("Bob", 11, "Dr. Bob of the U.S. Army drew 3.5 cats! Cy slept."),
        ("Cy", 7, "Cy slept.\nDee ran home, 2 miles."),
        ("Dee", 100, TEXT),
        ("cats! Cy", 1, "Bob of the U.S. Army drew 3.5 cats! Cy slept."),
    ],
)
def test_an_excerpt_is_the_sentences_around_the_answer(answer: str, words: int, context: str) -> None:
    """By hand. The answer's own sentences stay whole; before is tried first, then after, in turn."""
    got = excerpt(Question("t", TEXT, "?", (answer,), TEXT.index(answer)), words)
    assert got.context == context
    assert got.context.startswith(answer, got.at)


def test_every_shipped_excerpt_holds_its_answer_and_keeps_to_the_limit() -> None:
    for whole in read_questions(str(XQUAD)):
        got = excerpt(whole, 70)
        assert got.context in whole.context
        assert got.context.startswith(got.answers[0], got.at)
        assert whole.context.index(got.context) <= whole.at
        assert len(got.context.split()) <= 70 or excerpt(whole, 1).context == got.context
