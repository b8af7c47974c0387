"""Reads a run folder: what is there, and a sentence for each thing that is not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Point = tuple[int, float]
"""(step, value)."""
Places = dict[int, dict[str, dict[str, int]]]
"""step -> group -> sample -> byte offset in samples.jsonl."""

MAX_ANSWERS = 400
"""Answers embedded in a page: enough to get a feeling, few enough to open on a phone."""
MAX_STEPS = 10
LARGEST = 1e300
"""Beyond this a float counts as infinite: sums and differences of smaller ones stay finite."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Whole groups from a few steps spread over the run."""

    steps: Mapping[int, list[list[Row]]]
    """step -> groups -> siblings."""
    shown: int
    total: int
    total_steps: int


@dataclass(frozen=True, slots=True)
class Run:
    """What a run folder says."""

    name: str
    about: Row
    """run.json."""
    metrics: list[Row]
    """One row a step, steps rising."""
    samples: Samples
    result: Row
    """result.json; empty until the run has ended."""
    alarms: list[Row]
    """alarms.jsonl: what the guard raised, and what was over."""
    missing: tuple[str, ...]
    """A sentence for each thing that is not there, or not whole."""
    film: bytes = b""
    """play.gif, where `groupwise play` has left one."""

    def points(self, name: str) -> list[Point]:
        """The values of a metric where it has one; they may be infinite or not a number."""
        found = ((row["step"], number(row.get(name))) for row in self.metrics)
        return [(step, value) for step, value in found if value is not None]


def read(folder: Path) -> Run:
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(
            f"{folder} is not a run folder: it has no run.json (a run folder holds run.json, and as the "
            "run goes on metrics.jsonl, samples.jsonl and result.json)"
        )
    missing: list[str] = []
    return Run(
        name=folder.resolve().name,
        about=_object(folder / "run.json", "", missing),
        metrics=_metrics(folder / "metrics.jsonl", missing),
        samples=_samples(folder / "samples.jsonl", missing),
        result=_object(
            folder / "result.json",
            "No result.json: the run is still going, or it stopped before its end.",
            missing,
        ),
        alarms=_alarms(folder / "alarms.jsonl", missing),
        missing=tuple(missing),
        film=film.read_bytes() if (film := folder / "play.gif").is_file() else b"",
    )


def number(value: object) -> float | None:
    """The value as a float, None where it is not a number. JSON's true is not a number here.

    >>> number(3), number(True), number("3"), number(10**400)
    (3.0, None, None, inf)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def finite(value: float | None) -> bool:
    return value is not None and abs(value) <= LARGEST


def mapping(value: object) -> Row:
    """The value where it is a JSON object, else an empty one: files may be written by anything."""
    return value if isinstance(value, dict) else {}


def _object(path: Path, absent: str, missing: list[str]) -> Row:
    if not path.is_file():
        missing.append(absent)
        return {}
    try:
        value = json.loads(path.read_bytes().decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        missing.append(f"{path.name} cannot be read: it is not one JSON object.")
    return mapping(value)


def _rows(path: Path, missing: list[str]) -> Iterator[tuple[int, int, Row]]:
    """(byte offset, step, row) of each whole line that has a step; says how many others there are."""
    if not path.is_file():
        missing.append(f"No {path.name} yet.")
        return
    bad, last_is_bad, offset = 0, False, 0
    with path.open("rb") as file:
        for line in file:
            row = _row(line)
            step = number(row.get("step"))
            last_is_bad = bool(line.strip()) and not finite(step)
            bad += last_is_bad
            if step is not None and finite(step):
                yield offset, int(step), row
            offset += len(line)
    if bad - last_is_bad:
        missing.append(f"{path.name}: {bad - last_is_bad} unreadable lines were left out.")
    if last_is_bad:
        missing.append(f"{path.name}: the last line is only half written and was left out.")


def _row(line: bytes) -> Row:
    try:
        return mapping(json.loads(line.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return {}


def _metrics(path: Path, missing: list[str]) -> list[Row]:
    """Lines of the same step are one row: evaluations may come later, a resumed run repeats steps."""
    steps: dict[int, Row] = {}
    for _, step, row in _rows(path, missing):
        steps.setdefault(step, {}).update(row, step=step)
    if path.is_file() and not steps:
        missing.append(f"{path.name} holds no step yet.")
    return [steps[step] for step in sorted(steps)]


def _alarms(path: Path, missing: list[str]) -> list[Row]:
    """None is no news: a run may have no guard."""
    return [{**row, "step": step} for _, step, row in _rows(path, missing)] if path.is_file() else []


def _samples(path: Path, missing: list[str]) -> Samples:
    """First only where each answer lies, then the few that are shown: the file may be gigabytes."""
    places: Places = {}
    for offset, step, row in _rows(path, missing):
        group = places.setdefault(step, {}).setdefault(str(row.get("group")), {})
        group[str(row.get("sample", offset))] = offset
    if not places:
        return Samples({}, 0, 0, 0)
    with path.open("rb") as file:

        def load(offset: int) -> Row:
            file.seek(offset)
            return _row(file.readline())

        chosen = {
            step: [[load(offset) for offset in group.values()] for group in groups]
            for step, groups in _choose(places).items()
        }
    return Samples(
        steps=chosen,
        shown=sum(len(group) for groups in chosen.values() for group in groups),
        total=sum(len(group) for groups in places.values() for group in groups.values()),
        total_steps=len(places),
    )


def _choose(places: Places) -> dict[int, list[dict[str, int]]]:
    """Steps spread evenly, the first and the last among them; of each the first groups that fit."""
    largest = max(len(group) for groups in places.values() for group in groups.values())
    n_steps = min(len(places), max(2, min(MAX_STEPS, MAX_ANSWERS // largest)))
    rising = sorted(places)
    steps = [rising[round(i * (len(rising) - 1) / max(1, n_steps - 1))] for i in range(n_steps)]
    chosen: dict[int, list[dict[str, int]]] = {}
    for step in steps:
        room = MAX_ANSWERS // n_steps
        chosen[step] = []
        for group in places[step].values():
            room -= len(group)
            if room < 0 and chosen[step]:
                break
            chosen[step].append(group)
    return chosen
