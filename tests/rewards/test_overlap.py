"""Relevance, grounding, likeness to a reference."""

import random
from collections.abc import Callable

import pytest

from groupwise.rewards.overlap import (
    copied,
    grounded,
    grounding,
    like_reference,
    likeness,
    on_topic,
    relevance,
)

CONTEXT = (
    "The bridge opened in 1932. It was designed by John Bradfield and spans 503 metres over the harbour."
)
CLAIM = "The bridge opened in 1932."


def of(text: str, context: str | list[str] | None = CONTEXT) -> float | None:
    return grounded(completions=[text], context=[context])[0]


def test_grounding_by_hand() -> None:
    """Of two sentences the first stands in the context; of three content words of the second one does."""
    assert of(CLAIM) == 1
    assert of(f"{CLAIM} Dragons guard the harbour.") == 0.5
    assert of("") == of("It was so.") == 0
    assert of(CLAIM, None) is None
    assert of(f"{CLAIM} Cats purr.", [CONTEXT, "A cat: cats purr."]) == 1


def test_a_sentence_said_twice_does_not_raise_grounding() -> None:
    mixed = f"{CLAIM} Dragons guard the harbour."
    assert of(f"{mixed} {CLAIM} {CLAIM.upper()}") == of(mixed)


def test_a_wrong_number_and_a_negation_are_not_supported() -> None:
    """With three quarters of the words right, only the strict rule for these two sees the lie."""
    assert of("The bridge spans 504 metres over the harbour.") == 0
    assert of("The bridge spans 503 metres over the harbour.") == 1
    for lie in ("The bridge did not open over the harbour in 1932.", "The bridge never opened in 1932."):
        assert of(lie) == 0


def test_a_sentence_made_up_lowers_grounding() -> None:
    assert of(CLAIM) > of(f"{CLAIM} Pink elephants juggle.") > of(f"{CLAIM} Elephants juggle. Cats sing.")


def on(prompt: object, answer: str) -> float | None:
    return on_topic(prompts=[prompt], completions=[answer])[0]


def test_relevance_by_hand() -> None:
    """Two content words, tides and moon, half of them are enough."""
    assert on("Explain the tides and the moon", "Because the moon pulls water") == pytest.approx(2 / 3)
    assert relevance(enough=1)(["tides moon"], ["The moon pulls"]) == [0.5]
    assert on("Explain the tides", "") == 0
    assert on("What is it?", "x") is None


def test_the_question_repeated_earns_nothing() -> None:
    for prompt in ("What is gravity?", "Explain in two sentences why the tides follow the moon."):
        assert on(prompt, prompt) == 0
        assert on(prompt, f"{prompt} {prompt}") == 0


def test_the_last_user_message_is_what_was_asked() -> None:
    chat = [
        {"role": "system", "content": "Talk about cooking."},
        {"role": "user", "content": "Why do tides rise?"},
    ]
    assert on(chat, "Tides rise as water is pulled.") == 1
    assert on(chat, "Cooking is fun.") == 0


def like(text: str, gold: object, n: int = 2) -> float | None:
    return likeness(n)(completions=[text], reference=[gold])[0]


def test_likeness_by_hand() -> None:
    """a b c and a b d share one of two bigrams each: 2 x 1 / 4."""
    assert like("a b c", "a b d") == 0.5
    assert like("a b c", ["x y", "a b c"]) == 1
    assert like("a a a a", "a b", n=1) == pytest.approx(2 / 6)
    assert like("a a", "a a a", n=1) == 4 / 5
    assert like("", "a b") == like("a", "a") == like("a b", []) == 0
    assert like("a b", None) is None


def test_shuffled_words_do_not_raise_what_depends_on_order() -> None:
    draw = random.Random(0)
    text = "the quick brown fox jumps over one lazy dog near an old river bank"
    for _ in range(50):
        shuffled = " ".join(draw.sample(text.split(), 14))
        assert like(shuffled, text) < like(text, text) == 1
        assert like(shuffled, text, n=1) == 1


def test_disguises_change_nothing() -> None:
    wide = CLAIM.replace("1932", "１９\u200b３２").upper()
    assert of(wide) == of(CLAIM)
    assert like(wide, CONTEXT) == like(CLAIM, CONTEXT)


@pytest.mark.parametrize(
    ("answer", "source", "n", "value"),
    [
        ("a b c d", "x a b c", 2, 3 / 4),
        ("a b x c d", "a b c d", 2, 4 / 5),
        ("a b a b", "a b", 2, 1),
        ("a", "a b", 2, 0),
        ("", "a", 1, 0),
    ],
)
def test_copied_words_by_hand(answer: str, source: str, n: int, value: float) -> None:
    """Runs that overlap count their words once; those side by side count both."""
    assert copied(answer.split(), source.split(), n) == value


def test_hostile_texts_of_100_kb_end() -> None:
    for text in (
        "a. " * 33_000,
        "1. " * 33_000,
        '."' * 50_000,
        "." + '"' * 100_000,
        "1" * 100_000,
        "x" * 100_000,
        "word " * 20_000,
    ):
        for reward in (on_topic, grounded, like_reference):
            value = reward(prompts=[text], completions=[text], context=[text], reference=[text])[0]
            assert value is None or 0 <= value <= 1


@pytest.mark.parametrize("make", [lambda: relevance(enough=0), lambda: grounding(1.5), lambda: likeness(0)])
def test_settings_out_of_range_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"=0|=1\.5"):
        make()
