"""SQuAD's exact match and token F1."""

from typing import Any

import pytest

from groupwise.rewards.squad import answer_of, exact_match, normalised, squad_exact, squad_f1, token_f1


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("a an the", ""),
        ("theatre and another", "theatre and another"),
        ("U.S.A.", "usa"),
        ("$1,000", "1000"),
        ("Saint Bernadette Soubirous", "saint bernadette soubirous"),
        ("the-a", "thea"),
        ("The\u200b ２nd", "2nd"),
    ],
)
def test_the_normalisation_in_squads_order(raw: str, clean: str) -> None:
    """Punctuation goes before articles: the-a becomes one word that is no article."""
    assert normalised(raw) == clean


@pytest.mark.parametrize(
    ("ours", "gold", "exact", "f1"),
    [
        ("the Denver Broncos", "Denver Broncos", 1, 1),
        ("Broncos", "Denver Broncos", 0, 2 / 3),
        ("Denver Broncos of Denver", "Denver Broncos", 0, 2 / 3),
        ("x x x", "x", 0, 0.5),
        ("Carolina", "Denver", 0, 0),
        ("", "", 1, 1),
        ("the", "", 1, 1),
        ("", "Denver", 0, 0),
        ("Denver", "", 0, 0),
    ],
)
def test_scores_by_hand(ours: str, gold: str, exact: float, f1: float) -> None:
    """Of four words two are shared with both gold ones: P 1/2, R 1, F1 2/3. A repeat is not shared twice."""
    assert squad_exact(ours, gold) == exact
    assert squad_f1(ours, gold) == pytest.approx(f1)


def test_the_best_of_several_counts_and_none_does_not_apply() -> None:
    golds: list[Any] = [["Paris", "City of Light"], {"text": ["Rome"]}, None, {"text": []}, 7]
    given = ["city of light", "Milan", "x", "", "7"]
    assert exact_match(completions=given, answer=golds) == [1, 0, None, 1, 1]
    assert token_f1(completions=given, answer=golds) == [1, 0, None, 1, 1]


def test_golds_without_words_count_only_when_there_is_no_other() -> None:
    """As in SQuAD's script: an empty gold beside a real one would pay for silence."""
    assert exact_match(completions=["", ""], answer=[["", "Paris"], ["", ""]]) == [0, 1]


def test_the_letter_a_of_a_multiple_choice_is_not_silence() -> None:
    """SQuAD's rule drops it as an article: an empty answer, or "the", would be paid as right."""
    given = ["A", "(a).", "", "the", "B", "+", "-"]
    for reward in (exact_match, token_f1):
        assert reward(completions=given, answer=["A", "A", "A", "A", "A", "+", "+"]) == [1, 1, 0, 0, 0, 1, 0]


def test_what_follows_the_last_marker_is_the_answer() -> None:
    assert answer_of("Answer: Rome? No. Final answer : Paris").strip() == "Paris"
    assert answer_of("Paris") == "Paris"
    assert answer_of("Ａｎｓｗｅｒ：Paris") == "Paris"
    assert exact_match(completions=["I think hard. Answer: Paris."], answer=["Paris"]) == [1]


def test_shuffled_words_keep_f1_but_not_exact_match() -> None:
    assert squad_f1("Light of City", "City of Light") == 1
    assert squad_exact("Light of City", "City of Light") == 0
