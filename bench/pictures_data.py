"""The kept results as the pictures and tables want them. No torch."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Found = Mapping[str, Any]

FILES = ("compare", "limits", "ppo", "growth", "reach", "plan")


def read(folder: Path) -> dict[str, Any]:
    """Results by file name; those that were never measured are missing."""
    paths = {name: folder / f"{name}.json" for name in FILES}
    return {name: json.loads(p.read_text("utf-8")) for name, p in paths.items() if p.is_file()}


def by_workload(compared: Found) -> list[list[Found]]:
    """Entries of compare.json, one list for each workload, in the order they were measured."""
    found: dict[str, list[Found]] = {}
    for entry in compared.values():
        found.setdefault(entry["workload"]["name"], []).append(entry)
    return list(found.values())


def said(entry: Found) -> str:
    """What a workload is, in words."""
    w, steps = entry["workload"], entry["ours"]["steps"]
    tokens = statistics.median(step["prompt_tokens"] for step in steps) / w["prompts"]
    answers = f"{w['group']} answers of {'up to ' if w['natural_end'] else ''}{w['max_new_tokens']}"
    return f"{w['prompts']} prompts of about {tokens:.0f} tokens, {answers} to each"


def shaped(shape: Found) -> str:
    """The same of a workload of ppo.json."""
    counts = f"{shape['prompts']} prompts of {shape['prompt']} tokens"
    return f"{counts}, {shape['group']} answers of {shape['answer']} to each"


def precision(side: Found) -> str:
    """float32, or what the weights are and what they are multiplied in."""
    found = side.get("precision")
    if not found:
        return ""
    weights, compute = found["weights"], found["compute"]
    return weights if weights == compute else f"{weights}, {compute} products"


def pooled(sides: Sequence[Found], name: str) -> tuple[float, float, float]:
    """Median, least and most of a figure over the steps of several runs."""
    values = [step[name] for side in sides for step in side["steps"]]
    return statistics.median(values), min(values), max(values)


def failure(side: Found) -> str:
    """Why TRL failed, in a line without anybody's folders."""
    text = " ".join(side.get("failed", "").split())
    text = re.sub(r"(?<![\w/])/(?:[^\s/:'\"]+/)+", "", text)
    return text if len(text) <= 240 else f"{text[:60]} … {text[-170:]}"


# ---------------------------------------------------------------- what it was measured on


def hardware(machine: Found) -> str:
    """The machine and what ran on it."""
    has = f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']:g} GiB of memory"
    runs = ", ".join(f"{name} {machine[name]}" for name in ("torch", "transformers") if name in machine)
    return f"{has}; Python {machine['python']}, {runs}"


def records(name: str, found: Any) -> list[Found]:
    """Everything in a file that says what it was measured on; plan.json says nothing."""
    if name in ("compare", "reach"):
        return list(found.values())
    return [found] if name != "plan" else []


def machines(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Each machine that took part, and the files that are from it."""
    lines: dict[str, list[str]] = {}
    for name, found in results.items():
        for record in records(name, found):
            files = lines.setdefault(hardware(record["machine"]), [])
            files += [name] if name not in files else []
    return lines


def circumstances(name: str, found: Any) -> str:
    """Date, seed, threads, device and TRL's versions of a file: `Measured 2026-11-21; seed 0; ...`."""
    every = records(name, found)
    if not every:
        return ""
    about = [record["machine"] for record in every]
    ours = [record.get("ours", {}) for record in every]
    threads = _distinct([*(m.get("threads") for m in about), *(o.get("threads") for o in ours)])
    told = [
        f"Measured {_distinct(m['date'] for m in about)}",
        _named("seed", _distinct(record.get("seed") for record in every)),
        _named("threads:", threads),
        _named("OMP_NUM_THREADS", _distinct(m.get("omp_num_threads") for m in about)),
        _named("device:", _distinct([*(m.get("device") for m in about), *(o.get("device") for o in ours)])),
        _named(
            "computed in", _distinct(x for r in every for x in (r.get("dtype"), r["machine"].get("dtype")))
        ),
        _distinct(_trl(record.get("trl_versions")) for record in every),
    ]
    return "; ".join(filter(None, told)) + "."


def _trl(versions: Found | None) -> str | None:
    if not versions:
        return None
    return f"TRL {versions['trl']} with torch {versions['torch']}, transformers {versions['transformers']}"


def _named(name: str, value: str) -> str:
    return f"{name} {value}" if value else ""


def _distinct(values: Iterable[Any]) -> str:
    known = dict.fromkeys(str(value) for value in values if value is not None)
    return " and ".join(sorted(known))
