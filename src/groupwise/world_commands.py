"""`groupwise play` and `groupwise doctor`: an environment shown, and looked into."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from groupwise import report, runs
from groupwise.groups import Order
from groupwise.rewards.scoring import TrainerState
from groupwise.settings import ConfigError
from groupwise.trainer import Run
from groupwise.trajectory import Group, Trajectory

COLOURS = {"good": "green", "look": "yellow", "bad": "red"}
PRICES = ("market", "forecast")
EXAMINED = ("gym", *PRICES)
ENDS = {"finished": "it ended", "length": "cut by the limit", "error": "it failed"}
MISSING = "gymnasium is not installed: pip install -e '.[gym]'"


@dataclass(frozen=True)
class Play:
    """Watch a trained policy play, on starts that it never trained on.

    A game or a conversation is shown as text. All else in a window where there is a screen; else, or with
    --gif, as a film, which the report shows if it is in the run's folder as play.gif.
    """

    run: Positional[str]
    """A run folder or runs/NAME/checkpoints/N, of an environment or of conversations."""
    stochastic: bool = False
    """Draw actions as in training; else the likeliest (choices, words) or the mean (real numbers)."""
    episodes: int = 3
    """Starts to play from."""
    gif: Path | None = None
    """Where to write a film."""


def play_command(args: Sequence[str], console: Console) -> int:
    """Episodes in a window, or into a GIF, with a line for each."""
    options = tyro.cli(Play, args=list(args), prog="groupwise play")
    if options.episodes < 1:
        raise ConfigError(f"--episodes {options.episodes}: at least 1")
    path = Path(options.run)
    folder = path.parent.parent if path.parent.name == "checkpoints" else path
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    talks = runs.of_conversations(options.run)
    if not talks and not runs.of_environment(str(folder)):
        raise ConfigError(f"{options.run} is no run of an environment; for a language model: groupwise chat")
    run = runs.opened(options.run).run
    kind = run.task.name.partition(":")[0]
    if kind in PRICES:
        raise ConfigError(f"{options.run} is of prices and has no pictures: groupwise backtest {options.run}")
    show = _conversations if talks else {"game": _games, "zoo": _crowds}.get(kind, _episodes)
    show(run, options, folder, console)
    return 0


def _episodes(run: Run, options: Play, folder: Path, console: Console) -> None:
    from groupwise.envs.play import frames_per_second, show
    from groupwise.envs.sampler import EnvironmentSampler

    assert isinstance(run.sampler, EnvironmentSampler)
    name = run.task.name.removeprefix("gym:")
    target = _target(options, folder)
    films: list[list[np.ndarray]] = []
    prompts = run.task.examples(options.episodes)
    for episode, pictures in show(run.sampler, name, prompts, _mode(target), not options.stochastic):
        films.append(pictures)
        console.print(_told(episode), highlight=False)
    if target is not None:
        _save(target, folder, films, frames_per_second(name), console)


def _games(run: Run, options: Play, folder: Path, console: Console) -> None:
    from groupwise.envs.games import Game
    from groupwise.envs.narrate import narrated
    from groupwise.envs.scene_sampler import SceneSampler

    assert isinstance(run.sampler, SceneSampler)
    if options.gif is not None:
        raise ConfigError(f"--gif {options.gif}: a game is shown as text")
    game = Game(run.task.name.removeprefix("game:"))
    prompts = run.task.examples(options.episodes)
    for number, text in enumerate(narrated(run.sampler, game, prompts, not options.stochastic), 1):
        console.print(f"[bold]game {number}[/]\n{escape(text)}\n", highlight=False)


def _conversations(run: Run, options: Play, folder: Path, console: Console) -> None:
    if options.gif is not None:
        raise ConfigError(f"--gif {options.gif}: a conversation is shown as text")
    orders = [Order(prompt, 1) for prompt in run.task.examples(options.episodes)]
    held = run.sampler.collect(orders, greedy=not options.stochastic)
    for number, group in enumerate(run.score(held, TrainerState()).cohort, 1):
        console.print(f"[bold]conversation {number}[/]\n{escape(_said(group))}\n", highlight=False)


def _said(group: Group) -> str:
    """Who said what, and what it was worth."""
    assert isinstance(group.prompt.content, list)
    [held] = group.trajectories
    lines = [f"{m['role']}: {m['content']}" for m in (*group.prompt.content, *held.messages)]
    parts = ", ".join(f"{name} {value:.3g}" for name, value in held.parts.items() if value is not None)
    worth = "not scored" if held.reward is None else f"reward {held.reward:.3g} ({parts})"
    end = f"cut by {held.extra['limit']}" if "limit" in held.extra else ENDS[held.stopped]
    return "\n".join([*lines, f"{worth}, {end}", *held.extra.get("error", "").splitlines()])


def _crowds(run: Run, options: Play, folder: Path, console: Console) -> None:
    from groupwise.envs.film_crowd import FRAMES_PER_SECOND, filmed
    from groupwise.envs.scene_sampler import SceneSampler

    assert isinstance(run.sampler, SceneSampler)
    target = _target(options, folder)
    films: list[list[np.ndarray]] = []
    prompts = run.task.examples(options.episodes)
    name = run.task.name.removeprefix("zoo:")
    for groups, pictures in filmed(run.sampler, name, prompts, _mode(target), not options.stochastic):
        films.append(pictures)
        console.print(f"[bold]{name} {len(films)}[/]", highlight=False)
        for agent, played in enumerate(t for group in groups for t in group.trajectories):
            console.print(f"agent {agent}: {_told(played)}", highlight=False)
    if target is not None:
        _save(target, folder, films, FRAMES_PER_SECOND, console)


def _save(
    target: Path,
    folder: Path,
    films: Sequence[Sequence[np.ndarray]],
    frames_per_second: float,
    console: Console,
) -> None:
    """Write the film, and anew the report of a run whose folder it goes into."""
    from groupwise.envs.play import save_gif, shared

    film, total = shared(films), sum(map(len, films))
    save_gif(target, film, frames_per_second)
    kept = f" ({len(film)} of {total} pictures, of each episode from its start)" if len(film) < total else ""
    console.print(f"film     {target}{kept}", highlight=False, soft_wrap=True)
    if target == folder / "play.gif" and (folder / "report.html").is_file():
        console.print(f"report   {report.write(folder)}", highlight=False, soft_wrap=True)


def _target(options: Play, folder: Path) -> Path | None:
    """Where the film goes; None: into a window."""
    return options.gif or (None if _screen() else folder / "play.gif")


def _mode(target: Path | None) -> str:
    if target is None:
        return "human"
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame looks for a screen, even where it only paints
    return "rgb_array"


def _screen() -> bool:
    """Whether there is somewhere to open a window."""
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


def _told(episode: Trajectory) -> str:
    return f"return {episode.parts['return']:.4g} in {episode.n_decisions} steps, {ENDS[episode.stopped]}"


@dataclass(frozen=True)
class Doctor:
    """What an environment is like to train in: seeds, snapshots, rewards, lengths, speed."""

    world: Positional[str]
    """gym:ID, gym:module:ID, gym:FILE.py:ID, market:PRICES or forecast:PRICES."""
    seconds: float = 10.0
    """For random episodes."""


def doctor_command(args: Sequence[str], console: Console) -> int:
    """1 where something stands in the way of training."""
    options = tyro.cli(Doctor, args=list(args), prog="groupwise doctor")
    kind, _, rest = options.world.partition(":")
    if kind not in EXAMINED or not rest:
        known = ", ".join(f"{one}:..." for one in EXAMINED)
        raise ConfigError(
            f"groupwise doctor looks into {known}, and not into {options.world!r}: nor into games, worlds of "
            "several agents and conversations"
        )
    name = options.world.removeprefix("gym:")
    try:
        from groupwise.envs.doctor import examine, foresight
        from groupwise.envs.findings import BAD
        from groupwise.envs.make import make
    except ImportError as error:
        raise ConfigError(MISSING) from error
    make(name).close()
    table, worst = Table(title=f"{name}, random actions", title_justify="left", show_header=False), False
    with console.status(f"looking into {name}"):
        for finding in chain(examine(partial(make, name), options.seconds), foresight(name)):
            worst |= finding.mark == BAD
            colour = COLOURS[finding.mark]
            table.add_row(f"[{colour}]{finding.mark}[/]", finding.about, escape(finding.said))
    console.print(table)
    return int(worst)
