"""Rows of code become tasks, or say which row and column is at fault before anything is run."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from groupwise.rewards.scoring import TrainerState, score
from groupwise.sandbox import Limits, Sandbox, UnsafeError, choice
from groupwise.tasks import code as code_module
from groupwise.tasks.catalogue import load
from groupwise.tasks.code import code
from groupwise.tasks.data import DataError
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory

SMALL = Path(__file__).parents[1] / "data" / "code_small.jsonl"
ROWS = [json.loads(line) for line in SMALL.read_text().splitlines()]
SHIPPED = Path(__file__).parents[2] / "examples" / "functions.jsonl"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits(seconds=2.0), workers=1) as made:
        yield made


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_rows_of_all_kinds_become_questions_and_keep_their_tests(sandbox: Sandbox) -> None:
    task = code(str(SMALL), sandbox=sandbox)
    rows = [*task.train, *task.held_out]
    assert (len(rows), len(task.held_out), task.measure) == (6, 1, "tests")
    texts = {row["prompt"][0]["content"]: row for row in rows}
    function = next(row for text, row in texts.items() if "def half" in text)
    assert function["given"] == ROWS[1]["prompt"]
    tested = next(text for text in texts if "vowels" in text)
    assert "assert vowels('banana') == ['a', 'a', 'a']" in tested
    assert "xyz" not in tested
    program = next(text for text in texts if "backwards" in text)
    assert "standard input" in program


def test_the_examples_pass_their_own_tests_and_an_empty_body_fails_them(sandbox: Sandbox) -> None:
    """Each of the rows that the README trains on can be earned, and not by doing nothing."""
    task = code(str(SHIPPED), sandbox=sandbox)
    rows = [*task.train, *task.held_out]
    assert (len(rows), len(task.held_out)) == (72, 14)
    for body, passed in (("canonical_solution", 1.0), (None, 0.0)):
        answers = [row["given"] + (row[body] if body else "    return None") for row in rows]
        columns = {name: [row[name] for row in rows] for name in ("given", "test", "entry_point")}
        tests = task.rewards[0].function
        values = tests(prompts=rows, completions=[f"```python\n{text}\n```" for text in answers], **columns)
        assert values == [passed] * 72


def test_a_task_scores_answers_to_its_own_questions(sandbox: Sandbox) -> None:
    """The whole way of the trainer: messages in, columns by name, two parts out."""
    task = code(str(SMALL), sandbox=sandbox)
    groups = []
    for i, row in enumerate(task.train):
        solution = row.get("code") or row["canonical_solution"]
        prompt = Prompt(i, row["prompt"], {k: v for k, v in row.items() if k != "prompt"})
        texts = (f"```python\n{solution}\n```", "pass")
        answers = (Trajectory((), PolicyTag(), StopReason.FINISHED, text=text) for text in texts)
        groups.append(Group(prompt, tuple(answers)))
    scored = score(groups, task.rewards, TrainerState())
    assert [[t.reward for t in g.trajectories] for g in scored.cohort] == [[1.1, 0.0]] * 5


def test_two_files_are_train_and_held_out(tmp_path: Path, sandbox: Sandbox) -> None:
    train, test = write(tmp_path / "a.jsonl", *ROWS), write(tmp_path / "b.jsonl", *ROWS[4:])
    task = code(f"{train},{test}", sandbox=sandbox)
    assert (len(task.train), len(task.held_out)) == (4, 2)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "x"}, ["no tests", "prompt", "test_list (MBPP)"]),
        ({"prompt": "x", "answer": "1", "test": None}, ["no tests", "prompt, answer"]),
        ({"question": "x"}, ["no column prompt"]),
        ({"prompt": [{"role": "user", "content": "x"}], "test_list": ["assert 1"]}, ["list of messages"]),
        (ROWS[0] | {"entry_point": ""}, ["no text in the column entry_point"]),
        (ROWS[0] | {"entry_point": "a b"}, ["column entry_point", "'a b' is no name"]),
        (ROWS[0] | {"test": "def check(candidate)\n"}, ["column test is no Python", "line 1"]),
        (ROWS[0] | {"test": "assert 1"}, ["column test defines no check"]),
        (ROWS[0] | {"prompt": "Write a function."}, ["column prompt", "is no Python"]),
        (ROWS[2] | {"test_list": "assert f()"}, ["column test_list", "no list of texts"]),
        (ROWS[2] | {"test_list": []}, ["column test_list", "no list of texts"]),
        (
            ROWS[2] | {"test_list": ["assert f() == 1", "assert f("]},
            ["column test_list, text 2 is no Python"],
        ),
        (ROWS[2] | {"test_imports": ["import"]}, ["column test_imports, text 1 is no Python"]),
        (ROWS[4] | {"outputs": ["6"]}, ["2 inputs and 1 outputs"]),
        (ROWS[4] | {"inputs": ["6", 5]}, ["column inputs, 2", "5 is no text"]),
        ({k: v for k, v in ROWS[4].items() if k != "outputs"}, ["column outputs", "None is no list"]),
    ],
)
def test_a_bad_row_is_told_with_its_number(tmp_path: Path, row: dict[str, Any], words: list[str]) -> None:
    source = write(tmp_path / "a.jsonl", ROWS[2], row)
    with pytest.raises(DataError, match="(?s)" + ".*".join(map(re.escape, ["a.jsonl, row 2", *words]))):
        code(source)


@pytest.mark.parametrize("options", ["", "a.jsonl,", "a,b,c"])
def test_one_or_two_files_are_taken(options: str) -> None:
    with pytest.raises(DataError, match=r"one or two files.*code:train\.jsonl,test\.jsonl"):
        code(options)


def test_the_catalogue_hands_the_flag_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(code_module, "Sandbox", lambda allow_unsafe: asked.append(allow_unsafe))
    load(f"code:{SMALL}")
    load(f"code:{SMALL}", allow_unsafe_code=True)
    assert asked == [False, True]


def test_a_machine_without_walls_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "bubblewrapped", list)
    monkeypatch.setattr(
        choice, "_fault", lambda backend, report: "still open: files" if backend.strict else ""
    )
    with pytest.raises(
        UnsafeError, match=r"cannot be run safely here.*still open: files.*--allow-unsafe-code"
    ):
        load(f"code:{SMALL}")
