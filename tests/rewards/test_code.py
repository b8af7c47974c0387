"""What an answer earns: by its tests, by its form, and nothing by its claims."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from groupwise.rewards.code import LONGEST, code_of, code_rewards, passing, program_of, well_formed
from groupwise.rewards.scoring import Failed
from groupwise.sandbox import Job, Limits, Reason, Sandbox, Verdict

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "code_small.jsonl").read_text().splitlines()
]
HUMANEVAL, HALF, MBPP, CIRCLE, SUM, BACKWARDS = ROWS


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits(seconds=2.0), workers=1) as made:
        yield made


def columns(*rows: dict[str, Any]) -> dict[str, list[Any]]:
    """As the trainer hands them over: every column of every row, None where a row has it not."""
    names = {name: None for row in rows for name in row if name != "prompt"}
    return {"prompts": [row["prompt"] for row in rows], **{n: [r.get(n) for r in rows] for n in names}}


def earned(sandbox: Sandbox, row: dict[str, Any], *answers: str, **options: Any) -> list[float | None]:
    return passing(sandbox, **options)(completions=list(answers), **columns(*[row] * len(answers)))


def fenced(code: str) -> str:
    return f"Here it is:\n\n```python\n{code}\n```\nThat is all."


def test_every_kind_of_row_rewards_its_own_solution(sandbox: Sandbox) -> None:
    """All kinds in one call: columns of the other rows are None and must not be taken for tests."""
    solutions = [row.get("canonical_solution") or fenced(row["code"]) for row in ROWS]
    assert passing(sandbox)(completions=solutions, **columns(*ROWS)) == [1.0] * 6
    assert well_formed(sandbox)(completions=solutions, **columns(*ROWS)) == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_tests_passed_are_a_share_or_all_or_nothing(sandbox: Sandbox) -> None:
    answers = [
        "def vowels(word):\n    return list(word)",
        "def vowels(w):\n    return [c for c in w if c in 'aeiou']",
    ]
    assert earned(sandbox, MBPP, *answers) == [1 / 3, 1.0]
    assert earned(sandbox, MBPP, *answers, all_or_nothing=True) == [0.0, 1.0]


@pytest.mark.parametrize(
    "answer",
    [
        "    return [double(n) for n in numbers]",
        "return [2 * n for n in numbers]",
        fenced("    return [double(n) for n in numbers]"),
        fenced("def double_all(numbers: List[int]) -> List[int]:\n    return [double(n) for n in numbers]"),
        fenced(HUMANEVAL["prompt"] + HUMANEVAL["canonical_solution"]),
        "```\ndouble_all = lambda numbers: [2 * n for n in numbers]\n```",
        "    return [double(n) for n in numbers]\n\n\nprint(double_all([1]))\nexit()",
        "```py\nx = 1\n```\nin full:\n```python\ndef double_all(ns):\n    return [2 * n for n in ns]\n```",
        "def double_all(numbers):\n    return [n + n for n in numbers]",
    ],
)
def test_a_function_may_be_given_whole_or_as_its_body(answer: str, sandbox: Sandbox) -> None:
    assert earned(sandbox, HUMANEVAL, answer) == [1.0]


def test_a_conversation_is_answered_by_its_last_message(sandbox: Sandbox) -> None:
    row = HUMANEVAL | {"prompt": [{"role": "user", "content": "?"}], "given": HUMANEVAL["prompt"]}
    answer = [
        {"role": "assistant", "content": fenced("def double_all(ns):\n    return [double(n) for n in ns]")}
    ]
    got = passing(sandbox)(completions=[answer], **columns(row))
    assert got == [1.0]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I do not know.",
        "    pass",
        fenced("raise SystemExit(0)"),
        fenced("import os\nos._exit(0)"),
        fenced("print('All tests passed')"),
        fenced("class E:\n    def __eq__(self, o): return True\ndef double_all(n): return E()"),
        fenced("def check(candidate): pass\ndef double_all(n): return 0"),
        "x" * (LONGEST + 1),
        fenced("("),
    ],
)
def test_what_solves_nothing_earns_nothing(answer: str, sandbox: Sandbox) -> None:
    assert earned(sandbox, HUMANEVAL, answer) == [0.0]


def test_a_row_without_tests_is_not_judged(sandbox: Sandbox) -> None:
    assert passing(sandbox)(prompts=["x"], completions=["y"]) == [None]


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (fenced("def f(): return 1"), 1.0),
        ("def f(): return 1", 0.0),
        (fenced("def f(:"), 0.0),
        ("```python\ndef f(): pass", 0.0),
        (fenced("x = " + "(" * 5000), 0.0),
        (fenced("while True: pass"), 1.0),
    ],
)
def test_the_format_is_a_fenced_block_of_python(answer: str, value: float, sandbox: Sandbox) -> None:
    assert well_formed(sandbox)(completions=[answer], **columns(MBPP)) == [value]


def test_reasons_are_logged(sandbox: Sandbox) -> None:
    metrics: dict[str, float] = {}
    extra: dict[str, list[str]] = {}
    passing(sandbox)(
        completions=["def vowels(w): return 1", "while True: pass", "def vowels(w", "x"],
        log_metric=metrics.__setitem__,
        log_extra=extra.__setitem__,
        **columns(*[MBPP] * 4),
    )
    assert metrics == {"code/failed_tests": 0.25, "code/timeout": 0.25, "code/not_python": 0.25} | {
        "code/raised_before_the_tests": 0.25
    }
    assert extra["verdict"] == [
        "0/3 failed tests",
        "0/3 timeout",
        "0/3 not Python",
        "0/3 raised before the tests",
    ]


def test_the_parts_have_names_and_weights(sandbox: Sandbox) -> None:
    parts = code_rewards(sandbox, format_weight=0.2)
    assert [(part.name, part.weight) for part in parts] == [("tests", 1.0), ("format", 0.2)]


def test_the_longest_block_is_the_code() -> None:
    assert code_of("no block") == "no block"
    assert code_of("```\na\n```\n```python\nb = 1\n```") == "b = 1\n"


def test_a_body_ends_where_the_indentation_does() -> None:
    got = program_of({"given": "def f():\n", "entry_point": "f"}, "    return 1\n\nprint('x')\n    y")
    assert got == "def f():\n    return 1\n\n"


@pytest.mark.parametrize("line", ["```python\n", "``` a\n", "```\n", "```" + " " * 99_000 + "!"])
def test_fences_that_nothing_closes_are_read_once(line: str) -> None:
    """Sought by one pattern, 100 kB of them took the trainer half a minute."""
    began = time.monotonic()
    code_of(line * (100_000 // len(line)))
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("reward", [passing, well_formed])
def test_a_sandbox_that_is_gone_is_no_verdict_on_the_answer(reward: Any) -> None:
    """Worth 0, an answer would be blamed for a machine without memory, and its siblings praised."""

    class Gone:
        def run(self, jobs: list[Job]) -> list[Verdict]:
            return [Verdict(0, 1, Reason.SANDBOX, "the fork server has ended") for _ in jobs]

    got = reward(Gone())(completions=[fenced("def vowels(w): return 1")], **columns(MBPP))
    assert got == [Failed("sandbox: the fork server has ended")]
