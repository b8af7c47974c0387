"""Play is shown as it goes: the pictures are of the episodes, and the film is of the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from collections.abc import Iterator  # noqa: E402

from groupwise.envs import play  # noqa: E402
from groupwise.envs.classic import player  # noqa: E402
from groupwise.envs.play import frames_per_second, save_gif, show  # noqa: E402
from groupwise.envs.spaces import UnplayableError  # noqa: E402
from groupwise.trajectory import Prompt  # noqa: E402
from worlds import Countdown  # noqa: E402


class Painted(Countdown):
    """A picture whose brightness is the time."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as gymnasium has it

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(n=99)
        self.render_mode = render_mode

    def render(self) -> Any:
        return np.full((30, 700, 3), 40 * self.at, np.uint8)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    gymnasium.register("Painted-v0", Painted)
    gymnasium.register("Unseen-v0", lambda: Countdown(3))
    yield
    del gymnasium.registry["Painted-v0"], gymnasium.registry["Unseen-v0"]


def test_every_second_state_is_filmed_and_thinned_out() -> None:
    """Episodes are cut after 5 steps: states 0, 2 and 4, 700 pixels in steps of 3."""
    shown = list(
        show(player("Painted-v0", 0, "squash"), "Painted-v0", [Prompt(0, 0), Prompt(1, 1)], "rgb_array", True)
    )
    assert [t.n_decisions for t, _ in shown] == [5, 5]
    for _, film in shown:
        assert [int(frame[0, 0, 0]) for frame in film] == [0, 80, 160]
        assert film[0].shape == (10, 233, 3)
    assert frames_per_second("Painted-v0") == 5


def test_a_film_ends_at_its_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "MOST_FRAMES", 2)
    [(_, film)] = show(player("Painted-v0", 0, "squash"), "Painted-v0", [Prompt(0, 0)], "rgb_array", True)
    assert len(film) == 2


def test_greedy_play_is_the_same_again_and_drawn_play_is_drawn() -> None:
    sampler = player("Painted-v0", 0, "squash")
    starts = [Prompt(i, 0) for i in range(4)]
    greedy, drawn = (
        [t.turns[0].decisions.tolist() for t, _ in show(sampler, "Painted-v0", starts, "rgb_array", g)]
        for g in (True, False)
    )
    assert greedy == [greedy[0]] * 4
    assert len({str(d) for d in drawn}) > 1


def test_a_gif_holds_the_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    film = [np.full((8, 12, 3), 60 * i, np.uint8) for i in range(4)]
    save_gif(tmp_path / "new" / "film.gif", film, frames_per_second=5)
    with image.open(tmp_path / "new" / "film.gif") as read:
        assert (read.n_frames, read.size, read.info["duration"]) == (4, (12, 8), 200)
        for i in range(4):
            read.seek(i)
            assert abs(int(np.asarray(read.convert("RGB"))[0, 0, 0]) - 60 * i) < 8
    with pytest.raises(UnplayableError, match="no picture"):
        save_gif(tmp_path / "film.gif", [], 5)


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("Painted-v0", "human", r"Painted-v0 cannot be shown as a window \(human\); it has rgb_array"),
        ("Unseen-v0", "rgb_array", r"Unseen-v0 cannot be shown as a film \(rgb_array\); it has no pictures"),
    ],
)
def test_what_cannot_be_shown_is_told(name: str, mode: str, words: str) -> None:
    with pytest.raises(UnplayableError, match=words):
        list(show(player(name, 0, "squash"), name, [Prompt(0, 0)], mode, True))


def test_every_episode_has_its_pictures_in_a_film_that_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else of three long episodes the last is not seen at all."""
    monkeypatch.setattr(play, "MOST_FRAMES", 10)
    films = [[np.full((1, 1, 3), i)] * n for i, n in enumerate((7, 2, 9))]
    assert [int(p[0, 0, 0]) for p in play.shared(films)] == [0] * 4 + [1] * 2 + [2] * 4
    assert len(play.shared(films[:2])) == 9


def test_a_thin_line_is_seen_in_a_picture_made_smaller() -> None:
    """Every second row alone would leave out CartPole's track."""
    frame = np.full((9, 2 * play.WIDTH, 3), 255, np.uint8)
    frame[3] = 0

    class World:
        def render(self) -> np.ndarray:
            return frame

    small = play.picture(World())
    assert small.shape == (4, play.WIDTH, 3)
    assert small[:, 0, 0].tolist() == [255, 127, 255, 255]
