"""The whole state of a run on disk: saved atomically, verified when read, exact when resumed.

    checkpoints/50/weights.safetensors     what is trained, float32
    checkpoints/50/optimizer.safetensors   both Adam moments and the step of every weight
    checkpoints/50/state.json              step, scores, what the run remembers
    checkpoints/50/scales.json             where the recipe's controls have come to, if it has any
    checkpoints/50/reference.safetensors   the reference's weights, if the recipe has moved it
    checkpoints/50/manifest.json           size and digest of the others; written last

Random numbers need no state of their own: they are functions of the seed and of what they are for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from groupwise.learner import Learner

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
CONTENTS = {"weights.safetensors", "optimizer.safetensors", "state.json"}
OPTIONAL = {"scales.json", "reference.safetensors"}


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands after `step` optimizer steps."""

    step: int = 0
    train_seconds: float = 0.0
    num_tokens: int = 0
    """Tokens read and written so far."""
    before: Mapping[str, float] = field(default_factory=dict)
    """Held-out scores before training."""
    best: Mapping[str, float] = field(default_factory=dict)
    """The best held-out scores so far, with their `step`."""
    beliefs: Mapping[str, Any] = field(default_factory=dict)
    """What the groups so far taught about their prompts, as JSON: `groups.Plan.remembered`."""
    sampler: Mapping[str, Any] = field(default_factory=dict)
    """What the sampler remembers."""
    guard: Mapping[str, Any] = field(default_factory=dict)
    """What the guard knows of the steps so far."""
    stopped: str = ""
    """Why the guard ended the run after this step; empty where it did not."""

    owed: Mapping[str, float] = field(default_factory=dict)
    """The last step's numbers, where its held-out evaluation was broken off before they were written down;
    a run that goes on makes up for it first."""

    def after(self, step: int, seconds: float, tokens: int) -> State:
        """The state one step on."""
        return replace(
            self,
            step=step,
            train_seconds=self.train_seconds + seconds,
            num_tokens=self.num_tokens + tokens,
        )

    def scored(self, scores: Mapping[str, float], measure: str) -> State:
        """With the step's held-out scores, which are the best if their measure is. Nothing is owed then."""
        better = measure in scores and scores[measure] > self.best.get(measure, float("-inf"))
        return replace(self, best={**scores, "step": self.step} if better else self.best, owed={})


class DamagedError(RuntimeError):
    """A checkpoint whose files are missing, cut short or altered."""


class SaveError(RuntimeError):
    """A checkpoint could not be written; the ones before it are untouched."""


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(
        self, folder: Path, keep: int = 2, spared: Callable[[int], Collection[int]] = lambda newest: ()
    ) -> None:
        """`spared` names further steps that are kept, given the newest."""
        if keep < 1:
            raise ValueError(f"keep {keep}: at least one checkpoint has to be kept")
        self._folder, self._keep, self._spared = folder / "checkpoints", keep, spared

    def save(self, learner: Learner, state: State) -> Path:
        """Write a checkpoint under another name, then rename it; then drop those beyond the last K and best.

        Raises:
            SaveError: naming the folder and what is intact.
        """
        target, work = self._folder / str(state.step), self._folder / f".writing-{state.step}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            _write(work, learner, state)
            if target.exists():
                shutil.rmtree(target)
            work.rename(target)
            _sync(self._folder)
        except (OSError, SafetensorError) as error:  # safetensors wraps a full disk in its own
            shutil.rmtree(work, ignore_errors=True)
            raise SaveError(self._excuse(state.step, error)) from error
        self._prune(state.step, int(state.best.get("step", -1)))
        return target

    def resume(self, learner: Learner) -> State | None:
        """Load the newest checkpoint that is whole; says so when it has to go further back.

        None when none has been written yet.

        Raises:
            DamagedError: there are checkpoints, and none is whole.
        """
        for step in reversed(self.steps()):
            try:
                return load(self._folder / str(step), learner)
            except DamagedError as error:
                warnings.warn(f"{error} Falling back to the checkpoint before it.", stacklevel=2)
        if self.steps():
            raise DamagedError(
                f"no checkpoint in {self._folder} is whole. To begin this run again from its first step, "
                "delete that folder and resume."
            )
        return None

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, rising."""
        if not self._folder.is_dir():
            return []
        return sorted(int(p.name) for p in self._folder.iterdir() if p.name.isdigit())

    def _prune(self, newest: int, best: int) -> None:
        """Later ones are damaged: had they been whole, the run would have gone on from them."""
        kept = {*[step for step in self.steps() if step <= newest][-self._keep :], *self._spared(newest)}
        for step in self.steps():
            if step not in kept and step != best:
                shutil.rmtree(self._folder / str(step))

    def _excuse(self, step: int, error: Exception) -> str:
        free = shutil.disk_usage(self._folder.parent).free / 2**30
        reason = getattr(error, "strerror", None) or error
        left = self.steps()
        intact = f"the one of step {left[-1]} is intact" if left else "there is none yet"
        return (
            f"could not save the checkpoint of step {step} in {self._folder}: {reason} "
            f"({free:.1f} GiB free). Of earlier checkpoints, {intact}. Make room, then resume the run."
        )


def load(folder: Path, learner: Learner) -> State:
    """Put a checkpoint's weights and moments into a learner.

    Raises:
        DamagedError: before anything in the learner has changed.
    """
    _verify(folder)
    try:
        moments = load_file(folder / "optimizer.safetensors")
        state = State(**json.loads((folder / "state.json").read_text()))
        scales = _scales(folder)
        reference = _reference(folder, learner)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise DamagedError(f"the checkpoint {folder} cannot be read: {error}.") from error
    load_weights(folder, learner)
    for name, master in learner.masters.weights.items():
        learner.optimizer.state[master] = {
            moment: moments[f"{moment}/{name}"].to(master.device)
            for moment in MOMENTS
            if f"{moment}/{name}" in moments
        }
    learner.scales, learner.reference_moved = scales, bool(reference)
    if learner.reference is not None:
        own = learner.reference.weights
        for name, value in reference.items():
            own[name].data.copy_(value)
    return state


def _scales(folder: Path) -> dict[str, tuple[float, float]]:
    path = folder / "scales.json"
    if not path.exists():
        return {}
    return {name: (kept, used) for name, (kept, used) in json.loads(path.read_text()).items()}


def _reference(folder: Path, learner: Learner) -> dict[str, Tensor]:
    """The weights of a moved reference; empty where it was not moved."""
    path = folder / "reference.safetensors"
    if not path.exists():
        return {}
    found = load_file(path)
    if learner.reference is not None:
        shapes = {name: value.shape for name, value in learner.reference.weights.items()}
        if {name: value.shape for name, value in found.items()} != shapes:
            raise ValueError("its reference is of another model")
    return found


def load_weights(folder: Path, learner: Learner) -> None:
    """Put a checkpoint's weights alone into a learner.

    Raises:
        DamagedError: before anything in the learner has changed.
    """
    weights = read_weights(folder)
    masters = learner.masters.weights
    shapes = {name: value.shape for name, value in masters.items()}
    if {name: value.shape for name, value in weights.items()} != shapes:
        raise DamagedError(
            f"the checkpoint {folder} is of another model: its weights differ in name or shape."
        )
    for name, master in masters.items():
        master.data.copy_(weights[name])
    learner.masters.publish()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """A checkpoint's weights by name, float32.

    Raises:
        DamagedError: they cannot be read.
    """
    try:
        return load_file(folder / "weights.safetensors")
    except (OSError, SafetensorError) as error:
        raise DamagedError(f"the checkpoint {folder} cannot be read: {error}.") from error


def _write(folder: Path, learner: Learner, state: State) -> None:
    save_file(dict(_tensors(learner)), folder / "weights.safetensors")
    save_file(dict(_moments(learner)), folder / "optimizer.safetensors")
    # not asdict, which copies what is remembered of every row
    facts = {entry.name: getattr(state, entry.name) for entry in fields(state)}
    (folder / "state.json").write_text(json.dumps(facts))
    if learner.scales:
        (folder / "scales.json").write_text(json.dumps(dict(learner.scales)))
    if learner.reference is not None and learner.reference_moved:
        kept = {name: value.detach().contiguous() for name, value in learner.reference.weights.items()}
        save_file(kept, folder / "reference.safetensors")
    files = sorted(folder.iterdir())
    for path in files:
        _sync(path)
    manifest = {path.name: {"bytes": path.stat().st_size, "blake2b": _digest(path)} for path in files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    _sync(folder / "manifest.json")
    _sync(folder)


def _tensors(learner: Learner) -> Iterator[tuple[str, Tensor]]:
    for name, master in learner.masters.weights.items():
        yield name, master.detach().contiguous()


def _moments(learner: Learner) -> Iterator[tuple[str, Tensor]]:
    for name, master in learner.masters.weights.items():
        for moment, value in learner.optimizer.state.get(master, {}).items():
            yield f"{moment}/{name}", value.contiguous()


def _verify(folder: Path) -> None:
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if not CONTENTS <= manifest.keys() <= CONTENTS | OPTIONAL:
            raise DamagedError(f"the checkpoint {folder} is damaged: its manifest is not what was written.")
        for name, facts in manifest.items():
            path = folder / name
            if path.stat().st_size != facts["bytes"] or _digest(path) != facts["blake2b"]:
                raise DamagedError(f"the checkpoint {folder} is damaged: {name} is not what was written.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"the checkpoint {folder} is damaged: {error}.") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _sync(path: Path) -> None:
    """Through to the disk, file or folder, so that a rename never points at unwritten bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; renamed to `path` when the block ends well, removed when it does not."""
    work = path.with_name(f".writing-{path.name}")
    try:
        yield work
        _sync(work)
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
