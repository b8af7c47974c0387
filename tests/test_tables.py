"""What a person reads at the end of a run."""

from __future__ import annotations

import io

from rich.console import Console

from groupwise import tables


def test_a_reward_that_is_another_score_is_not_told_twice() -> None:
    held_out = {"examples": 3, "before": {"return": 1.0, "reward": 1.0}}
    same = tables.scores({**held_out, "after": {"return": 2.0, "reward": 2.0}})
    assert list(same.columns[0].cells) == ["return"]
    apart = tables.scores({**held_out, "after": {"return": 2.0, "reward": 3.0}})
    assert list(apart.columns[0].cells) == ["return", "reward"]
    alone = tables.scores({**held_out, "after": {"reward": 2.0}})
    assert list(alone.columns[0].cells) == ["reward"]
    assert list(tables.scores({**held_out, "after": {"correct": 2.0}}).columns[1].cells) == [""]


def test_examples_that_failed_are_not_counted_as_scored() -> None:
    """Else a mean over four episodes of ten is read as one over ten."""
    held_out = {"examples": 10, "before": {"reward": 1.0}, "after": {"reward": 2.0}}
    assert tables.scores({**held_out, "scored": [10, 10]}).title == "held-out, 10 examples"
    few = tables.scores({**held_out, "scored": [4, 5]}, ", greedy").title
    assert few == "held-out, 10 examples (scored: 4 before, 5 after), greedy"


def test_a_title_is_not_broken_by_a_narrow_table() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tables.scores({"examples": 200, "before": {}, "after": {"a": 1.0}}, ", greedy"))
    assert "held-out, 200 examples, greedy" in console.export_text()


def test_a_conversation_is_shown_by_its_turns_and_its_last_words() -> None:
    """Its first words alone are mostly the same before and after."""
    said = [{"role": r, "content": c} for r, c in (("assistant", "7"), ("user", "No."), ("assistant", "3"))]
    row = {"prompt": "?", "before": "7", "messages_before": said[:1], "after": "7 3", "messages_after": said}
    columns = tables.examples([row]).columns
    assert [list(column.cells) for column in columns] == [["?"], ["7"], ["[red]2 turns, the last: 3[/]"]]


def test_a_run_in_which_much_failed_or_nothing_could_be_learned_says_so() -> None:
    """It ends as any other, and what it left is no better than what it began with."""
    fine = [{"stopped/error": 0.02, "frac_reward_zero_std": 1.0}, {"frac_reward_zero_std": 0.5}]
    assert list(tables.doubts(fine)) == []
    assert list(tables.doubts([])) == []
    flat = [
        {"stopped/error": 0.5, "frac_reward_zero_std": 1.0},
        {"stopped/error": 0.25, "frac_reward_zero_std": 1},
    ]
    failed, silent = tables.doubts(flat)
    assert failed.startswith("38% of the answers failed and were left out")
    assert silent.startswith("In no step did answers to one prompt differ")
