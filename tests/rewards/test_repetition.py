"""Penalties for saying it again."""

import itertools
import random
from collections.abc import Callable

import pytest

from groupwise.rewards.repetition import (
    compression,
    longest_repeat,
    looping,
    no_loops,
    no_repeats,
    not_compressible,
    repeated,
    repetition,
)

PROSE = (
    "The old pier had stood through forty winters before anyone thought of painting it. Maria came down "
    "with two tins of blue and a brush that her uncle no longer needed, and by noon the gulls had left."
)


@pytest.mark.parametrize(
    ("text", "n", "value"),
    [("a a a a", 1, 0.75), ("a b a b a", 2, 0.5), ("a b c", 1, 0), ("a b", 3, 0), ("", 1, 0)],
)
def test_rep_n_by_hand(text: str, n: int, value: float) -> None:
    """a b a b a has the bigrams ab ba ab ba: two of four are new."""
    assert repeated(text.split(), n) == value
    assert repetition(n)(completions=[text]) == [-value]


def test_the_longest_repeat_is_that_of_trying_every_length() -> None:
    """Every text of up to 7 tokens over two letters, and random ones over three."""

    def tried(tokens: tuple[str, ...]) -> int:
        n = len(tokens)
        runs = {length: [tokens[i : i + length] for i in range(n - length + 1)] for length in range(1, n)}
        return max((length for length, r in runs.items() if len(set(r)) < len(r)), default=0)

    short = [t for n in range(8) for t in itertools.product("ab", repeat=n)]
    draw = random.Random(0)
    long = [tuple(draw.choices("abc", k=draw.randint(8, 60))) for _ in range(200)]
    for tokens in short + long:
        assert longest_repeat(tokens) == tried(tokens), tokens


@pytest.mark.parametrize("reward", [no_repeats, no_loops, not_compressible])
def test_text_that_is_repeated_scores_lower_and_never_below_minus_one(
    reward: Callable[..., list[float]],
) -> None:
    once, twice, often = reward(completions=[PROSE, f"{PROSE} {PROSE}", " ".join([PROSE] * 40)])
    assert 0 == once >= twice > often >= -1
    assert twice < 0 or reward is not_compressible


@pytest.mark.parametrize("reward", [no_repeats, no_loops])
def test_case_punctuation_and_invisible_characters_do_not_hide_a_repeat(
    reward: Callable[..., list[float]],
) -> None:
    """A policy that learned to put a zero-width space into each round would else go free."""
    shown = f"{PROSE} {PROSE}"
    hidden = f"{PROSE} {PROSE.upper().replace('E', 'E' + chr(0x200B)).replace('.', '!')}"
    assert reward(completions=[hidden]) == reward(completions=[shown])


def test_a_short_refrain_is_free_and_a_loop_by_hand() -> None:
    """la x 10: a run of nine begins at two places. 9 - 8 free = 1 of 10 words."""
    assert looping(free=8)(completions=["la " * 9, "la " * 10, ""]) == [0, -0.1, 0]


def test_compression_sees_a_loop_within_one_word() -> None:
    words_see, bytes_see = no_repeats(completions=["ha" * 500]), not_compressible(completions=["ha" * 500])
    assert words_see == [0]
    assert bytes_see[0] < -0.8
    assert compression()(completions=["", "\ud800"]) == [0, 0]


def test_messages_are_read_as_text_and_other_columns_ignored() -> None:
    chat = [{"role": "assistant", "content": "a a a a"}]
    assert repetition(1)(prompts=["q"], completions=[chat], answer=["x"]) == [-0.75]


def test_hostile_texts_of_100_kb_end() -> None:
    """One loop, one word, piles of accents, nothing but stops, nothing to see: no rule may be quadratic."""
    for text in ("a " * 50_000, "a" * 100_000, "a\u0301" * 50_000, "." * 100_000, "\u200b" * 100_000):
        for reward in (no_repeats, no_loops, not_compressible):
            assert -1 <= reward(completions=[text])[0] <= 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: repetition(0), "at least 1"),
        (lambda: looping(-1), "at least 0"),
        (lambda: compression(0.0), "ratio"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
