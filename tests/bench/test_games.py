"""The benchmark of self-play: what it keeps of a run, its table and its picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

pytest.importorskip("pyspiel")

import games
import games_pictures


def found(game: str, seed: int) -> dict[str, Any]:
    """A run as it is kept; the last scores depend on the seed."""
    names = games.GAMES[game].scores
    return {
        "game": game, "seed": seed, "steps": [0, 10, 20], "games": 1000, "seconds": 10.0 + seed,
        "scores": {name: [0.5, 0.25, 0.1 * seed] for name in names},
    }  # fmt: skip


@pytest.mark.parametrize("game", list(games.GAMES))
def test_a_run_keeps_the_scores_that_are_of_interest(game: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score by a name that no evaluation has would be missed after minutes of training."""
    monkeypatch.setattr(games, "HELD_OUT", 4)
    monkeypatch.setitem(games.GAMES, game, games.Setup(games.GAMES[game].scores, 1, 2, 1))
    kept = games.run(game, 0)
    assert kept["steps"] == [0, 1]
    assert all(len(kept["scores"][name]) == 2 for name in games.GAMES[game].scores)
    assert kept["games"] == 16


def test_the_table_has_means_and_the_seeds() -> None:
    rows = games.table([found("kuhn_poker", seed) for seed in (0, 1, 2)]).splitlines()[2:]
    assert rows == ["| kuhn_poker | exploitability | 0.500 | 0.100 | 0.000, 0.100, 0.200 | 1,000 | 11 |"]


def test_the_picture_has_a_panel_for_each_score_that_was_measured() -> None:
    svg = games_pictures.picture([found("kuhn_poker", 0), found("tic_tac_toe", 0), found("tic_tac_toe", 1)])
    texts = [element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]
    titles = [title for title in games_pictures.PANELS.values() if title in texts]
    assert len(titles) == 3
    assert not any("connect four" in text for text in texts)
