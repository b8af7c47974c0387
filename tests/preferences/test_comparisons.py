"""Rows of preferences: every shape that is read, and what happens to every odd one."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from groupwise.preferences.comparisons import Comparison, comparison, drawn, read, split
from groupwise.preferences.losses import Order
from groupwise.tasks.data import DataError

HI = "\n\nHuman: Hi\n\nAssistant: "


def made(**row: Any) -> Comparison:
    found = comparison(row)
    assert isinstance(found, Comparison)
    return found


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": f"{HI}good", "rejected": f"{HI}bad \n"},
        {"prompt": "Hi", "chosen": "good", "rejected": " bad"},
        {"prompt": HI, "chosen": "good", "rejected": "bad"},
        {"prompt": [user("Hi")], "chosen": "good", "rejected": "bad"},
        {"prompt": [user("Hi")], "chosen": [assistant("good")], "rejected": [assistant("bad")]},
        {"prompt": "Hi", "chosen": [assistant("good")], "rejected": [assistant("bad")]},
        {"chosen": [user("Hi"), assistant("good")], "rejected": [user("Hi"), assistant("bad")]},
        {"prompt": "Hi"}
        | {"chosen": [user("Hi"), assistant("good")], "rejected": [user("Hi"), assistant("bad")]},
        {"prompt": "Hi", "ranking": ["good", "bad"]},
        {"prompt": "Hi", "ranking": [["good"], [[assistant("bad")]]], "chosen": None},
    ],
)
def test_every_shape_of_a_row_is_the_same_dialogue(row: dict[str, Any]) -> None:
    """Else what one file teaches would not hold for prompts that come as messages."""
    assert made(**row) == Comparison((f"{HI}good", f"{HI}bad"), Order((1, 1)), "\n\nHuman: Hi")


def test_tied_answers_are_one_block_and_equal_ones_in_it_one_answer() -> None:
    found = made(prompt="Hi", ranking=["a", ["b", "c", "b"], "d"])
    assert found.texts == tuple(HI + x for x in "abcd")
    assert found.order == Order((1, 2, 1))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": f"{HI}a", "rejected": f"{HI}a "}, "equal sides"),
        ({"prompt": "Hi", "chosen": "a", "rejected": "a"}, "equal sides"),
        ({"prompt": "Hi", "ranking": [["a", "b"]] * 2}, "an answer in two places"),
        ({"prompt": "Hi", "ranking": ["a", ["b", "a"]]}, "an answer in two places"),
        ({"prompt": "Hi", "ranking": [["a", "b"]]}, "all answers tied"),
        ({"prompt": "Hi", "ranking": [["a", "a"]]}, "all answers tied"),
    ],
)
def test_rows_that_say_nothing_are_left_out_by_name(row: dict[str, Any], reason: str) -> None:
    assert comparison(row) == reason


def test_an_empty_answer_to_a_prompt_is_an_answer() -> None:
    assert made(prompt="Hi", chosen="a", rejected="").texts[1] == HI.rstrip()


def test_a_margin_is_kept() -> None:
    assert made(prompt="Hi", chosen="a", rejected="b", margin=2).order.margin == 2.0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "Hi", "chosen": "a"}, "no rejected"),
        ({"text": "Hi"}, "it has text, and no chosen"),
        ({"prompt": "Hi", "ranking": ["a", "b"], "chosen": "c"}, "a ranking and chosen"),
        ({"ranking": ["a", "b"]}, "a ranking without a prompt"),
        ({"prompt": "Hi", "ranking": ["a"]}, "list 2 answers or more"),
        ({"prompt": "Hi", "ranking": "ab"}, "its ranking is 'ab'"),
        ({"prompt": "Hi", "ranking": ["a", "b", []]}, "an empty place"),
        ({"prompt": "Hi", "ranking": [["a"]]}, "list 2 answers or more"),
        ({"prompt": "Hi", "ranking": ["a", 3]}, "one of its answers is 3"),
        ({"prompt": "Hi", "ranking": ["a", "b"], "margin": 1}, "a margin, which is for pairs"),
        ({"prompt": "Hi", "chosen": "a", "rejected": "b", "margin": -1}, "its margin is -1"),
        ({"prompt": "Hi", "chosen": "a", "rejected": "b", "margin": "big"}, "its margin is 'big'"),
        ({"prompt": "Hi", "chosen": "a", "rejected": "b", "margin": float("nan")}, "its margin is nan"),
        ({"prompt": "Hi", "chosen": "a", "rejected": "b", "margin": True}, "its margin is True"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "one of its texts is empty"),
        ({"chosen": " ", "rejected": "b"}, "one of its texts is empty"),
        ({"chosen": 1, "rejected": "b"}, "it has 1 where a text or messages"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, r"it has \[\] where"),
        ({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "where a text or messages"),
        ({"prompt": [{"role": "tool", "content": "x"}], "chosen": "a", "rejected": "b"}, "the role 'tool'"),
        ({"prompt": "Hi", "chosen": "a\ud800", "rejected": "b"}, "half a surrogate pair at character 2"),
    ],
)
def test_a_row_that_is_no_preference_is_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        comparison(row)


def test_a_file_is_read_with_its_odd_rows_counted(tmp_path: Path) -> None:
    rows = [
        {"chosen": f"{HI}a", "rejected": f"{HI}b"},
        {"chosen": f"{HI}a", "rejected": f"{HI}a"},
        {"chosen": "a text", "rejected": "another"},
    ]
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    found = read(str(path))
    assert (len(found.comparisons), found.excluded, found.bare) == (2, Counter({"equal sides": 1}), 1)


def test_an_error_names_file_and_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"chosen": "a", "rejected": "b"}\n{"chosen": "a"}\n')
    with pytest.raises(DataError, match=re.escape(f"{path}, row 2: it has chosen, and no rejected")):
        read(str(path))
    path.write_text('{"chosen": "a", "rejected": "a"}\n')
    with pytest.raises(DataError, match=r"of 1 rows none can be learned from.*equal sides"):
        read(str(path))


def test_the_same_prompt_is_never_on_both_sides() -> None:
    """Nor are two moments of the same conversation: the model would have read most of it."""
    found = [made(prompt=f"question {i // 4}", chosen="a", rejected=f"b{i}") for i in range(80)]
    later = f"\n\nHuman: question 3\n\nAssistant: a\n\nHuman: and then?\n\nAssistant: c{0}"
    found.append(made(chosen=later, rejected=f"{later} or d"))
    train, kept = split(found, 100, seed=0)
    assert len(train) + len(kept) == 81
    assert 0 < len(kept) <= 81 // 5
    assert not {c.opening for c in train} & {c.opening for c in kept}
    assert split(found[::-1], 100, seed=0)[1][0].opening == kept[0].opening


def test_comparisons_of_one_prompt_cannot_be_split() -> None:
    found = [made(prompt="Hi", chosen="a", rejected=f"b{i}") for i in range(9)]
    with pytest.raises(DataError, match="9 comparisons with 1 distinct prompt"):
        split(found, 2, seed=0)


def test_drawing_takes_each_once_and_depends_on_the_seed() -> None:
    found = [made(prompt=f"{i}", chosen="a", rejected="b") for i in range(9)]
    assert len(set(drawn(found, 5, seed=1))) == 5
    assert drawn(found, 5, seed=1) == drawn(found, 5, seed=1) != drawn(found, 5, seed=2)
    assert len(drawn(found, 50, seed=1)) == 9
