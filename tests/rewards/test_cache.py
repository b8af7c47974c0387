"""What is kept, for how long, and what must never be taken for the same."""

from typing import Any

import pytest

from groupwise.rewards.cache import Cache, cached, key_of
from groupwise.rewards.scoring import Failed


def test_a_reward_is_asked_once_about_equal_rows_that_it_reads() -> None:
    asked = []

    def reward(completions: list[str], answer: list[str]) -> list[float]:
        asked.append(list(zip(completions, answer, strict=True)))
        return [float(c == a) for c, a in zip(completions, answer, strict=True)]

    keep = cached(reward)
    first = keep(prompts=["p"] * 3, completions=["1", "2", "1"], answer=["1"] * 3, unread=[1, 2, 3])
    again = keep(prompts=["q"] * 3, completions=["1", "1", "3"], answer=["1", "2", "3"], unread=[4, 5, 6])
    assert (first, again) == ([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert asked == [[("1", "1"), ("2", "1")], [("1", "2"), ("3", "3")]]
    assert keep.cache.hits == 2


def test_a_reward_with_any_columns_reads_the_prompt_but_not_the_ids() -> None:
    """The same text may be tokenised in two ways; the same text to another prompt is another answer."""
    asked = []

    def reward(completions: list[str], **columns: Any) -> list[float]:
        asked.extend(completions)
        return [0.0] * len(completions)

    keep = cached(reward)
    keep(prompts=["p"], completions=["a"], completion_ids=[[1]], group_ids=[0])
    keep(prompts=["p"], completions=["a"], completion_ids=[[2, 3]], group_ids=[5])
    assert asked == ["a"]
    keep(prompts=["q"], completions=["a"], completion_ids=[[1]], group_ids=[0])
    assert asked == ["a", "a"]


def test_what_depends_on_more_than_an_answer_is_not_cached() -> None:
    async def later(completions: list[str]) -> list[float]:
        return []

    with pytest.raises(ValueError, match="group_ids"):
        cached(lambda completions, group_ids: [])
    with pytest.raises(ValueError, match="async"):
        cached(later)


def test_the_one_not_asked_for_the_longest_goes_first() -> None:
    cache, asked = Cache(2), []

    def ask(*words: str) -> None:
        keys = [key_of({"completion": w}) for w in words]
        cache.filled(keys, lambda rows: [asked.append(words[i]) or 1.0 for i in rows])  # type: ignore[func-returns-value]

    for word in ("a", "b", "a", "c", "a", "b"):
        ask(word)
    assert asked == ["a", "b", "c", "b"]
    ask("x", "y", "z", "x")  # more in one batch than it holds
    assert asked == ["a", "b", "c", "b", "x", "y", "z"]


def test_failures_and_rows_without_a_key_are_asked_again() -> None:
    cache, asked = Cache(), []

    def compute(rows: list[int]) -> list[Any]:
        asked.append(rows)
        return [Failed("timeout")] * len(rows)

    keys = [key_of({"a": 1}), key_of({"a": object()}), key_of({"a": object()})]
    assert cache.filled(keys, compute) == cache.filled(keys, compute) == [Failed("timeout")] * 3
    assert asked == [[0, 1, 2], [0, 1, 2]]


def test_keys_differ_where_values_do() -> None:
    rows = [{"a": 1}, {"a": "1"}, {"a": True}, {"a": None}, {"a": "\ud800"}, {"b": 1}, {"a": [1]}, {}]
    assert len({key_of(row) for row in rows}) == len(rows)
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})


def test_too_few_values_are_refused() -> None:
    """Otherwise rows would get each other's values."""
    with pytest.raises(ValueError, match="1 values for 2"):
        cached(lambda completions: [1.0])(completions=["a", "b"])
