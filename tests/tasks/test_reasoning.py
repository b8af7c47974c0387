"""Puzzles by name: rows, what is held out, options and what is wrong with them, and scoring apart."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("reasoning_gym")

from groupwise.rewards.scoring import TrainerState, score
from groupwise.tasks.catalogue import load
from groupwise.tasks.data import DataError
from groupwise.trajectory import Group, Prompt
from judged import answer

SMALL = "reasoning-gym:gcd,size=40,held_out=10"


def test_a_puzzle_by_name_has_rows_and_holds_some_out() -> None:
    task = load(SMALL)
    asked = [str(row["prompt"]) for row in task.train]
    assert len(task.held_out) == 10
    assert 30 < len(asked) <= 40
    assert not {str(row["prompt"]) for row in task.held_out} & set(asked)
    assert (task.name, task.measure) == (SMALL, "solved")


def test_rows_are_a_function_of_the_options() -> None:
    """A resumed run makes them again."""
    assert list(load(SMALL).train) == list(load(SMALL).train)
    assert list(load(SMALL).train) != list(load(f"{SMALL},seed=7").train)


def test_a_puzzles_own_options_are_passed_on() -> None:
    task = load(
        "reasoning-gym:chain_sum,size=20,held_out=5,min_terms=2,max_terms=2,min_digits=1,max_digits=1"
    )
    assert all(row["entry"]["metadata"]["difficulty"]["num_terms"] == (2, 2) for row in task.train)
    assert load(f"{SMALL},partial=true").measure == "progress"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("reasoning-gym", "no puzzle ''"),
        ("reasoning-gym:gdc", "Did you mean gcd"),
        ("reasoning-gym:composite", "no puzzle 'composite'"),
        ("reasoning-gym:gcd,terms=3", "no option 'terms': choose from size, held_out"),
        ("reasoning-gym:gcd,min_numbers=50", "refuses its options"),
        ("reasoning-gym:gcd,size=0", "whole number from 1"),
        ("reasoning-gym:gcd,size", "has no value"),
    ],
)
def test_mistakes_are_named(spec: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(spec)


@pytest.mark.parametrize("puzzle", ["n_queens", "countdown"])  # one by eval, one by sympy
def test_an_answer_that_is_code_reaches_nothing(puzzle: str, tmp_path: Path) -> None:
    """Their own rules evaluate it. Most code is refused as it is written; what is not meets the lock."""
    task = load(f"reasoning-gym:{puzzle},size=2,held_out=1")
    row, (reward,) = task.train[0], task.rewards
    file = tmp_path / "made"
    answers = (
        f"__import__('os').system('touch {file}')",
        f"exec('open({str(file)!r}, \"w\")')",
        f"[*map(open, ['{file}'], 'w')]",  # read by no rule of ours
        row["answer"],
    )
    given = {"completions": [f"<answer>{a}</answer>" for a in answers], "entry": [row["entry"]] * 4}
    values = reward.function(prompts=["?"] * 4, completion_ids=[[0]] * 4, **given)
    reward.function.pool.close()  # type: ignore[attr-defined]
    assert values == [0.0, 0.0, 0.0, 1.0]
    assert not file.exists()


def test_the_wall_may_be_left_away() -> None:
    """On a machine that has none; and only if asked."""
    for unsafe in (False, True):
        (reward,) = load(SMALL, allow_unsafe_code=unsafe).rewards
        assert reward.function.pool.locked is not unsafe  # type: ignore[attr-defined]


def test_answers_are_scored_in_workers(capfd: Any) -> None:
    task = load(SMALL)
    row = task.held_out[0]
    prompt = Prompt(0, row["prompt"], {k: v for k, v in row.items() if k != "prompt"})
    right = answer(f"I reckon so.\n<answer>{row['answer']}</answer>")
    scored = score([Group(prompt, (right, answer("zzz"), answer("")))], task.rewards, TrainerState())
    task.rewards[0].function.pool.close()  # type: ignore[attr-defined]
    assert [t.reward for t in scored.cohort[0].trajectories] == [1.0, 0.0, 0.0]
