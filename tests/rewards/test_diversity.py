"""What an answer adds to its group."""

from collections.abc import Callable

import pytest

from groupwise.rewards.diversity import novel, novelty, siblings, unlike_siblings, unlikeness


def test_novelty_and_unlikeness_by_hand() -> None:
    """Words of three answers: a b / a c / a b. No sibling has c; a is in all, b in two."""
    texts, ids = ["a b", "a c", "a b"], [7, 7, 7]
    assert novelty(1)(["p"] * 3, texts, group_ids=ids) == [0, 0.5, 0]
    assert unlikeness(1)(["p"] * 3, texts, group_ids=ids) == pytest.approx([0.25, 0.5, 0.25])


def test_group_ids_decide_and_equal_prompts_stand_in_for_them() -> None:
    """Two groups of one prompt are two groups; a pooled count would call every answer known."""
    texts = ["a b", "c d", "a b", "c d"]
    assert novel(["p"] * 4, texts, group_ids=[0, 0, 1, 1]) == [1, 1, 1, 1]
    assert novel(["p"] * 4, texts) == [0, 0, 0, 0]
    assert novel(["p", "q", "p", "q"], texts) == [0, 0, 0, 0]
    chat = [[{"role": "user", "content": "p"}], [{"role": "user", "content": "q"}]]
    assert siblings(chat * 2) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("reward", [novel, unlike_siblings])
def test_a_copy_of_a_sibling_scores_lower_than_a_text_of_its_own(reward: Callable[..., list[float]]) -> None:
    texts = ["the sea was calm that day", "a storm came from the north", "nobody saw the boats leave"]
    own = reward(["p"] * 3, texts, group_ids=[0] * 3)
    copying = reward(["p"] * 3, [*texts[:2], texts[0].upper() + "\u200b!"], group_ids=[0] * 3)
    assert copying[2] < own[2]
    assert copying[0] < own[0]
    assert all(0 <= v <= 1 for v in own + copying)


@pytest.mark.parametrize("reward", [novel, unlike_siblings])
def test_no_siblings_is_none_and_an_empty_answer_zero(reward: Callable[..., list[float]]) -> None:
    assert reward(["p", "q"], ["a b", ""]) == [None, None]
    assert reward(["p"] * 3, ["a b", "", "one"]) == [1, 0, 1]


def test_repeating_its_own_words_does_not_make_an_answer_newer() -> None:
    first = novelty(1)(["p"] * 2, ["a b", "a c"])
    assert novelty(1)(["p"] * 2, ["a b b b b", "a c"]) == first


def test_the_diversity_of_the_group_is_logged() -> None:
    """a b and a b: four words, two kinds. c alone: one of one."""
    logged: list[tuple[str, float]] = []
    novelty(1)(
        ["p", "p", "q"], ["a b", "a b", "c"], log_metric=lambda name, value: logged.append((name, value))
    )
    assert logged == [("diversity/distinct_1", 0.5), ("diversity/distinct_1", 1.0)]


def test_the_wrong_number_of_group_ids_is_refused() -> None:
    with pytest.raises(ValueError, match="1 group ids for 2 completions"):
        novel(["p"] * 2, ["a", "b"], group_ids=[0])
    with pytest.raises(ValueError, match="at least 1"):
        novelty(0)


def test_a_large_group_of_long_answers_ends() -> None:
    """64 answers of 10 kB: comparing pairs would be 2016 passes, counting is one."""
    texts = [" ".join(str((i * k) % 997) for k in range(2500)) for i in range(64)]
    assert len(unlike_siblings(["p"] * 64, texts)) == 64
