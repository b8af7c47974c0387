"""Grounded rows: three kinds in their shares, whole articles held out, nothing of one side on the other."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from groupwise.rewards.grounded import NOT_TOLD
from groupwise.rewards.scoring import TrainerState, score
from groupwise.rewards.squad import normalised
from groupwise.tasks.catalogue import load
from groupwise.tasks.data import DataError
from groupwise.tasks.grounded import KINDS, XQUAD, Options, grounded, parse
from groupwise.tasks.squad import read_questions
from groupwise.tasks.task import Row, Task, as_prompt
from groupwise.trajectory import Group, PolicyTag, StopReason, Trajectory


@pytest.fixture(scope="module")
def shipped() -> Task:
    return grounded()


def test_the_shipped_data_give_so_many_rows_of_each_kind(shipped: Task) -> None:
    assert Counter(row["kind"] for row in shipped.held_out) == {
        "changed": 100,
        "untouched": 60,
        "unanswerable": 40,
    }
    assert Counter(row["kind"] for row in shipped.train) == {
        "changed": 215,
        "untouched": 129,
        "unanswerable": 86,
    }
    assert len({row["title"] for row in shipped.held_out}) == 16
    assert len({row["title"] for row in shipped.train}) == 7


@pytest.mark.parametrize("side", ["train", "held_out"])
def test_the_first_rows_are_a_mixture_and_no_row_comes_twice(shipped: Task, side: str) -> None:
    """A held-out score on 50 rows has to be one on the same mixture as that on 200."""
    rows = list(getattr(shipped, side))
    for n in range(10, len(rows) + 1, 10):
        assert Counter(r["kind"] for r in rows[:n]) == {
            "changed": n // 2,
            "untouched": n * 3 // 10,
            "unanswerable": n // 5,
        }
    assert len({(r["context"], r["question"]) for r in rows}) == len(rows)


def test_no_article_is_on_both_sides_neither_its_passage_nor_its_questions(shipped: Task) -> None:
    """An unanswerable row has passage and question of two articles: both have to be of its side."""
    article: dict[str, set[str]] = {}
    for q in read_questions(str(XQUAD)):
        article.setdefault(q.question, set()).add(q.title)
    train, held = ({row["title"] for row in side} for side in (shipped.train, shipped.held_out))
    assert train.isdisjoint(held)
    for side, titles in ((shipped.train, train), (shipped.held_out, held)):
        for row in side:
            assert row["kind"] == "changed" or article[row["question"]] & titles


def test_each_kind_is_what_it_says(shipped: Task) -> None:
    original = {(q.title, q.question): q for q in read_questions(str(XQUAD))}
    for row in [*shipped.train, *shipped.held_out]:
        words = f" {normalised(row['context'])} "
        if row["kind"] == "untouched":
            q = original[row["title"], row["question"]]
            assert row["context"] in q.context
            assert row["answer"] == list(q.answers)
            assert len(row["answer"][0].split()) <= 5
        elif row["kind"] == "unanswerable":
            assert (row["answer"], row["at"]) == ([], None)
            asked = [q for (title, text), q in original.items() if text == row["question"]]
            assert all(q.title != row["title"] for q in asked)
            assert all(f" {normalised(a)} " not in words for a in asked[0].answers)
        if row["kind"] == "changed":
            assert all(f" {normalised(old)} " not in words for old in row["old"])
        else:
            assert row["old"] is None
        if row["answer"]:
            assert row["context"].startswith(row["answer"][0], row["at"])


def test_no_answer_is_right_so_often_that_it_pays_to_know_it_by_heart(shipped: Task) -> None:
    """Few names to choose from would teach one name for every "who": a memory, where reading is meant."""
    for side in (shipped.train, shipped.held_out):
        right = Counter(row["answer"][0] for row in side if row["kind"] == "changed")
        assert right.most_common(1)[0][1] <= 0.05 * right.total()


def test_a_prompt_begins_the_answer_and_says_how_to_abstain(shipped: Task) -> None:
    row = shipped.held_out[0]
    assert f"Answer: {NOT_TOLD}\n" in row["prompt"]
    assert row["prompt"].endswith(f"\n\nText: {row['context']}\nQuestion: {row['question']}\nAnswer:")


def test_what_is_shown_is_in_no_row(shipped: Task) -> None:
    """An example about something real would be known from memory, or be asked again."""
    for side in (shipped.train, shipped.held_out):
        for row in side:
            assert not {"Velm", "Lund", "Tarn"} & set(f"{row['context']} {row['question']}".split())


def test_it_is_the_same_every_time_and_found_by_name(shipped: Task) -> None:
    again = load("grounded")
    assert list(again.held_out) == list(shipped.held_out)
    assert list(again.train) == list(shipped.train)
    assert again.measure == "gold/exact"
    assert again.max_new_tokens == 24
    assert again.temperature == 0.7
    assert again.stop == ("\n",)


def test_shares_words_and_size_are_options() -> None:
    task = grounded("words=30,changed=1,untouched=0,unanswerable=1,held_out=9")
    assert [row["kind"] for row in task.held_out] == ["changed", "unanswerable"] * 4 + ["changed"]
    assert {reward.name for reward in task.rewards} == {"exact", "f1"}
    assert {reward.name for reward in task.gold} == {
        "exact", "exact_changed", "exact_unanswerable", "not_from_memory",
    }  # fmt: skip
    long = grounded("words=200")
    assert sum(len(r["context"]) for r in long.held_out) > 1.3 * sum(
        len(r["context"]) for r in grounded().held_out
    )
    assert parse(" a.jsonl , words = 5 ,b.jsonl") == (Options(words=5), ["a.jsonl", "b.jsonl"])


# ---------------------------------------------------------------------------- scores


def scored(rows: list[Row], answers: list[str], task: Task) -> list[Trajectory]:
    groups = [
        Group(as_prompt(row, i), (Trajectory((), PolicyTag(), StopReason.FINISHED, text),))
        for i, (row, text) in enumerate(zip(rows, answers, strict=True))
    ]
    return [g.trajectories[0] for g in score(groups, task.rewards, TrainerState(), gold=task.gold).cohort]


def test_scores_of_a_kind_are_none_elsewhere_and_add_nothing(shipped: Task) -> None:
    """Gold must not pay, and the mean over rows of another kind must not be thinned by zeros."""
    rows = [next(r for r in shipped.held_out if r["kind"] == kind) for kind in KINDS]
    best = scored(rows, [*(r["answer"][0] for r in rows[:2]), NOT_TOLD], shipped)
    parts = [t.gold for t in best]
    assert [t.reward for t in best] == [1.5, 1.5, 1.5]
    for kind, own in zip(KINDS, parts, strict=True):
        assert [own[f"exact_{k}"] for k in KINDS] == [1.0 if k == kind else None for k in KINDS]
    assert [own["not_from_memory"] for own in parts] == [1.0, None, None]
    (old,) = scored(rows[:1], [f"It is {rows[0]['old'][0]}."], shipped)
    assert (old.gold["not_from_memory"], old.gold["exact_changed"], old.reward) == (0.0, 0.0, 0.0)


# ---------------------------------------------------------------------------- files of one's own


def cats(n: int, first: int = 0) -> list[dict]:
    """Articles with three questions each: a number, a phrase, and one that is not answered."""
    rows: list[dict] = []
    for i in range(first, first + n):
        own = {"title": f"t{i}", "context": f"Cat number {i + 20} sat on a red mat{i} of wool."}
        rows.append({**own, "question": f"Which number has cat {i}x?", "answers": [str(i + 20)]})
        rows.append({**own, "question": f"On what sat cat {i}x?", "answers": [f"red mat{i}"]})
    return rows


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_a_file_of_ones_own_is_split_by_article(tmp_path: Path) -> None:
    task = grounded(write(tmp_path / "cats.jsonl", cats(50)))
    sides = [{row["title"] for row in side} for side in (task.train, task.held_out)]
    assert sides[0].isdisjoint(sides[1])
    assert len(sides[1]) <= 30
    assert {row["kind"] for row in task.held_out} == set(KINDS)


def test_a_second_file_is_held_out_and_its_articles_are_not_trained_on(tmp_path: Path) -> None:
    train, test = write(tmp_path / "a.jsonl", cats(20)), write(tmp_path / "b.jsonl", cats(12, first=15))
    task = grounded(f"{train},{test}")
    assert {row["title"] for row in task.train} <= {f"t{i}" for i in range(15)}
    assert {row["title"] for row in task.held_out} <= {f"t{i}" for i in range(15, 27)}


def test_a_question_that_its_own_passage_does_not_answer_is_asked_of_that(tmp_path: Path) -> None:
    """SQuAD 2.0's hard ones: put to another passage they would be easy."""
    rows = cats(20)
    hard = [{**row, "question": "Why?", "answers": []} for row in rows[::2]]
    task = grounded(write(tmp_path / "cats.jsonl", rows + hard) + ",changed=0,untouched=1,unanswerable=3")
    why = [row for row in task.train if row["question"] == "Why?"]
    assert why
    assert {row["kind"] for row in why} == {"unanswerable"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("word=5", ["no option 'word'", "words, changed", "words=50"]),
        ("words=0", ["words=0", "from 1 on"]),
        ("changed=-1", ["changed=-1", "from 0 on"]),
        ("held_out=1.5", ["held_out=1.5"]),
        ("changed=0,untouched=0,unanswerable=0", ["above 0"]),
        ("a.jsonl,b.jsonl,c.jsonl", ["one or two files"]),
        ("nothing.jsonl", ["no file nothing.jsonl"]),
    ],
)
def test_bad_options_are_told(options: str, words: list[str]) -> None:
    with pytest.raises(DataError, match=".*".join(map(re.escape, words))):
        grounded(options)


def test_too_few_rows_are_told_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 questions to train on.*5 changed \(there are .*more articles"):
        grounded(write(tmp_path / "a.jsonl", cats(1)))
    phrases = [row for row in cats(30) if row["answers"][0].startswith("red")]
    with pytest.raises(DataError, match=r"5 changed \(there are 0\).*share of a kind to 0"):
        grounded(write(tmp_path / "b.jsonl", phrases))


def test_a_bad_row_is_told_with_its_number(tmp_path: Path) -> None:
    rows = [*cats(2), {"context": "x", "question": "y?", "answers": ["z"]}]
    with pytest.raises(DataError, match=r"a\.jsonl, row 5: its answer 'z' stands nowhere"):
        grounded(write(tmp_path / "a.jsonl", rows))
