"""The sums are right, and no held-out question can be known from training."""

import re
from collections import Counter

import numpy as np
import pytest

from groupwise.tasks.arithmetic import arithmetic, parse
from groupwise.tasks.sums import CUT, messages, side_of

LISTED = ["", "digits=1", "ops=+-*", "digits=1,terms=3,ops=+-", "digits=3,ops=+-*", "digits=2,terms=3"]
DRAWN = ["digits=4", "digits=3,terms=3,ops=+-*", "digits=9,terms=6,ops=+-*"]
FIRST_LISTED = ["99 + 11", "21 + 63", "46 + 58"]
FIRST_DRAWN = ["9498 + 8732", "1417 + 1131", "6299 + 3320"]


def expression(row: dict) -> str:
    return row["prompt"][-1]["content"].removesuffix(" = ")


def operands(row: dict) -> tuple[int, ...]:
    return tuple(sorted(map(int, re.findall("[0-9]+", expression(row)))))


@pytest.mark.parametrize("options", LISTED + DRAWN)
def test_the_answer_is_the_value_of_the_expression(options: str) -> None:
    task = arithmetic(options)
    for rows in (task.train, task.held_out):
        for i in range(0, len(rows), len(rows) // 20):
            assert re.fullmatch(r"[0-9]+( [+*-] [0-9]+)+", expression(rows[i]))
            assert rows[i]["answer"] == str(eval(expression(rows[i])))


def test_two_digits_are_all_pairs_once() -> None:
    task = arithmetic()
    counts = Counter(expression(row) for side in (task.train, task.held_out) for row in side)
    assert counts == Counter({f"{a} + {b}": 1 for a in range(10, 100) for b in range(10, 100)})
    assert 500 <= len(task.held_out) <= 501, "a pair and its mirror go together"


def test_each_pair_comes_with_each_operation() -> None:
    task = arithmetic("digits=1,ops=+-*")
    rows = [expression(row) for side in (task.train, task.held_out) for row in side]
    assert sorted(rows) == sorted(f"{a} {op} {b}" for a in range(10) for b in range(10) for op in "+-*")


@pytest.mark.parametrize("options", ["", "ops=+-*", "digits=1,terms=3,ops=+-", "digits=2,terms=3"])
def test_no_operands_are_on_both_sides_in_any_order(options: str) -> None:
    task = arithmetic(options)
    known = {operands(task.train[i]) for i in range(min(len(task.train), 20_000))}
    assert known.isdisjoint(operands(row) for row in task.held_out)


@pytest.mark.parametrize("options", DRAWN)
def test_no_drawn_operands_are_on_both_sides(options: str) -> None:
    """There are too many to compare: the rule of the sides is applied to each again, operands reversed."""
    task = arithmetic(options)
    for rows, side in ((task.train, False), (task.held_out, True)):
        numbers = np.array([operands(rows[i])[::-1] for i in range(200)], dtype=np.uint64)
        assert ((side_of(numbers) < CUT) == side).all()


def test_the_side_of_a_pair_does_not_depend_on_the_operations() -> None:
    """So that a policy trained on + may be judged on -."""
    sides = [{operands(row) for row in arithmetic(o).held_out} for o in ("", "ops=*", "ops=+-*")]
    assert sides[0] == sides[1] == sides[2]


@pytest.mark.parametrize("options", LISTED + DRAWN)
def test_rows_are_a_function_of_the_index(options: str) -> None:
    one, other = arithmetic(options), arithmetic(options)
    backwards = [other.train[i] for i in reversed(range(50))]
    assert [one.train[i] for i in range(50)] == backwards[::-1]
    assert [one.held_out[i] for i in range(20)] == list(other.held_out[:20])


def test_the_rows_do_not_change_between_versions() -> None:
    """A score is comparable only while the held-out rows stay the same: these were the first ones."""
    assert [expression(row) for row in arithmetic().held_out[:3]] == FIRST_LISTED
    assert [expression(row) for row in arithmetic("digits=4").held_out[:3]] == FIRST_DRAWN


def test_the_first_held_out_rows_are_a_fair_sample() -> None:
    """Mean operand of the first 100: 54.5 +- 1.84 by chance; five deviations are allowed."""
    numbers = [n for row in arithmetic().held_out[:100] for n in operands(row)]
    assert abs(sum(numbers) / len(numbers) - 54.5) < 5 * 1.84
    ops = Counter(expression(row).split()[1] for row in arithmetic("ops=+-*").held_out[:150])
    assert min(ops[op] for op in "+-*") > 20, "50 +- 5.8 by chance"


@pytest.mark.parametrize("options", ["digits=3,ops=+-*", "digits=4", "digits=5,terms=3"])
def test_drawn_operands_are_even_over_their_range(options: str) -> None:
    """1000 rows, mean operand within five deviations of the middle of its range."""
    task = arithmetic(options)
    chosen = parse(options)
    numbers = [n for i in range(1000) for n in operands(task.train[i])]
    assert chosen.lowest <= min(numbers)
    assert max(numbers) < chosen.lowest + chosen.span
    deviation = chosen.span / (12 * len(numbers)) ** 0.5
    assert abs(sum(numbers) / len(numbers) - chosen.lowest - chosen.span / 2) < 5 * deviation


def test_rows_behave_as_a_sequence() -> None:
    rows = arithmetic("digits=1").train
    assert rows[-1] == rows[len(rows) - 1]
    assert list(rows[2:4]) == [rows[2], rows[3]]
    assert len(list(rows)) == len(rows)
    with pytest.raises(IndexError):
        rows[len(rows)]


def test_held_out_is_as_large_as_asked_and_a_fifth_by_default() -> None:
    assert len(arithmetic("held_out=1000").held_out) >= 1000
    assert 20 <= len(arithmetic("digits=1").held_out) <= 21
    assert len(arithmetic("digits=6,held_out=50").held_out) == 50


def test_the_question_is_put_as_chat_messages() -> None:
    """The last message is the beginning of the answer."""
    assert [m["role"] for m in messages("1 + 2")] == ["system", "user", "assistant"]
    assert [m["content"] for m in messages("1 + 2")[1:]] == ["1 + 2", "1 + 2 = "]
