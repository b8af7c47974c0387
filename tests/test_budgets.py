"""From flags to groups: what each sets, and what is said when they do not go together."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import tiny_folder
from groupwise import advantages, losses
from groupwise.budgets import check_learnable, grouping_of, suited
from groupwise.config import build, outlook
from groupwise.groups import Grouping, by_spread, drawn, extremes, knapsack, seldom, top, uniform
from groupwise.recipes import DAPO, DR_GRPO, GRPO, RECIPES, RLOO
from groupwise.settings import ConfigError, Settings, completed
from groupwise.tasks.task import Task

DATA = "rows.jsonl"


def settings(**given: Any) -> Settings:
    size = {} if "answers" in given else {"group_size": 16}
    return completed(Settings(**{"task": DATA, "recipe": "rloo", "prompts": 8, **size, **given}))


def grouping(**given: Any) -> Grouping:
    return grouping_of(settings(**given))


# ---------------------------------------------------------------------------- what each sets


def test_without_flags_groups_are_as_they_always_were() -> None:
    assert grouping() == Grouping(16)
    assert suited(RLOO, grouping(), settings()) is RLOO
    assert suited(GRPO, grouping(), settings(recipe="grpo")) is GRPO


def test_every_flag_has_its_place() -> None:
    assert grouping(sizes="variance") == Grouping(16, None, by_spread, 4, 32)
    assert grouping(sizes="knapsack", min_group=2, max_group=24) == Grouping(16, None, knapsack(), 2, 24)
    got = grouping(answers=100, resample=3, skip_solved=True, kind="level")
    assert got == Grouping(12, 100, uniform, resample=3, skip=seldom(), kind="level")


@pytest.mark.parametrize("how", [{"sizes": "variance"}, {"answers": 100}])
def test_where_sizes_differ_every_prompt_counts_alike(how: dict[str, Any]) -> None:
    s = settings(**how)
    assert suited(RLOO, grouping_of(s), s) == replace(RLOO, weigh=losses.each_group_alike(RLOO.weigh))
    assert suited(DR_GRPO, grouping_of(s), s).weigh == losses.each_group_alike(DR_GRPO.weigh)


@pytest.mark.parametrize(
    ("train_on", "wrapped"),
    [
        ("8", extremes(advantages.leave_one_out, 8)),
        ("extremes:2", extremes(advantages.leave_one_out, 2)),
        ("top:8", top(advantages.leave_one_out, 8)),
        ("drawn:15", drawn(advantages.leave_one_out, 15, seed=5)),
    ],
)
def test_a_subset_is_an_advantage_made_of_the_recipes(train_on: str, wrapped: Any) -> None:
    s = settings(train_on=train_on, seed=5)
    assert suited(RLOO, grouping_of(s), s) == replace(RLOO, advantage=wrapped)


# ---------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sizes": "neyman"}, r"--sizes neyman.*uniform, variance, knapsack"),
        ({"sizes": "variance", "group_size": 3}, r"24 answers for 8 prompts.*4 to 32.*32 to 256"),
        ({"sizes": "variance", "answers": 300}, r"300 answers for 8 prompts.*32 to 256.*--answers"),
        ({"answers": 15}, r"15 answers for 8 prompts.*2 to"),
        ({"answers": 128, "group_size": 8}, r"--answers 128 for 8 prompts is 16 .*--group-size is 8.*Leave"),
        ({"sizes": "variance", "min_group": 20, "max_group": 10}, r"groups of 20 to 10.*--max-group"),
        ({"sizes": "variance", "min_group": 1}, r"groups of 1 to 32.*--min-group is 2 or more"),
        ({"sizes": "variance", "min_group": 0}, r"groups of 0 to 32"),
        ({"min_group": 4}, r"--min-group 4, --max-group None.*uniform.*--sizes variance"),
        ({"resample": -1}, r"--resample -1"),
        ({"group_size": 1}, r"group size 1"),
        ({"task": "gym:CartPole-v1", "sizes": "knapsack"}, r"--sizes knapsack.*start states.*CartPole"),
        ({"task": "gym:CartPole-v1", "skip_solved": True}, r"--skip-solved.*start states"),
    ],
)
def test_groups_that_cannot_be_are_refused_with_their_numbers(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        grouping(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sizes": "variance"}, "--sizes"),
        ({"answers": 64}, "--answers"),
        ({"train_on": "8"}, "--train-on"),
    ],
)
def test_sizes_and_seats_are_refused_together(given: dict[str, Any], words: str) -> None:
    s: Any = SimpleNamespace(**{**vars(settings(**given)), "seats": "current:12,best:4"})
    with pytest.raises(ConfigError, match=rf"{words} with --seats"):
        grouping_of(s)


@pytest.mark.parametrize(
    ("recipe", "given", "words"),
    [
        (
            DAPO,
            {"recipe": "dapo", "sizes": "variance"},
            r"--recipe dapo.*deviation.*rloo.*leave_one_out.*center",
        ),
        (GRPO, {"recipe": "grpo", "answers": 100}, r"--recipe grpo"),
        (RECIPES["maxrl"], {"recipe": "maxrl", "sizes": "knapsack"}, r"--recipe maxrl.*or mean"),
        (RLOO, {"train_on": "16"}, r"--train-on 16: no group has more than 16"),
        (RLOO, {"train_on": "32", "sizes": "variance"}, r"no group has more than 32"),
        (RLOO, {"train_on": "1"}, r"--train-on 1: 2 answers or more.*extremes:8.*top:8.*drawn:8"),
        (RLOO, {"train_on": "best:8"}, r"--train-on best:8"),
        (RLOO, {"train_on": "top:x"}, r"--train-on top:x"),
        (GRPO, {"train_on": "8"}, r"--train-on 8 saves nothing with a KL.*--kl-scale 0"),
    ],
)
def test_recipes_that_do_not_suit_are_refused(recipe: Any, given: dict[str, Any], words: str) -> None:
    s = settings(**given)
    with pytest.raises(ConfigError, match=words):
        suited(recipe, grouping_of(s), s)


def toy(rows: int, **columns: Any) -> Task:
    return Task("toy", [{"prompt": f"{i}", "answer": "1", **columns} for i in range(rows)], [], ())


@pytest.mark.parametrize(
    ("given", "rows", "columns", "words"),
    [
        ({"sizes": "variance"}, 80, {}, r"--sizes variance.*10 steps of 8.*80 of the 80 rows of toy.*--kind"),
        ({"skip_solved": True}, 80, {"kind": "a"}, r"--skip-solved: .*none comes twice.*fewer rows\.$"),
        ({"sizes": "variance", "kind": "level"}, 8, {}, r"--kind level.*no such column.*answer"),
    ],
)
def test_what_can_never_be_learnt_is_refused(
    given: dict[str, Any], rows: int, columns: dict[str, Any], words: str
) -> None:
    """Else a run would share out its answers equally, and its user would think otherwise."""
    with pytest.raises(ConfigError, match=words):
        check_learnable(toy(rows, **columns), settings(steps=10, **given))


def test_what_can_be_learnt_is_not_refused() -> None:
    """Rows that come twice, or of kinds that do."""
    check_learnable(toy(79), settings(steps=10, sizes="variance", skip_solved=True))
    check_learnable(toy(10_000, kind="a"), settings(steps=10, sizes="variance"))
    check_learnable(toy(10_000, level=3), settings(steps=10, sizes="knapsack", kind="level"))
    check_learnable(toy(10_000), settings(steps=10, resample=2, train_on="8"))


def test_flags_reach_the_run(tmp_path: Path) -> None:
    """And the refusals are those of `train`."""
    model = str(tiny_folder.save(tmp_path / "model"))

    def run_of(task: str, **given: Any) -> Any:
        small = {"model": model, "device": "cpu", "prompts": 8, "group_size": 8, "steps": 5, "recipe": "rloo"}
        return build(
            Settings(task=task, **{**small, **given}),
            tmp_path / "out",
            Console(file=io.StringIO()),
            lambda: False,
        ).run

    run = run_of("arithmetic:digits=1-2", sizes="variance", resample=1)
    assert run.grouping == Grouping(8, None, by_spread, 4, 32, 1)
    assert isinstance(run.recipe.weigh, losses.each_group_alike)
    with pytest.raises(ConfigError, match="none comes twice"):
        run_of("arithmetic", sizes="variance")
    with pytest.raises(ConfigError, match="none comes twice"):  # `plan` refuses what `train` does
        outlook(Settings("arithmetic", model=model, recipe="rloo", steps=5, sizes="variance"), lambda _: None)
