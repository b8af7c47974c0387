"""Policies beside the one in training: checkpoints of the run, of other runs, models, adapters.

All of them read the run's own tokens and are frozen. What is named by a place is loaded once and stays;
`best` and `latest-K` have one spare copy of the run's model, into which the checkpoint's weights go when it
is another than before.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from groupwise.checkpoints import Checkpoints, DamagedError, read_weights
from groupwise.engine.model import CausalLM
from groupwise.mixed import Source, Writer
from groupwise.models import Loaded, Lora, ModelError, Say, load
from groupwise.policies import LanguagePolicy
from groupwise.seats import BEST, Seat, Seats
from groupwise.tasks.task import is_world
from groupwise.trajectory import PolicyTag


class Fixed:
    """A policy that never changes."""

    def __init__(self, name: str, policy: LanguagePolicy, step: int = 0) -> None:
        self._writer = Writer(policy, PolicyTag(name, step))

    def at(self, version: int) -> Writer:
        return self._writer


class Moving:
    """The checkpoint of the run itself that `pick` names, given the steps behind the current policy."""

    def __init__(
        self, name: str, own: LanguagePolicy, folder: Path, pick: Callable[[int], int | None]
    ) -> None:
        self._name, self._own, self._folder, self._pick = name, own, folder / "checkpoints", pick
        self._writer: Writer | None = None

    def at(self, version: int) -> Writer | None:
        step = self._pick(version)
        if step is None or not (self._folder / str(step)).is_dir():
            return None
        if self._writer is None or self._writer.tag.version != step:
            spare = spare_copy(self._own) if self._writer is None else self._writer.policy
            put(read_weights(self._folder / str(step)), spare.module, f"the checkpoint of step {step}")
            self._writer = Writer(spare, PolicyTag(self._name, step))
        return self._writer


def spare_copy(policy: LanguagePolicy) -> LanguagePolicy:
    """The same policy with trained weights of its own; what is frozen, as under an adapter, is shared."""
    module = policy.module
    shared = {id(p): p for p in module.parameters() if not p.requires_grad}
    twin = copy.deepcopy(module, shared)
    for mine, theirs in zip(module.parameters(), twin.parameters(), strict=True):
        if mine.requires_grad:
            theirs.requires_grad_(False)
    return LanguagePolicy(policy.model.around(twin), policy.temperature)


@torch.no_grad()
def put(weights: dict[str, torch.Tensor], module: nn.Module, what: str) -> None:
    """Copy a checkpoint's weights into a module.

    Raises:
        DamagedError: the module has no weight of a name, or one of another shape.
    """
    known = dict(module.named_parameters())
    for name, value in weights.items():
        if name not in known or known[name].shape != value.shape:
            here = f"has it as {list(known[name].shape)}" if name in known else "has none of that name"
            raise DamagedError(
                f"{what} is of another architecture: it has {name} {list(value.shape)}, and the model {here}."
            )
    for name, value in weights.items():
        known[name].copy_(value)


# ---------------------------------------------------------------- of the run itself


def latest(back: int, save_every: int) -> Callable[[int], int | None]:
    """Picks the checkpoint `back` before the newest, of those that are written every `save_every` steps.

    Others (of a run that was stopped, of the best step) do not count: they are not what a run that nobody
    disturbed has.
    """

    def pick(version: int) -> int | None:
        step = (version // save_every - back) * save_every
        return step if step > 0 else None

    return pick


def best(folder: Path) -> Callable[[int], int | None]:
    """Picks the best step so far. A checkpoint is written whenever that changes, so the newest one knows."""

    @functools.lru_cache(maxsize=1)  # asked in every step, and what a run remembers may be long
    def known_to(step: int) -> int | None:
        path = folder / "checkpoints" / str(step) / "state.json"
        try:
            found = json.loads(path.read_text("utf-8"))["best"].get("step")
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise DamagedError(f"{path} cannot be read: {error!r}.") from error
        return None if found is None else int(found)

    def pick(version: int) -> int | None:
        written = [step for step in Checkpoints(folder).steps() if step <= version]
        return known_to(written[-1]) if written else None

    return pick


def spared(seats: Seats, save_every: int) -> Callable[[int], Sequence[int]]:
    """The steps whose checkpoints `latest-K` may still ask for, given the newest."""
    back = max((seat.back for seat in seats.seats if seat.back is not None), default=-1)

    def kept(newest: int) -> Sequence[int]:
        return [(newest // save_every - k) * save_every for k in range(back + 1)]

    return kept


# ---------------------------------------------------------------- by their places


@dataclass(frozen=True, slots=True)
class Place:
    """What a source has to know of the run."""

    base: str
    """The run's model by name, over which an adapter lies."""
    folder: Path
    save_every: int
    dtype: torch.dtype
    """In which frozen weights compute."""
    needed: int
    """Tokens of context that the longest prompt takes with its answer."""


def source_of(seat: Seat, own: Loaded, policy: LanguagePolicy, run: Place, say: Say) -> Source:
    """The source of a seat that is not `current`.

    Raises:
        ModelError, DamagedError: naming the seat, what does not fit and the way out.
    """
    if seat.source == BEST:
        return Moving(BEST, policy, run.folder, best(run.folder))
    if seat.back is not None:
        return Moving(seat.source, policy, run.folder, latest(seat.back, run.save_every))
    loaded, step = _placed(seat.source, run.base, own.model.device, run.dtype, say)
    _refuse_another_language(seat.source, own, loaded)
    if loaded.model.context < run.needed:
        raise ModelError(
            f"--seats: {seat.source} reads {loaded.model.context} tokens, and the longest prompt with its "
            f"answer has {run.needed}. Shorten or drop prompts, or lower --max-new-tokens."
        )
    return Fixed(seat.source, frozen(loaded.model, run.dtype, policy.temperature), step)


def _placed(place: str, base: str, device: torch.device, dtype: torch.dtype, say: Say) -> tuple[Loaded, int]:
    """(the model at a place, steps behind it)."""
    path = Path(place).expanduser()
    try:
        if is_adapter(path):
            return load(base, device, dtype, adapter=path, say=say), 0
        if not is_checkpoint(path):
            return load(place, device, dtype, say=say), 0
        config = run_config(path)
        lora = Lora(config["lora_rank"], config["lora_alpha"]) if config.get("lora_rank") else None
        loaded = load(config["model"], device, dtype, lora, say)
    except ModelError as error:
        raise ModelError(f"--seats: {error}") from error
    put(read_weights(path), loaded.model.model, f"--seats: the checkpoint {place}")
    return loaded, int(path.name)


def is_adapter(path: Path) -> bool:
    return (path / "adapter_config.json").is_file()


def is_checkpoint(path: Path) -> bool:
    return path.parent.name == "checkpoints" and path.name.isdigit()


def run_config(checkpoint: Path) -> dict[str, Any]:
    """The settings of the run that a checkpoint belongs to.

    Raises:
        ModelError: there is no such checkpoint, or it is of no language model.
    """
    run = checkpoint.parent.parent / "run.json"
    if not checkpoint.is_dir():
        there = sorted(int(p.name) for p in checkpoint.parent.glob("*") if p.name.isdigit())
        raise ModelError(
            f"there is no {checkpoint}; there are the checkpoints {there}. A run keeps its last (--keep) and "
            "its best; of the run itself name best or latest-K."
        )
    try:
        config: dict[str, Any] = json.loads(run.read_text("utf-8"))["config"]
        if is_world(config["task"]):
            raise ModelError(f"{checkpoint} is of {config['task']}, not of a language model")
        return {"model": config["model"], **config}
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{checkpoint} is no checkpoint of a run: {run} cannot be read ({error})") from error


def frozen(model: CausalLM, dtype: torch.dtype, temperature: float) -> LanguagePolicy:
    """A policy that is not trained, its weights in the format that computes."""
    module = model.model.requires_grad_(False)
    for parameter in module.parameters():  # not the buffers: rotary frequencies stay exact
        parameter.data = parameter.data.to(dtype)
    return LanguagePolicy(model, temperature)


def _refuse_another_language(name: str, own: Loaded, other: Loaded) -> None:
    """A token has to mean the same to both, or log-probs cannot be compared."""
    if own.tokenizer is not other.tokenizer and (what := difference(own.tokenizer, other.tokenizer)):
        raise ModelError(
            f"--seats: {name} reads other tokens than {own.model.name}: {what}. Only policies of one "
            "tokenizer can share a group."
        )
    if own.model.vocabulary != other.model.vocabulary:
        raise ModelError(
            f"--seats: {name} chooses among {other.model.vocabulary} tokens and {own.model.name} among "
            f"{own.model.vocabulary}: an answer of one may be impossible for the other."
        )


def difference(ours: Any, theirs: Any) -> str | None:
    """The first thing in which two tokenizers differ; None if they read and end alike."""
    words, others = ({i: word for word, i in t.get_vocab().items()} for t in (ours, theirs))
    for i in sorted(words.keys() | others.keys()):
        if words.get(i) != others.get(i):
            return f"token {i} is {words.get(i)!r} here and {others.get(i)!r} there"
    for mark in ("bos_token", "eos_token", "unk_token"):
        here, there = getattr(ours, mark), getattr(theirs, mark)
        if here != there:
            return f"its {mark} is {there!r}, and ours is {here!r}"
    return None
