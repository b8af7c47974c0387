"""Figures of a comparison, as they are kept: medians, ratios, files that later runs add to. No torch."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

COMPARED = ("step", "generate", "update", "peak_memory_gib", "seconds_per_token")
"""Figures of which ratios are taken, TRL's by ours: above 1, ours is the smaller."""

Figures = Mapping[str, Any]


def side(about: Figures, steps: Sequence[Figures]) -> dict[str, Any]:
    """What a worker said of itself, each step's figures, and their median, min and max."""
    rows = [{**step, "seconds_per_token": step["step"] / step["answer_tokens"]} for step in steps]
    names = [name for name, value in rows[0].items() if isinstance(value, (int, float))]
    columns = {name: [row[name] for row in rows] for name in names}
    return {
        **about,
        "median": {name: statistics.median(values) for name, values in columns.items()},
        "min": {name: min(values) for name, values in columns.items()},
        "max": {name: max(values) for name, values in columns.items()},
        "steps": rows,
    }


def ratios(ours: Figures, trl: Figures) -> dict[str, float]:
    """TRL's median by ours.

    >>> ratios({"median": {"step": 2.0}}, {"median": {"step": 5.0}})
    {'step': 2.5}
    """
    pairs = {n: (trl["median"].get(n), ours["median"].get(n)) for n in COMPARED}
    return {n: there / here for n, (there, here) in pairs.items() if here and there is not None}


def entry(
    workload: Figures, variant: str | None, about: Figures, ours: Figures, trl: Figures | None
) -> dict[str, Any]:
    """One workload against one variant of TRL. `trl` holds `failed` where it died, is None where missing."""
    result: dict[str, Any] = {"workload": workload, "variant": variant, **about, "ours": ours, "trl": trl}
    if trl is not None and "median" in trl:
        result["ratio"] = ratios(ours, trl)
        result["same_prompt_tokens"] = _prompts(ours) == _prompts(trl)
    return result


def _prompts(figures: Figures) -> list[int]:
    return [step["prompt_tokens"] for step in figures["steps"]]


def merge(path: Path, key: str, value: Figures) -> dict[str, Any]:
    """Put a value under a key of a JSON file and leave the others; the file is replaced in one go."""
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    known[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    beside.replace(path)
    return known


def machine() -> dict[str, Any]:
    """What ran it, without torch."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("torch", "transformers")},
        "date": date.today().isoformat(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()
