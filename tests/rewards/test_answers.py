"""Which part of a text is its answer, and what hostile or odd texts come to."""

import time

import pytest

from groupwise.rewards.answers import READ, answer_of, ascii_end


@pytest.mark.parametrize(
    ("text", "lenient", "strict"),
    [
        ("#### 42", "42", "42"),
        ("First 3.\n#### 1,000 apples.", "1,000 apples", "1,000 apples"),
        ("so \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}", "\\frac{1}{2}"),
        ("$\\boxed {x^{2}}$", "x^{2}", "x^{2}"),
        ("\\fbox{7}", "7", "7"),
        ("#### $x+1$", "x+1", "x+1"),
        # several marks: the last counts, and strict has none
        ("#### 1\n#### 2", "2", None),
        ("\\boxed{1} or \\boxed{2}", "2", None),
        # strict wants it on the last line
        ("#### 5\nThat is all.", "5", None),
        ("#### 5\n \n", "5", "5"),
        # unmarked
        ("it is 3 or 4", "4", None),
        ("costs 1{,}000", "1,000", None),
        ("no number here", None, None),
        ("", None, None),
        (" \n ", None, None),
        # marks that hold nothing
        ("####", None, None),
        ("\\boxed{}", None, None),
        ("\\boxed{5", "5", None),  # not closed: only its number is read
        ("\\boxed{{}", None, None),
    ],
)
def test_the_answer_in_a_text(text: str, lenient: str | None, strict: str | None) -> None:
    assert answer_of(text) == lenient
    assert answer_of(text, strict=True) == strict


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("４２", "42"),
        ("٤٢", "42"),
        ("𝟒𝟐", "42"),
        ("4\u200b2", "42"),
        ("4\u00ad2\ufeff", "42"),
        ("\u22125", "-5"),
        ("１，０００．５", "1,000.5"),
        ("3\u00a0cm", "3 cm"),
        ("5²", "5²"),
        ("½", "½"),
    ],
)
def test_signs_of_other_scripts_are_read_as_ascii(text: str, wanted: str) -> None:
    """NFKC would make 52 of 5², and 31⁄2 of 3½."""
    assert ascii_end(text) == wanted


def test_only_the_end_of_a_long_text_is_read() -> None:
    assert answer_of("#### 5\n" + "x" * READ) is None
    assert answer_of("x" * 100_000 + "\n#### 5", strict=True) == "5"


@pytest.mark.parametrize(
    "piece", ["9", "1,111", ",111", "#### ", "\\boxed{", "{", "}", "- ", ".5", "４", " ", "\n"]
)
def test_a_hostile_text_of_100_kb_is_read_at_once(piece: str) -> None:
    """Backtracking over all ways to read it would take minutes."""
    text = piece * (100_000 // len(piece))
    began = time.process_time()
    for strict in (False, True):
        answer_of(text, strict)
    assert time.process_time() - began < 1.0
