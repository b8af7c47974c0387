"""Constraints that a row brings."""

import pytest

from groupwise.rewards.style import (
    closeness,
    forbidden_words,
    line_count,
    required_words,
    sentence_count,
    word_count,
)


@pytest.mark.parametrize(
    ("count", "wanted", "value"),
    [(0, 10, 0), (5, 10, 0.5), (10, 10, 1), (15, 10, 0.5), (20, 10, 0), (99, 10, 0), (12, [8, 12], 1)],
)
def test_closeness_by_hand(count: int, wanted: int | list[int], value: float) -> None:
    assert closeness(count, wanted) == value


@pytest.mark.parametrize("wanted", [0, [3, 2], [0, 4]])
def test_a_range_that_no_text_or_an_empty_one_meets_is_refused(wanted: int | list[int]) -> None:
    with pytest.raises(ValueError, match="1 <= least <= most"):
        closeness(1, wanted)


def test_counts_of_words_sentences_and_lines() -> None:
    text = "One two.\n\nThree four! ** \n"
    assert word_count([text, text, ""], n_words=[4, None, 4]) == [1, None, 0]
    assert sentence_count([text, text], n_sentences=[2, 4]) == [1, 0.5]
    assert line_count([text, text], n_lines=[[1, 2], None]) == [1, None]


def test_words_that_nobody_sees_do_not_count() -> None:
    """Zero-width characters between spaces would else fill any quota."""
    assert word_count(["one " + "\u200b " * 9], n_words=[10]) == [0.1]


def test_required_words_are_whole_words_in_any_case() -> None:
    texts = ["A part of ART", "A part", "New\u200b York is new", "York, new", "x"]
    wanted = [["art"], ["art"], ["New York", "is"], ["New York", "is"], None]
    assert required_words(texts, required=wanted) == [1, 0, 1, 0, None]


def test_forbidden_words_are_found_behind_disguises_and_silence_earns_nothing() -> None:
    banned = [["very", "suddenly"]] * 4
    texts = ["Suddenly it rained", "it rained", "ｖery s\u200buddenly", ""]
    assert forbidden_words(texts, forbidden=banned) == [0.5, 1, 0, 0]
    assert forbidden_words(["x", "x", "x"], forbidden=[None, [], "x"]) == [None, None, 0]
