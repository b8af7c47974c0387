"""Rewards for reading: the passage's answer, abstaining where it does not tell, the world's answer seen."""

from typing import Any

import pytest

from groupwise.rewards.grounded import ABSTENTIONS, NOT_TOLD, abstains, exact, exact_of, f1, not_from_memory


@pytest.mark.parametrize(
    "text",
    [
        NOT_TOLD,
        "the context does not say",
        " The passage doesn't tell.\n",
        "It does not mention.",
        "Not stated in the text",
        "Answer: Not mentioned.",
        "Rome? Answer: The text does not say.",
        "The text doesn\u200b't say",
    ],
)
def test_these_abstain(text: str) -> None:
    assert abstains(text)
    assert exact(completions=[text, text], answer=[[], ["Rome"]]) == [1, 0]
    assert f1(completions=[text, text], answer=[[], ["Rome"]]) == [1, 0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Rome",
        "The text does not say. Rome",
        "Rome. The text does not say.",
        "The text does not say who, but it was Rome.",
        "The text does say.",
        "I do not know",
        "Answer: The text does not say. Answer: Rome",
        "The text does not say. The text does not say.",
    ],
)
def test_these_do_not(text: str) -> None:
    """Both at once is an answer: else a policy could hedge and be right either way."""
    assert not abstains(text)
    assert exact(completions=[text], answer=[[]]) == [0]
    assert f1(completions=[text], answer=[[]]) == [0]


def test_abstaining_earns_nothing_where_the_answer_shares_its_words() -> None:
    """Token F1 alone would pay 2 * 1 / (4 + 1) for the word "text"."""
    assert f1(completions=[NOT_TOLD], answer=[["text"]]) == [0]


def test_the_stated_forms_are_as_many_as_documented() -> None:
    """7 subjects x 2 negations x 4 verbs, and 3 x 4 of "not stated in the text"."""
    assert len(ABSTENTIONS) == 7 * 2 * 4 + 3 * 4


def test_answers_by_hand() -> None:
    """Of three words one is the answer: P 1/3, R 1, F1 1/2."""
    texts = [" 417", "It gave 417", "308", "417 points"]
    assert exact(completions=texts, answer=[["417"]] * 4) == [1, 0, 0, 0]
    assert f1(completions=texts, answer=[["417"]] * 4) == pytest.approx([1, 1 / 2, 0, 2 / 3])
    assert f1(completions=texts, answer=[["417", "417 points"]] * 4) == pytest.approx([1, 1 / 2, 0, 1])


def test_hedging_and_copying_the_passage_are_worth_little() -> None:
    """Naming an old and a new fact: P 1/2, R 1. A passage of 39 other words: F1 2 / (40 + 1)."""
    passage = " ".join(["417", *(f"w{i}" for i in range(39))])
    assert exact(completions=["417 or 308", passage], answer=["417", "417"]) == [0, 0]
    assert f1(completions=["417, 308", passage], answer=["417", "417"]) == pytest.approx([2 / 3, 2 / 41])


def test_a_row_without_answers_given_does_not_apply() -> None:
    assert exact(completions=["x"], answer=[None]) == [None]
    assert f1(completions=[NOT_TOLD], answer=[None]) == [None]


def test_the_worlds_answer_is_found_in_an_answer_as_whole_words() -> None:
    old: list[Any] = [["Ann Lee", "Lee"]] * 5 + [None, ["308"], ["308"]]
    texts = ["Ann Lee", "It was Lee, of course", "lee's", "Leeds", "Joan Park", "Lee", "308 points", "1,308"]
    assert not_from_memory(completions=texts, old=old) == [0, 0, 1, 1, 1, None, 0, 1]
    after = ["Answer: Joan Park", "Lee. Answer: Joan"]
    assert not_from_memory(completions=after, old=[["Lee"]] * 2) == [1, 1]


def test_a_kinds_score_does_not_apply_to_others() -> None:
    chat = [{"role": "assistant", "content": " Rome."}]
    kinds = ["changed", "untouched", "changed"]
    got = exact_of("changed")(
        completions=[chat, chat, "x"], answer=[["Rome"]] * 3, kind=kinds, old=[None] * 3
    )
    assert got == [1, None, 0]
