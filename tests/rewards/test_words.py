"""What counts as a character, a word, a sentence."""

import pytest

from groupwise.rewards.words import MOST_MARKS, content_words, lines, ngrams, plain, sentences, words


@pytest.mark.parametrize(
    ("disguised", "seen"),
    [
        ("１２３", "123"),
        ("ﬁne", "fine"),
        ("𝐁𝐨𝐥𝐝 𝟕", "Bold 7"),
        ("re\u200bpe\u200dat\ufeff", "repeat"),
        ("soft\u00adhyphen \u202eturned", "softhyphen turned"),
        ("a\ufe0fb\u3164c\U000e0041", "abc"),
        ("a\x00b\x1b[0m\tc\n", "ab[0m\tc\n"),
        ("e\u0301", "é"),
        ("e\u200b\u0301", "é"),
        ("\u1112\u1161\u11ab", "한"),
        ("10² H₂O ½", "10² H₂O ½"),
        ("", ""),
    ],
)
def test_disguises_are_taken_off(disguised: str, seen: str) -> None:
    """Without this, a zero-width space in each repeat hides a loop, and 10² could equal 102."""
    assert plain(disguised) == seen


def test_plain_text_is_plain_and_every_line_with_a_word_gives_words() -> None:
    """Rewards index the first word of a line: a character that only `lines` takes for a word would raise."""
    for point in [*range(0x3100), *range(0xA000, 0x10000, 7), *range(0x1D400, 0x1D800, 5)]:
        text = plain(chr(point))
        assert plain(text) == text
        assert words(text) or not lines(text), hex(point)


def test_a_pile_of_accents_is_cut_before_it_is_sorted() -> None:
    """Normalising sorts a run of marks, in quadratic time: the 100 000 here would take ten seconds."""
    piled = "a" + "\u0301\u0323" * 50_000 + "b"
    assert len(plain(piled)) <= MOST_MARKS + 2
    assert plain(piled).endswith("b")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It’s the BEST_of 1,000 days: 2.5!", ["it's", "the", "best", "of", "1000", "days", "2.5"]),
        ("1,2 and 12,3456", ["1", "2", "and", "12", "3456"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("日本語 text", ["日", "本", "語", "text"]),
        ("'quoted' rock'n'roll", ["quoted", "rock'n'roll"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("?! — 👍🏽", []),
        ("", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_sentences_and_lines_hold_a_word() -> None:
    assert sentences('He said "stop." Then 2.5 m! \n\n* * *\nEnd') == ['He said "stop.', "Then 2.5 m!", "End"]
    assert sentences("一。二。") == ["一。", "二。"]
    assert lines("one\n---\n two \n") == ["one", "two"]
    assert sentences("") == lines("") == []


def test_negations_are_content_and_all_alike() -> None:
    assert content_words("The cat isn't here and never was") == ["cat", "not", "not"]


def test_ngrams_are_none_where_there_are_too_few_tokens() -> None:
    assert ngrams(["a", "b", "c"], 2) == [("a", "b"), ("b", "c")]
    assert ngrams(["a"], 2) == []
