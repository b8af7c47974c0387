"""`groupwise play` tells what the world gave, and what became of the film; `doctor` refuses other tasks."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

gymnasium = pytest.importorskip("gymnasium")

from groupwise import report, runs  # noqa: E402
from groupwise.config import build  # noqa: E402
from groupwise.envs import play  # noqa: E402
from groupwise.settings import ConfigError, Settings  # noqa: E402
from groupwise.trainer import train  # noqa: E402
from groupwise.world_commands import doctor_command, play_command  # noqa: E402
from worlds import Countdown, Toy, Unseeded  # noqa: E402


class Paying(Countdown):
    """Five steps; action 1 is worth one more than action 0."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as gymnasium has it

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(n=99)
        self.render_mode = render_mode

    def step(self, action: Any) -> Any:
        seen, reward, *ends = super().step(action)
        return seen, reward + action, *ends

    def render(self) -> Any:
        return np.full((30, 40, 3), 40 * self.at, np.uint8)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two steps whose rewards were scaled, on a machine without a screen."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("SDL_VIDEODRIVER", "")  # what is set below ends with the test
    monkeypatch.delenv("SDL_VIDEODRIVER")
    gymnasium.register("Paying-v0", Paying)
    settings = Settings(
        task="gym:Paying-v0", steps=2, prompts=2, group_size=4, held_out=2, normalise_rewards=True,
        device="cpu", out=tmp_path / "run",
    )  # fmt: skip
    runs.begin(tmp_path / "run", settings)
    built = build(settings, tmp_path / "run", Console(file=io.StringIO()), lambda: False)
    train(built.run)
    built.journal.close()
    yield tmp_path / "run"
    del gymnasium.registry["Paying-v0"]


def said(run: Path, *args: str) -> str:
    told = Console(file=io.StringIO(), width=300)
    assert play_command([str(run), *args], told) == 0
    return told.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("args", [(), ("--stochastic",)])
def test_returns_are_told_as_the_world_gave_them(run: Path, args: tuple[str, ...]) -> None:
    """Rewards that are drawn are scaled for the learner: what a person reads is not."""
    pytest.importorskip("PIL")
    text = said(run, *args)
    returns = [float(found) for found in re.findall(r"return (\S+) in 5 steps, cut by the limit", text)]
    assert len(returns) == 3
    assert all((given - 2.5).is_integer() for given in returns)
    assert text.endswith(f"film     {run / 'play.gif'}\n")
    assert (run / "play.gif").read_bytes().startswith(b"GIF89a")
    assert os.environ["SDL_VIDEODRIVER"] == "dummy"  # else pygame complains that there is no screen


def test_a_film_that_was_cut_is_said_to_be(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("PIL")
    monkeypatch.setattr(play, "MOST_FRAMES", 4)
    text = said(run, "--gif", str(tmp_path / "film.gif"))
    assert text.endswith("film.gif (4 of 9 pictures, of each episode from its start)\n")


def test_a_film_in_the_runs_folder_is_in_its_report(run: Path) -> None:
    pytest.importorskip("PIL")
    assert "report" not in said(run), "there was none"
    before = report.write(run).stat().st_size
    (run / "play.gif").unlink()
    assert report.write(run).stat().st_size < before
    assert "report.html" in said(run)
    assert "data:image/gif" in (run / "report.html").read_text()


def healthy() -> Any:
    return Toy(gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2))


@pytest.mark.parametrize(("world", "code"), [(lambda: Unseeded(3), 1), (healthy, 0)])
def test_the_doctors_verdict_is_its_exit_code(world: Any, code: int) -> None:
    """For a script: whether something stands in the way of training."""
    gymnasium.register("Looked-v0", world)
    told = Console(file=io.StringIO(), width=300)
    try:
        assert doctor_command(["gym:Looked-v0", "--seconds", "0.05"], told) == code
    finally:
        del gymnasium.registry["Looked-v0"]
    assert ("reset(seed) does not decide the start" in told.file.getvalue()) == bool(code)  # type: ignore[attr-defined]


def test_the_doctor_refuses_what_is_no_world() -> None:
    for world in ("arithmetic", "gym:", "game:tic_tac_toe"):
        with pytest.raises(
            ConfigError, match=f"into gym:..., market:..., forecast:..., and not into '{world}'"
        ):
            doctor_command([world], Console(file=io.StringIO()))
