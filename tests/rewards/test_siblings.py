"""Rewards that see all siblings, by hand; rows of groups may come in any order."""

import random
from typing import Any

import pytest

from groupwise.rewards.scoring import Failed
from groupwise.rewards.siblings import by_group, distinct, pairwise, ranked


def given(*values: Any) -> Any:
    return lambda completions, **_: list(values)


def test_a_group_is_seen_whole_and_alone() -> None:
    """A group mixed with another's rows, or cut in two, would be compared with the wrong answers."""
    seen = []

    def spy(prompts: list[str], completions: list[str], gold: list[str], trainer_state: Any) -> list[float]:
        seen.append((prompts, completions, gold, trainer_state))
        return [float(len(c)) for c in completions]

    values = by_group(spy)(
        group_ids=[7, 3, 7],
        prompts=["p", "q", "p"],
        completions=["a", "bb", "ccc"],
        gold=["1", "2", "1"],
        trainer_state="state",
    )
    assert values == [1.0, 2.0, 3.0]
    assert seen == [(["p", "p"], ["a", "ccc"], ["1", "1"], "state"), (["q"], ["bb"], ["2"], "state")]


def test_a_group_with_too_few_values_is_refused() -> None:
    with pytest.raises(ValueError, match="1 values for a group of 2"):
        by_group(given(1.0))(group_ids=[0, 0], completions=["a", "b"])


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1.0, 2.0, 3.0], [0.0, 0.5, 1.0]),
        ([5.0, 5.0], [0.5, 0.5]),
        ([1.0, 9.0, 9.0, 9.0], [0.0, 2 / 3, 2 / 3, 2 / 3]),
        ([None, 4.0, 3.0], [None, 1.0, 0.0]),
        ([Failed("crash"), 4.0, 3.0], [Failed("crash"), 1.0, 0.0]),
        ([4.0], [None]),
        ([4.0, None], [None, None]),
    ],
)
def test_ranks_within_a_group(values: list[Any], wanted: list[Any]) -> None:
    assert ranked(given(*values))(completions=["x"] * len(values), group_ids=[0] * len(values)) == wanted


def test_ranks_average_to_a_half_and_do_not_see_other_groups() -> None:
    draw = random.Random(0)
    ids = [draw.randrange(5) for _ in range(60)]
    values = [float(draw.randrange(4)) for _ in ids]
    ranks = ranked(given(*values))(completions=[""] * 60, group_ids=ids)
    for group in range(5):
        mine = [r for r, g in zip(ranks, ids, strict=True) if g == group]
        assert sum(mine) / len(mine) == pytest.approx(0.5)
    alone = [i for i, g in enumerate(ids) if g == 2]
    apart = ranked(given(*[values[i] for i in alone]))(
        completions=[""] * len(alone), group_ids=[0] * len(alone)
    )
    assert apart == [ranks[i] for i in alone]


def test_ranks_can_be_taken_of_a_reward_that_is_itself_by_group() -> None:
    inner = by_group(lambda completions: [float(len(c)) for c in completions])
    assert ranked(inner)(completions=["a", "bb", "a", "b"], group_ids=[0, 0, 1, 1]) == [0.0, 1.0, 0.5, 0.5]


def test_a_judge_that_favours_the_first_place_decides_nothing() -> None:
    reward = pairwise(lambda prompt, a, b: 1.0)
    assert reward(prompts=["p"] * 3, completions=list("abc"), group_ids=[0] * 3) == [0.5, 0.5, 0.5]


def test_pairwise_shares_by_hand() -> None:
    reward = pairwise(lambda prompt, a, b: 0.5 if len(a) == len(b) else float(len(a) > len(b)))
    values = reward(prompts=["p"] * 4, completions=["aaa", "b", "cc", "dd"], group_ids=[0, 0, 0, 1])
    assert values == [1.0, 0.0, 0.5, None]


def test_distinct_counts_the_siblings_that_differ() -> None:
    values = distinct(of=str.lower)(completions=["a", "A", "b", "c"], group_ids=[0, 0, 0, 1])
    assert values == [0.5, 0.5, 1.0, None]
