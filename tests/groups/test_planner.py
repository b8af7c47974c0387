"""A step's plan: who is asked, what is replaced, what is passed over, what is remembered and counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coin_groups import answer
from groupwise.groups import Grouping, Plan, by_spread, plan, seldom
from groupwise.groups.beliefs import HALF_LIFE, Belief
from groupwise.rewards.scoring import Scored
from groupwise.tasks.task import Task
from groupwise.trajectory import Group, Prompt

ROWS = [{"prompt": f"row {i}", "kind": "even" if i % 2 == 0 else "odd"} for i in range(10)]
TASK = Task("toy", ROWS, ROWS[:1], ())
Rewards = Callable[[Prompt, int], float]


def answered(asked: Plan, reward: Rewards, metrics: Mapping[str, float] | None = None) -> Plan:
    cohort = [
        Group(o.prompt, tuple(answer(reward(o.prompt, i)) for i in range(o.count))) for o in asked.orders
    ]
    return asked.answered(Scored(cohort, metrics or {}))


def step(grouping: Grouping, number: int, saved: Mapping[str, Any], reward: Rewards, n: int = 4) -> Plan:
    asked = plan(grouping, TASK, n, 7, number, saved)
    while asked.orders:
        asked = answered(asked, reward)
    return asked


def odd_ones_differ(prompt: Prompt, i: int) -> float:
    return float(i % 2 and prompt.row is not None and prompt.row % 2)


def counts(asked: Plan) -> list[tuple[int, int]]:
    return [(order.prompt.ordinal, order.count) for order in asked.orders]


def test_equal_groups_are_the_default() -> None:
    """The prompts of the stream, one step after the other, each asked `size` times, none replaced."""
    first = plan(Grouping(3), TASK, 4, 0, 1, {})
    assert counts(first) == [(0, 3), (1, 3), (2, 3), (3, 3)]
    done = answered(first, lambda prompt, i: 1.0)
    assert (done.orders, len(done.cohort), done.replaced) == ((), 4, ())
    assert counts(plan(Grouping(3), TASK, 4, 0, 2, done.remembered())) == [(4, 3), (5, 3), (6, 3), (7, 3)]


def test_a_checkpoint_that_remembers_nothing_goes_on_with_the_prompts_after_it() -> None:
    """Those before this field was there."""
    assert counts(plan(Grouping(2), TASK, 4, 0, 3, {})) == [(8, 2), (9, 2), (10, 2), (11, 2)]


def test_a_budget_that_does_not_divide_is_spent_to_the_last_answer() -> None:
    assert [c for _, c in counts(plan(Grouping(answers=10), TASK, 4, 0, 1, {}))] == [3, 3, 2, 2]
    assert Grouping(answers=10).varies(4)
    assert not Grouping(answers=12).varies(4)


def test_later_steps_ask_more_where_earlier_ones_differed() -> None:
    """Even rows are always 0, odd ones differ: the rest of the budget goes to the odd, seen before or not."""
    grouping = Grouping(8, allocate=by_spread, low=4, high=32)
    saved: Mapping[str, Any] = {}
    for number in range(1, 9):
        asked = step(grouping, number, saved, odd_ones_differ)
        saved = asked.remembered()
    last = plan(grouping, TASK, 4, 7, 9, saved)
    assert sum(order.count for order in last.orders) == 32
    even = [order.count for order in last.orders if order.prompt.row % 2 == 0]  # type: ignore[operator]
    odd = [order.count for order in last.orders if order.prompt.row % 2]  # type: ignore[operator]
    assert max(even) < min(odd)


def test_groups_without_a_spread_are_replaced_by_the_next_prompts() -> None:
    """As many, asked as often together; those that differ stay; the stream goes on behind them."""
    grouping = Grouping(4, resample=2)
    asked = plan(grouping, TASK, 4, 7, 1, {})
    dead = [o.prompt.ordinal for o in asked.orders if odd_ones_differ(o.prompt, 1) == 0]
    assert dead, "nothing to replace: this shows nothing"
    again = answered(asked, odd_ones_differ, {"x": 1.0})
    assert counts(again) == [(4 + i, 4) for i in range(len(dead))]
    assert [g.prompt.ordinal for g in again.replaced] == dead
    done = again
    while done.orders:
        done = answered(done, odd_ones_differ, {"x": 4.0, "y": 1.0})
    assert len(done.cohort) == 4
    assert len(done.logged) <= 3
    after = plan(grouping, TASK, 4, 7, 2, done.remembered())
    assert after.orders[0].prompt.ordinal == done.drawn == len(done.every)


def test_rounds_of_replacement_end() -> None:
    """A task that is solved: 1 + 3 rounds, and the last groups are kept, so that a step has its prompts."""
    done = step(Grouping(4, resample=3), 1, {}, lambda prompt, i: 1.0)
    assert (len(done.cohort), len(done.replaced), len(done.logged)) == (4, 12, 4)
    numbers = done.numbers(done.cohort)
    assert numbers["groups/dead"] == 16
    assert numbers["groups/replaced"] == 12
    assert numbers["groups/answers"] == 64
    assert numbers["groups/informative"] == numbers["groups/trained"] == 0


def test_replacements_are_sized_by_what_was_known_before_the_step() -> None:
    grouping = Grouping(8, allocate=by_spread, low=4, high=16, resample=1)
    asked = plan(grouping, TASK, 4, 7, 1, {})
    again = answered(asked, odd_ones_differ)
    assert {order.count for order in again.orders} == {8}


def test_prompts_that_stay_flat_are_passed_over_more_and_more_and_never_for_good() -> None:
    """All rows solved: from one in two to the floor of one in ten; each is still asked now and then."""
    grouping = Grouping(2, skip=seldom())
    saved: Mapping[str, Any] = {}
    asked_rows, passed = list[int](), list[int]()
    for number in range(1, 61):
        done = step(grouping, number, saved, lambda prompt, i: 1.0)
        saved = json.loads(json.dumps(done.remembered()))
        asked_rows += [g.prompt.row for g in done.cohort]  # type: ignore[misc]
        passed.append(done.skipped)
        assert len(done.cohort) == 4
    assert passed[0] == 0
    assert set(asked_rows[-120:]) == set(range(10))
    share = 4 / (4 + np.mean(passed[-30:]))
    assert share == pytest.approx(0.1, abs=0.04)


def test_a_prompt_is_asked_by_a_number_of_its_own() -> None:
    ask = seldom(keep=0.5, floor=0.1)
    for visits, chance in ((0, 1.0), (1, 0.5), (2, 0.25), (3, 0.125), (4, 0.1), (90, 0.1)):
        belief = Belief(flat_visits=visits)
        assert not ask(belief, chance - 1e-9)
        assert ask(belief, chance) or chance == 1


@pytest.mark.parametrize("wrong", [{"floor": 0.0}, {"keep": 1.5}, {"keep": 0.05}])
def test_giving_a_prompt_up_for_good_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="never be asked again"):
        seldom(**wrong)


def test_a_plan_is_a_function_of_what_was_remembered() -> None:
    """Through JSON, with everything on: the same prompts, the same sizes, bit for bit."""
    grouping = Grouping(8, allocate=by_spread, low=4, high=16, resample=2, skip=seldom())
    saved: Mapping[str, Any] = {}
    for number in range(1, 12):
        one = step(grouping, number, saved, odd_ones_differ)
        two = step(grouping, number, json.loads(json.dumps(saved)), odd_ones_differ)
        assert [(g.prompt, len(g.trajectories)) for g in one.every] == [
            (g.prompt, len(g.trajectories)) for g in two.every
        ]
        assert json.dumps(one.remembered()) == json.dumps(two.remembered())
        saved = one.remembered()


def test_a_group_knows_what_earlier_steps_taught_about_its_prompt() -> None:
    """Its mean, worth the answers that the row had; a row asked for the first time has no prior."""
    first = step(Grouping(4), 1, {}, odd_ones_differ, n=10)
    assert [g.prior for g in first.cohort] == [None] * 10
    second = step(Grouping(4), 2, first.remembered(), lambda prompt, i: 9.0, n=10)
    fade = 0.5 ** (1 / HALF_LIFE)
    for group in second.cohort:
        assert group.prior is not None
        assert group.prior.count == pytest.approx(4 * fade)
        odd = bool(group.prompt.row and group.prompt.row % 2)
        assert group.prior.mean == pytest.approx(0.5 if odd else 0.0, abs=0.2)


def test_the_numbers_of_a_step_by_hand() -> None:
    """Two groups kept of 2 and 4 answers, one replaced of 6; one answer without a reward."""
    cohort = (
        Group(Prompt(0, "", {}, 0), (answer(1.0), answer(0.0))),
        Group(Prompt(1, "", {}, 1), (answer(1.0), answer(1.0), answer(1.0), answer(None))),
    )
    dead = Group(Prompt(2, "", {}, 2), tuple(answer(0.25) for _ in range(6)))
    logged = ({"x": 1.0}, {"x": 2.0, "y": 5.0})
    done = replace(
        plan(Grouping(), TASK, 2, 0, 1, {}), cohort=cohort, replaced=(dead,), skipped=3, logged=logged
    )
    taught = np.array([0.5], dtype=np.float32)
    first = replace(
        cohort[0], trajectories=tuple(replace(t, advantage=taught) for t in cohort[0].trajectories)
    )
    assert done.numbers([first, cohort[1]]) == pytest.approx(
        {
            "groups/size/mean": 4.0,
            "groups/size/min": 2.0,
            "groups/size/max": 6.0,
            "groups/answers": 12.0,
            "groups/dead": 2.0,
            "groups/replaced": 1.0,
            "groups/skipped": 3.0,
            "groups/informative": 2 / 12,
            "groups/trained": 2 / 12,
            "groups/reward": (0.5 + 1.0 + 0.25) / 3,
            "x": 1.5,
            "y": 5.0,
        }
    )


def test_every_number_is_in_the_documentation_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    done = step(Grouping(), 1, {}, odd_ones_differ)
    assert set(re.findall(r"^\| `(groups/[\w/]+)`", text, re.MULTILINE)) == done.numbers(done.cohort).keys()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"size": 1}, "group size 1"),
        ({"low": 1}, "groups of 1 to"),
        ({"low": 9, "high": 8}, "groups of 9 to 8"),
        ({"resample": -1}, "--resample -1"),
    ],
)
def test_a_grouping_that_cannot_be_is_refused(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Grouping(**wrong)
