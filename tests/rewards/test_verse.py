"""Haiku, acrostic, rhyme."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from groupwise.rewards import verse
from groupwise.rewards.verse import acrostic, haiku, rhymes, syllables

BASHO = "An old silent pond,\nA frog jumps into the pond.\nSplash! Silence again."


@pytest.mark.parametrize(
    ("known", "count"),
    [
        ("pond whole jumped likes trees girl eye the 7 水", 1),
        ("table tables wanted boxes changes wishes moonlight little being nation", 2),
        ("beautiful syllable remember medium copying variance", 3),
        ("reality", 3),
    ],
)
def test_syllables_of_common_words(known: str, count: int) -> None:
    """reality has four: a known miss of the heuristic, held here so that a change is noticed."""
    assert {word: syllables(word) for word in known.split()} == dict.fromkeys(known.split(), count)


def test_haiku_by_hand() -> None:
    """One line of 5: a third. Four lines: three of four. 6 for 5 syllables: four fifths of the line."""
    first = BASHO.splitlines()[0]
    texts = [BASHO, first, f"{BASHO}\nAnd more", BASHO.replace("An", "An an"), "", "of " * 300]
    assert haiku(texts) == pytest.approx([1, 1 / 3, 3 / 4, (4 / 5 + 2) / 3, 0, 0])


def test_acrostic_by_hand() -> None:
    texts = ["Cold\nair\ntoday", "Cold\nair", "Cold\nair\ntoday\nyes", "", "x", "Été\n* n * \nd"]
    words = ["CAT", "C.A.T.", "cat", "cat", None, "ÉND"]
    assert acrostic(texts, acrostic=words) == pytest.approx([1, 2 / 3, 3 / 4, 0, None, 1])
    assert acrostic(["x", "x"], acrostic=["", "!"]) == [None, None]


@pytest.fixture
def dictionary(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A dictionary of five words with the interface of `pronouncing`."""
    sounds = {"cat": ["K AE1 T"], "hat": ["HH AE1 T"], "dog": ["D AO1 G"], "read": ["R EH1 D", "R IY1 D"]}
    sounds["bed"] = ["B EH1 D"]
    module = ModuleType("pronouncing")
    module.phones_for_word = lambda word: sounds.get(word, [])  # type: ignore[attr-defined]
    module.rhyming_part = lambda phones: phones.split(" ", 1)[1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pronouncing", module)
    verse._dictionary.cache_clear()
    yield
    verse._dictionary.cache_clear()


@pytest.mark.usefixtures("dictionary")
@pytest.mark.parametrize(
    ("text", "scheme", "value"),
    [
        ("a cat\nthe hat", "AA", 1),
        ("a cat\nthe dog", "AA", 0),
        ("a cat\nthe cat!", "AA", 0),
        ("I read\na bed", "AA", 1),
        ("a cat\na hat\n\nI read\na bed", "aa bB", 1),
        ("a cat\na dog\na hat\na bed", "ABAB", 0.5),
        ("a cat\na hat", "ABAB", 0),
        ("a zyx\nthe wyx", "AA", 0),
        ("", "AA", 0),
        ("a cat\nthe hat", "AB", None),
    ],
)
def test_rhymes_by_hand(text: str, scheme: str, value: float | None) -> None:
    """The same word is no rhyme; of several pronunciations one pair is enough."""
    assert rhymes([text], rhyme_scheme=[scheme]) == [value]


@pytest.mark.usefixtures("dictionary")
def test_rows_without_a_scheme_do_not_apply() -> None:
    assert rhymes(["a cat\na hat", "x"], rhyme_scheme=["AA", None]) == [1, None]


def test_without_the_dictionary_it_applies_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pronouncing", None)
    verse._dictionary.cache_clear()
    assert rhymes(["a cat\na hat"], rhyme_scheme=["AA"]) == [None]
    verse._dictionary.cache_clear()


def test_the_real_dictionary_where_it_is_installed() -> None:
    pytest.importorskip("pronouncing")
    verse._dictionary.cache_clear()
    assert rhymes(["the cold moon\nwill rise soon", "a cat\na dog"], rhyme_scheme=["AA", "AA"]) == [1, 0]
