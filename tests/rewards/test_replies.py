"""A judge's last line is its verdict, in the one form that was asked for; nothing else is."""

import pytest

from groupwise.rewards.replies import ranking_of, score_of, winner_of
from groupwise.rewards.scoring import Failed


def reason(value: object) -> str:
    assert isinstance(value, Failed)
    return value.reason


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("SCORE: 7", 7),
        ("Why not.\n\n**Score: 7.5**\n", 7.5),
        ("SCORE : 10 / 10.", 10),
        ("ＳＣＯＲＥ：７", 7),  # as full-width keyboards write it
        ("`SCORE: 1`\u200b", 1),
        ("SCORE: 3\nSCORE: 4", 4),
    ],
)
def test_a_score_is_read_from_the_last_line(reply: str, score: float) -> None:
    assert score_of(reply, 1, 10) == score


@pytest.mark.parametrize(
    "reply",
    ["", " \n", "7", "SCORE: 11", "SCORE: 0", "SCORE: nan", "SCORE: 7/5", "SCORE: 7 or 8", "SCORE: 7\nDone."],
)
def test_nothing_else_is_a_score(reply: str) -> None:
    """Above all not a score that the judge merely quotes on its way: the last line decides."""
    assert reason(score_of(reply, 1, 10)).startswith("unparsable: ")


@pytest.mark.parametrize(
    ("reply", "share"),
    [("WINNER: A", 1), ("so\n**WINNER: b**", 0), ("Winner: tie.", 0.5), ("ＷＩＮＮＥＲ：Ａ", 1)],
)
def test_a_winner_is_read_from_the_last_line(reply: str, share: float) -> None:
    assert winner_of(reply) == share


@pytest.mark.parametrize("reply", ["", "A", "WINNER: C", "WINNER: A or B", "WINNER: A\nbut B is good"])
def test_nothing_else_is_a_winner(reply: str) -> None:
    assert reason(winner_of(reply)).startswith("unparsable: ")


@pytest.mark.parametrize(
    "reply", ["", "2 > 1", "RANKING: 1", "RANKING: 1 > 1", "RANKING: 1 > 3", "RANKING: 1 < 2"]
)
def test_nothing_else_is_a_ranking(reply: str) -> None:
    assert reason(ranking_of(reply, 2)).startswith("unparsable: ")


def test_a_ranking_gives_points_by_place() -> None:
    """Three places below the first leave 1 of 4; those that tie share."""
    assert ranking_of("So:\n**RANKING: 4>2 = 1 > 3.**", 4) == [3, 3, 2, 4]
    assert ranking_of("RANKING: 1 = 2", 2) == [2, 2]
    assert ranking_of("RANKING: 10 > 1 = 2 > 3 > 4 > 5 > 6 > 7 > 8 > 9", 10)[9] == 10


def test_a_reply_that_never_came_stays_a_failure() -> None:
    gone = Failed("endpoint: gone")
    assert score_of(gone, 1, 10) is winner_of(gone) is ranking_of(gone, 2) is gone
