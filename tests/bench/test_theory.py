"""docs/theory.md says what its script computes, and shows the pictures that it draws."""

import re
from pathlib import Path

import pytest

import theory
from theory_lines import Line, drawn

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "theory.md").read_text("utf-8")


@pytest.mark.parametrize("name", [n for n in theory.TABLES if n != "rounds"])
def test_a_table_of_the_page_is_the_one_that_the_script_makes(name: str) -> None:
    """A changed advantage must not leave its old numbers behind. (rounds: the learner runs, so slow)"""
    assert theory.filled(PAGE, name, theory.TABLES[name]()) == PAGE


@pytest.mark.slow
def test_the_table_of_rounds_is_the_one_that_the_script_makes() -> None:
    assert theory.filled(PAGE, "rounds", theory.TABLES["rounds"]()) == PAGE


def test_every_picture_is_shown_and_there() -> None:
    assert set(re.findall(r"\(theory/(\w+\.svg)\)", PAGE)) == set(theory.PICTURES)
    assert {path.name for path in (DOCS / "theory").iterdir()} == set(theory.PICTURES)


def test_every_test_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+\.py)`", PAGE))
    there = {path.name for path in (DOCS.parent / "tests" / "theory").glob("test_*.py")}
    assert named == there


@pytest.mark.parametrize(
    "text", ["", "<!-- a -->", "<!-- /a --> <!-- a -->", "<!-- a --><!-- a --><!-- /a -->"]
)
def test_a_page_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="one <!-- a --> and one <!-- /a -->"):
        theory.filled(text, "a", "table")


def test_a_line_is_cut_where_it_leaves_the_picture() -> None:
    """From (0, 3) down to (2, 1) under a ceiling of 2: it enters at (1, 2)."""
    from theory_lines import _below

    assert list(_below([(0.0, 3.0), (2.0, 1.0)], 2.0)) == [(1.0, 2.0), (2.0, 1.0)]
    picture = drawn("A", "b", "x", [Line("falls", [(0.0, 3.0), (2.0, 1.0)])], high=2.0)
    assert picture.count("falls") == 1
