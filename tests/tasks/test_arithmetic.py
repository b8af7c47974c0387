"""Options are read or refused with the choices, and the rewards read as people do."""

import re
from collections import Counter

import pytest

from groupwise.rewards.answers import canonical
from groupwise.tasks.arithmetic import arithmetic, correct, digits, parse
from groupwise.tasks.sums import Options


def expression(row: dict) -> str:
    return row["prompt"][-1]["content"].removesuffix(" = ")


def operands(row: dict) -> tuple[int, ...]:
    return tuple(sorted(map(int, re.findall("[0-9]+", expression(row)))))


def test_a_range_of_digits_mixes_them_in_equal_parts() -> None:
    """Each row says its kind, rows of one kind are those of its own task, and the sides stay apart."""
    task = arithmetic("digits=1-3,ops=+-,held_out=30")
    kinds = [task.train[i]["kind"] for i in range(300)]
    assert Counter(kinds) == {"1-digit": 100, "2-digit": 100, "3-digit": 100}
    for side in (task.train, task.held_out):
        for i in range(60):
            digits = int(side[i]["kind"][0])
            assert all(len(n) == digits for n in re.findall("[0-9]+", expression(side[i])))
            assert side[i]["answer"] == str(eval(expression(side[i])))
    alone = arithmetic("digits=2,ops=+-,held_out=30")
    assert [expression(task.train[3 * i + 1]) for i in range(50)] == [
        expression(alone.train[i]) for i in range(50)
    ]
    known = {operands(task.train[i]) for i in range(2000)}
    assert not known & {operands(task.held_out[i]) for i in range(len(task.held_out))}
    assert task.max_new_tokens == arithmetic("digits=3,ops=+-").max_new_tokens
    with pytest.raises(ValueError, match=r"digits=3-1: a range rises"):
        arithmetic("digits=3-1")
    with pytest.raises(IndexError):
        task.train[len(task.train)]


def test_options_are_read_with_their_defaults() -> None:
    assert parse("") == Options(digits=2, ops="+", terms=2, held_out=500)
    assert parse(" digits=3, ops=+-* ,held_out=7") == Options(3, "+-*", 2, 7)
    assert arithmetic("ops=-").name == "arithmetic:ops=-"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("digit=2", ["'digit'", "digits, ops, terms, held_out"]),
        ("digits=0", ["digits=0", "1 to 9"]),
        ("digits=two", ["digits=two", "whole number"]),
        ("digits=", ["digits=:", "whole number"]),
        ("digits", ["digits=:", "whole number"]),
        ("terms=1", ["terms=1", "2 to 6"]),
        ("ops=/", ["ops=/", "+ - *"]),
        ("ops=++", ["ops=++", "each once"]),
        ("ops=", ["ops=", "+ - *"]),
        ("digits=2,digits=3", ["digits", "twice"]),
        ("digits=1,held_out=51", ["held_out=51", "1 to 50"]),
        ("held_out=0", ["held_out=0", "1 to 4050"]),
    ],
)
def test_a_bad_option_is_told_with_the_choices(options: str, words: list[str]) -> None:
    with pytest.raises(ValueError, match=".*".join(map(re.escape, words))):
        arithmetic(options)


# ---------------------------------------------------------------------------- rewards


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("46", "46"),
        (" 46\n", "46"),
        ("+46", "46"),
        ("= 46", "46"),
        ("046", "46"),
        ("1,234", "1234"),
        ("1 234", "1234"),
        ("1234.", "1234"),
        ("-7", "-7"),
        ("- 7", "-7"),
        ("\u22127", "-7"),
        ("12 + 34 = 46", "46"),
        ("12+34=46", "46"),
        ("5-12=-7", "-7"),
        ("The answer is **46**.", "46"),
        ("First 40, then 6: 46", "46"),
        ("46.0", "46"),
        ("0", "0"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_an_answer_counts_however_it_is_written(text: str, answer: str) -> None:
    assert correct([text], [answer]) == [1.0]
    assert correct([[{"role": "assistant", "content": text}]], [answer]) == [1.0]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "46"),
        ("forty-six", "46"),
        ("47", "46"),
        ("-46", "46"),
        ("46 or 47", "46"),
        ("4 6", "46"),
        ("4,6", "46"),
        ("1 234", "234"),
        ("146", "46"),
        ("3.46", "46"),
        ("7", "-7"),
        ("12-7", "-7"),
        ("9" * 5000, "46"),
        ("= " + " " * 100_000 + "x", "46"),
    ],
)
def test_a_wrong_answer_does_not_count(text: str, answer: str) -> None:
    assert correct([text], [answer]) == [0.0]


def test_each_completion_is_held_against_its_own_answer() -> None:
    assert correct(["1", "2", "3"], ["1", "3", "3"], prompts=["?"] * 3) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "answer", "share"),
    [
        ("123", "123", 1.0),
        ("= 123", "123", 1.0),
        ("129", "123", 2 / 3),
        ("321", "123", 1 / 3),
        ("999", "123", 0.0),
        ("12", "123", 0.0),
        ("1234", "123", 0.0),
        ("-12", "-13", 0.5),
        ("12", "-12", 0.0),
        ("-12", "123", 0.0),
        ("no", "12", 0.0),
    ],
)
def test_digits_counts_those_in_their_place(text: str, answer: str, share: float) -> None:
    assert digits([text], [answer]) == [pytest.approx(share)]


def test_the_right_number_weighs_most_and_is_what_a_run_is_judged_by() -> None:
    weights = {r.name: r.weight for r in arithmetic().rewards}
    assert weights == {"correct": 1.0, "digits": 0.5, "alone": 0.2}
    assert arithmetic().measure == "correct"


def test_canonical_has_one_spelling_for_each_value() -> None:
    same = ["1,000", "1000", "1000.0", "01000.00", "1 000"]
    assert {canonical(number) for number in same} == {"1000"}
    assert canonical(".5") == canonical("0.50") == "0.5"
    assert canonical("-0.0") == "0"
