"""Named numbers of a step, and the files they go to. Names are TRL's where the meaning is the same."""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from groupwise.advantages import is_flat
from groupwise.mixtures import effective_share, log_weight, weights
from groupwise.trajectory import Group, StopReason, Trajectory


def of_cohort(cohort: Sequence[Group]) -> dict[str, float]:
    """What the answers of a step were like. See docs/metrics.md for every name."""
    members = [t for g in cohort for t in g.trajectories]
    lengths = np.array([t.n_decisions for t in members])
    stopped = Counter(t.stopped for t in members)
    numbers = {
        **_rewards(cohort, members),
        "completions/mean_length": float(lengths.mean()),
        "completions/min_length": float(lengths.min()),
        "completions/max_length": float(lengths.max()),
        "completions/clipped_ratio": stopped[StopReason.LENGTH] / len(members),
        **_sources(members),
    }
    if any(t.messages for t in members):
        numbers["completions/mean_turns"] = float(np.mean([len(t.turns) for t in members]))
    return numbers | {f"stopped/{reason}": stopped[reason] / len(members) for reason in StopReason}


def _rewards(cohort: Sequence[Group], members: Sequence[Trajectory]) -> dict[str, float]:
    per_group = [r[~np.isnan(r)] for r in (g.rewards for g in cohort)]
    every = np.concatenate(per_group)
    spreads = np.array([r.std(ddof=1) for r in per_group if len(r) > 1])
    numbers = {"rewards/unscored": 1 - len(every) / len(members)}
    if len(every):
        numbers["reward"] = float(every.mean())
    if len(spreads):
        numbers["reward_std"] = float(spreads.mean())
        numbers["frac_reward_zero_std"] = float(
            np.mean([is_flat(torch.from_numpy(r)) for r in per_group if len(r) > 1])
        )
    parts = _spread([t.parts for t in members], "rewards")
    return {**numbers, **parts, **_spread([t.gold for t in members], "gold")}


def _spread(values: Sequence[Mapping[str, float | None]], prefix: str) -> dict[str, float]:
    """Mean and deviation of each name over the answers that have it."""
    numbers: dict[str, float] = {}
    for name in dict.fromkeys(name for row in values for name in row):
        known = np.array([v for row in values if (v := row.get(name)) is not None])
        if len(known):
            numbers[f"{prefix}/{name}/mean"] = float(known.mean())
            numbers[f"{prefix}/{name}/std"] = float(known.std())
    return numbers


def _sources(members: Sequence[Trajectory]) -> dict[str, float]:
    """Of each policy that wrote, where answers have weights."""
    numbers: dict[str, float] = {}
    if all(t.proximal_logp is None for t in members):
        return numbers
    for name in dict.fromkeys(t.policy.name for t in members):
        theirs = [t for t in members if t.policy.name == name]
        rewards = [t.reward for t in theirs if t.reward is not None]
        advantages = [t.advantage.mean() for t in theirs if t.advantage is not None and t.reward is not None]
        logs = [log_weight(t) for t in theirs if t.proximal_logp is not None]
        w = weights(logs)
        means = {"reward": rewards, "advantage": advantages, "log_weight": logs}
        numbers |= {f"sources/{name}/{what}": float(np.mean(v)) for what, v in means.items() if len(v)}
        numbers[f"sources/{name}/count"] = float(len(theirs))
        numbers[f"sources/{name}/ess"] = effective_share(float(w.sum()), float((w**2).sum()), len(theirs))
    return numbers


def count_decisions(cohort: Sequence[Group]) -> int:
    """Tokens written, or actions taken."""
    return sum(t.n_decisions for g in cohort for t in g.trajectories)


def count_tokens(cohort: Sequence[Group]) -> int:
    """Tokens read and written: every answer counted with its prompt, as if it stood alone."""
    return sum(
        len(turn.decisions) + (len(turn.observation) if turn.observation.ndim == 1 else 0)
        for g in cohort
        for t in g.trajectories
        for turn in t.turns
    )


class Clock:
    """Seconds by phase since the last `take`."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self.ahead = 0.0
        """Seconds that rewards took while answers were being written: in no phase of their own."""

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent[phase] = self._spent.get(phase, 0.0) + time.perf_counter() - start

    def apart(self, phase: str) -> dict[str, float]:
        """time/PHASE of one phase alone, of which no step's time will know."""
        return {f"time/{phase}": self._spent.pop(phase)}

    def take(self, decisions: int) -> dict[str, float]:
        """time/PHASE, step_time (all of it), ahead_time, tokens_per_second, peak_memory_gib; starts anew."""
        spent, self._spent = self._spent, {}
        ahead, self.ahead = self.ahead, 0.0
        step_time = sum(spent.values())
        return {
            "step_time": step_time,
            **{f"time/{phase}": seconds for phase, seconds in spent.items()},
            **({"ahead_time": ahead} if ahead else {}),
            "tokens_per_second": decisions / step_time,
            "peak_memory_gib": peak_memory_gib(),
        }


def peak_memory_gib() -> float:
    """The most memory the process ever held: resident on a CPU, allocated by torch on a GPU.

    Linux's ru_maxrss begins at the parent's, so the process's own mark is read where there is one.
    """
    if torch.cuda.is_initialized():
        on_gpu = max(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
        if on_gpu:
            return on_gpu / 2**30
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


# ---------------------------------------------------------------- files


class Writer(Protocol):
    """Receives the numbers of every step."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """A file of one JSON object a line, flushed as it grows."""

    def __init__(self, path: Path) -> None:
        # half a surrogate pair, which a judge's reply may hold, is written as JSON's own escape for it
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        row = {**numbers, "step": step}  # a reward may log what it likes, but not another step
        line = json.dumps({"step": step} | row, ensure_ascii=False, default=_plain)
        self._file.write(line + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Scalars for TensorBoard.

    Raises:
        ModuleNotFoundError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def rewind(path: Path, step: int) -> None:
    """Drop the lines of later steps, and a last line that a killed process left unfinished."""
    if not path.exists():
        return
    # bytes, and not splitlines(): JSON allows U+2028 inside a text, and the last letter may be torn
    whole = path.read_bytes().split(b"\n")[:-1]
    kept = [line for line in whole if (at := _step_of(line)) is not None and at <= step]
    work = path.with_name(f".writing-{path.name}")
    work.write_bytes(b"".join(line + b"\n" for line in kept))
    work.replace(path)


def _plain(value: Any) -> Any:
    """What a reward logs or a data set holds may be a number of numpy or torch, a date, bytes."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _step_of(line: bytes) -> int | None:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return None


def samples_of(cohort: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """Every trajectory as a line of samples.jsonl."""
    for group in cohort:
        for i in range(len(group.trajectories)):
            yield sample_of(group, i)


def sample_of(group: Group, i: int) -> dict[str, Any]:
    """The group's i-th trajectory as such a line."""
    t = group.trajectories[i]
    return {
        "prompt": group.prompt.content,
        "group": group.prompt.ordinal,
        "sample": i,
        "text": t.text,
        **({"messages": [dict(m) for m in t.messages]} if t.messages else {}),
        "reward": t.reward,
        "parts": dict(t.parts),
        "gold": dict(t.gold),
        "extra": dict(t.extra),
        # a seat that was never asked has none, though it is in its group's baseline
        "advantage": None if t.advantage is None or not len(t.advantage) else float(t.advantage.mean()),
        "n_decisions": t.n_decisions,
        "stopped": t.stopped,
        "policy": {"name": t.policy.name, "version": t.policy.version},
        "columns": dict(group.prompt.columns),
    }
