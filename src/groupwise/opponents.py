"""Who sits at the other seats of a game: shares as a value, and earlier versions of a policy as players."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from groupwise import sources
from groupwise.checkpoints import read_weights
from groupwise.policies import NetworkPolicy
from groupwise.seats import Seat, Seats
from groupwise.settings import ConfigError
from groupwise.trajectory import CURRENT

EXAMPLE = "--opponents current:3,latest-2:1"


def shares_of(text: str, known: Sequence[str]) -> dict[str, int]:
    """`NAME:SHARE,...` -> of how many starts each sits at the other seats. `known` are players by name.

    Raises:
        ConfigError: what does not parse, is named twice, or is nobody.
    """
    shares: dict[str, int] = {}
    for entry in text.split(","):
        name, _, share = (part.strip() for part in entry.rpartition(":"))
        if not name or not re.fullmatch(r"[1-9]\d*", share):
            raise ConfigError(
                f"--opponents {text!r}: {entry.strip()!r} is not NAME:SHARE, as in {EXAMPLE}; a share is a "
                "whole number from 1"
            )
        if name in shares:
            raise ConfigError(f"--opponents {text!r} names {name} twice: give it once, with the sum")
        if not (name in (CURRENT, *known) or _back(name) is not None or sources.is_checkpoint(Path(name))):
            raise ConfigError(
                f"--opponents {text!r}: there is no {name}. There are current, {', '.join(known)}, latest-K "
                "(the run's own checkpoint, K before the last) and runs/NAME/checkpoints/STEP; exact is for "
                "small games that hide nothing"
            )
        shares[name] = int(share)
    return shares


def spared(shares: Mapping[str, int], save_every: int) -> Callable[[int], Sequence[int]]:
    """The steps whose checkpoints may still be asked for, given the newest."""
    return sources.spared(Seats(tuple(Seat(name, share) for name, share in shares.items())), save_every)


def _back(name: str) -> int | None:
    return Seat(name, 1).back


class Snapshot:
    """The policy as it was at the checkpoint that `pick` names; until there is one, as it is."""

    def __init__(
        self, policy: NetworkPolicy, folder: Path, pick: Callable[[int], int | None], version: int = 0
    ) -> None:
        self._own, self._folder, self._pick, self._version = policy, folder, pick, version
        self._twin = NetworkPolicy(copy.deepcopy(policy.module), policy.distribution)
        self._holds: int | None = None

    def load(self, version: int) -> None:
        self._version = version

    def act(self, observations: np.ndarray, uniform: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        step = self._pick(self._version)
        if step is None or not (step == self._holds or (self._folder / str(step)).is_dir()):
            return self._own.act(observations, uniform)
        if step != self._holds:
            sources.put(
                read_weights(self._folder / str(step)), self._twin.module, f"the checkpoint of step {step}"
            )
            self._holds = step
        return self._twin.act(observations, uniform)


class Fixed:
    """A checkpoint of another run. That run may go on and clear it away, so it is `kept` once it has played.

    Raises:
        DamagedError: it cannot be read, or is of another architecture.
    """

    def __init__(self, policy: NetworkPolicy, checkpoint: Path, kept: Path) -> None:
        self._twin = NetworkPolicy(copy.deepcopy(policy.module), policy.distribution)
        self._weights, self._kept = read_weights(kept if kept.is_dir() else checkpoint), kept
        sources.put(self._weights, self._twin.module, f"the checkpoint {checkpoint}")

    def load(self, version: int) -> None:
        if self._kept.is_dir():
            return
        work = self._kept.with_name(f".{self._kept.name}")
        work.mkdir(parents=True, exist_ok=True)
        save_file(self._weights, work / "weights.safetensors")
        work.rename(self._kept)

    def act(self, observations: np.ndarray, uniform: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        return self._twin.act(observations, uniform)


def snapshot(policy: NetworkPolicy, name: str, task: str, folder: Path, save_every: int) -> Snapshot | Fixed:
    """The player of a name in `--opponents` that is none of the game's own. `folder` is the run's.

    Raises:
        ConfigError: a checkpoint that is not there, or of another task.
        DamagedError: one that cannot be read.
    """
    back = _back(name)
    if back is not None:
        return Snapshot(policy, folder / "checkpoints", sources.latest(back, save_every))
    path = Path(name)
    kept = folder / "opponents" / re.sub(r"[^\w.-]+", "_", name)
    if kept.is_dir():
        return Fixed(policy, path, kept)
    try:
        config = json.loads((path.parent.parent / "run.json").read_text("utf-8"))["config"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"--opponents {name} is no checkpoint of a run: {error}") from error
    if config.get("task") != task:
        raise ConfigError(f"--opponents {name} is of {config.get('task')}, and this run of {task}")
    if not path.is_dir():
        raise ConfigError(f"--opponents: there is no {path}")
    return Fixed(policy, path, kept)
