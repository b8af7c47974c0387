"""The figures as Markdown tables: medians, from least to most, ratios. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pictures_data import (
    Found,
    by_workload,
    circumstances,
    failure,
    machines,
    precision,
    said,
    shaped,
)

FIGURES = {
    "step": "step, s",
    "generate": "generate, s",
    "score": "score, s",
    "update": "update, s",
    "seconds_per_token": "ms / answer token",
    "peak_memory_gib": "peak, GiB",
    "matmul_gflops": "machine, GFLOP/s",
}
PARTS = {
    "policy": ("policy weights", "policy gradients", "policy Adam"),
    "critic": ("critic weights", "critic gradients", "critic Adam"),
    "reference": ("reference weights",),
}
TITLES = {
    "compare": "Against TRL",
    "limits": "The machine's limits",
    "ppo": "Against PPO",
    "growth": "Growth",
    "reach": "Seconds to an accuracy",
    "plan": "Plan and measurement",
}

Lines = Iterator[str]


def tables(results: Mapping[str, Any]) -> str:
    """Everything between the markers."""
    write: dict[str, Callable[[Any], Lines]] = {
        "compare": compare,
        "limits": limits,
        "ppo": ppo,
        "growth": growth,
        "reach": reach,
        "plan": plan,
    }
    found = machines(results)
    text = [f"Machine: {line}." for line in found]
    if len(found) > 1:
        text = ["Machines:", "", *(f"- {', '.join(files)}: {line}." for line, files in found.items())]
    text.append("")
    for name, result in results.items():
        text += [f"### {TITLES[name]}", "", circumstances(name, result), "", *write[name](result), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(text)).strip("\n")


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> Lines:
    """A table whose first `words` columns are words and the others numbers."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * words}{'---:|' * (len(head) - words)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def number(value: float) -> str:
    """Three digits or so."""
    if not value:
        return "0"
    size = abs(value)
    return f"{value:.{3 if size < 0.1 else 2 if size < 10 else 1 if size < 100 else 0}f}"


def spread(middle: float, low: float, high: float) -> str:
    """The median, and from least to most where they differ."""
    digits = len(number(middle).partition(".")[2])
    ends = f"{low:.{digits}f}–{high:.{digits}f}"
    return number(middle) + ("" if len(set(ends.split("–"))) == 1 else f" ({ends})")


# ---------------------------------------------------------------- one for each file


def compare(found: Found) -> Lines:
    """Ours, TRL's and the ratio; what failed below."""
    rows, notes = [], []
    for entries in by_workload(found):
        name = entries[0]["workload"]["name"]
        notes.append(f"- {name}: {said(entries[0])}")
        for entry in entries:
            rows.append([name, "ours", precision(entry["ours"]), *_figures(entry["ours"])])
            if not entry["variant"]:
                continue
            side, trl = f"TRL {entry['variant']}", entry["trl"] or {}
            rows.append([name, side, precision(trl), *_figures(trl)])
            ratio = [f"{entry['ratio'][key]:.2f}" if key in entry.get("ratio", {}) else "" for key in FIGURES]
            rows += [[name, "**TRL ÷ ours**", "", *(f"**{r}**" if r else "" for r in ratio)]] * any(ratio)
            if "failed" in trl:
                notes.append(f"- {name}, {side} failed: `{failure(trl)}`")
            if not entry.get("same_prompt_tokens", True):
                notes.append(f"- {name}, {side}: the two sides read prompts of different lengths")
    yield from grid(["workload", "side", "weights and products", *FIGURES.values()], rows, words=3)
    yield from ("", *notes)


def _figures(side: Found) -> list[str]:
    if "median" not in side:
        return ["failed", *[""] * (len(FIGURES) - 1)]
    scale = {"seconds_per_token": 1000}
    return [
        spread(*(scale.get(key, 1) * side[part][key] for part in ("median", "min", "max")))
        if key in side["median"]
        else ""
        for key in FIGURES
    ]


def limits(found: Found) -> Lines:
    best = found["limits"]
    yield f"At best: {best['flops'] / 1e9:.0f} GFLOP/s, {best['bandwidth'] / 1e9:.1f} GB/s."
    yield ""
    names = {"learner": "a learner's step", "decode": f"a decoding step of {found['decode']['rows']} rows"}
    rows = []
    for key, name in names.items():
        row = found[key]
        rate = f"{row['flops'] / row['seconds'] / 1e9:.0f}"
        bandwidth = "" if row["of_bandwidth"] is None else f"{row['of_bandwidth']:.0%}"
        seconds = number(row["seconds"]), number(row["bound_seconds"])
        rows.append([name, *seconds, rate, f"{row['of_peak']:.0%}", bandwidth])
    yield from grid(["work", "s", "bound, s", "GFLOP/s", "of the products", "of the bandwidth"], rows)


def ppo(found: Found) -> Lines:
    settings = found["settings"]
    yield f"Epochs on a batch: {settings['epochs']}. Counted steps of each setup: {settings['steps']}."
    for result in found["results"]:
        yield from ("", f"**{result['workload']}**: {shaped(result['shape'])}", "")
        if "time" in result:
            head = ["setup", "generate, s", "score, s", "update, s", "step, s", "GRPO saves"]
            rows = [
                [
                    f"`{name}`",
                    *(number(row[phase]) for phase in ("generate", "score", "update")),
                    spread(row["step"], row["min"], row["max"]),
                    _saving(result["time"], name, "step"),
                ]
                for name, row in result["time"].items()
            ]
            yield from grid(head, rows)
        if "memory" in result:
            yield ""
            head = ["setup", *(f"{part}, GiB" for part in PARTS), "the rest, GiB", "peak, GiB", "GRPO saves"]
            yield from grid(head, [_held(result["memory"], name) for name in result["memory"]])


def _held(memory: Found, name: str) -> list[str]:
    tensors, peak = memory[name]["tensors_gib"], memory[name]["peak_memory_gib"]
    sizes = [sum(tensors.get(cause, 0.0) for cause in causes) for causes in PARTS.values()]
    cells = [f"{size:.2f}" if size else "0" for size in (*sizes, peak - sum(sizes), peak)]
    return [f"`{name}`", *cells, _saving(memory, name, "peak_memory_gib")]


def _saving(rows: Found, name: str, key: str) -> str:
    if name == "grpo" or "grpo" not in rows:
        return ""
    return f"{1 - rows['grpo'][key] / rows[name][key]:.0%}"


def growth(found: Found) -> Lines:
    head = ["curve", "prompts × answers", "prompt", "answer", "generate, s / answer", "learn, s / answer"]
    head += ["ms / decoding step", "peak, GiB", "tokens learned", "unshared", "micro-batch"]
    rows = []
    for curve, points in found["curves"].items():
        for row in points:
            answers = row["prompts"] * row["group"]
            cells = [curve, f"{row['prompts']} × {row['group']}", f"{row['prompt']}", f"{row['answer']}"]
            for cost in ("generate", "learn"):
                taken = [step[cost] / answers for step in row["steps"]]
                cells.append(spread(row[f"{cost}_per_answer"], min(taken), max(taken)))
            cells += [f"{1000 * row['decode_step']:.0f}", f"{row['peak_memory_gib']:.1f}"]
            tokens = row["tokens"]["learned"], row["tokens"]["unshared"], row["tokens_per_microbatch"]
            rows.append([*cells, *(f"{count:,.0f}" for count in tokens)])
    yield from grid(head, rows)


def reach(found: Found) -> Lines:
    own = (found.get("ours") or {}).get("reached")
    rows = []
    for name, side in found.items():
        reached, last = side["reached"], side["curve"][-1]
        when = [f"{reached['seconds']:.0f}", f"{reached['step']}"] if reached else ["not reached", ""]
        ratio = f"{reached['seconds'] / own['seconds']:.2f}" if reached and own and name != "ours" else ""
        ends = [f"{last['seconds']:.0f} s", f"{last['accuracy']:.3f}", f"{last['peak_memory_gib']:.1f}"]
        rows.append([name.replace("trl-", "TRL "), f"{side['target']:.2f}", *when, ratio, *ends])
    head = ["side", "target", "seconds", "steps", "÷ ours", "last seen after", "accuracy", "peak, GiB"]
    yield from grid(head, rows)


def plan(found: Sequence[Found]) -> Lines:
    names = {"gib": "peak, GiB", "generate": "generate, s", "learn": "learn, s"}
    rows = []
    for result in found:
        work, cells = result["work"], []
        for name in names:
            ours, real = result["predicted"][name], result["measured"][name]
            cells.append(f"{number(ours)} / {number(real)} ({ours / real - 1:+.0%})".replace("-", "−"))
        sizes = f"{work['prompts']} × {work['group_size']}"
        tokens = f"{work['prompt_tokens']} + {work['max_new_tokens']}"
        rows.append([result["workload"], sizes, tokens, *cells])
    yield "Each cell: predicted / measured (difference)."
    yield ""
    yield from grid(["workload", "prompts × answers", "tokens", *names.values()], rows, words=3)
