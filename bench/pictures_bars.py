"""Pictures of bars: seconds of a step and memory, against TRL and against PPO."""

from __future__ import annotations

from collections.abc import Sequence

from pictures_data import Found, by_workload, pooled, precision, said, shaped
from pictures_rows import Bar, Part, panel
from pictures_svg import AMBER, BLUE, GREEN, GREY, PALE, PLUM, RED, SAND, SKY, YELLOW, Sheet, short

PHASES = {"generate": BLUE, "score": GREEN, "update": AMBER}
SIDES = {"default": RED, "fp32": PLUM, "bf16": AMBER}
SETUPS = {
    "grpo": ("GRPO", "no reference"),
    "grpo_kl": ("GRPO with KL", "reference"),
    "ppo_no_reference": ("PPO without KL", "critic"),
    "ppo": ("PPO", "critic, reference"),
    "ppo_held": ("PPO, gradients held", "critic, reference"),
}
TIMES = {
    "generate": (("generate",), GREY),
    "policy\nupdate": (("pack", "policy"), BLUE),
    "reference\nforward": (("reference",), GREEN),
    "critic\nforward": (("values",), YELLOW),
    "critic\nupdate": (("critic",), AMBER),
}
CAUSES = {
    "policy weights": BLUE,
    "policy gradients": SKY,
    "policy Adam": PALE,
    "reference weights": GREEN,
    "critic weights": AMBER,
    "critic gradients": YELLOW,
    "critic Adam": SAND,
}


def splits(compared: Found) -> str:
    """splits.svg: a step's seconds, ours and TRL's, for each workload and variant."""
    about = "Medians; the line at a bar's end runs from least to most. Each workload has a scale of its own."
    sheet, y = Sheet("Seconds of a training step", about), 74.0
    for entries in by_workload(compared):
        bars = []
        for entry in entries:
            bars.append(
                _split("ours", entry["ours"], _sum(entry["ours"]["median"]), gap=10.0 if bars else 0.0)
            )
            if entry["variant"]:
                ratio = f", {entry['ratio']['step']:.2f} × ours" if "ratio" in entry else ""
                bars.append(_split(f"TRL {entry['variant']}", entry["trl"], ratio))
        y = panel(sheet, y, entries[0]["workload"]["name"], said(entries[0]), bars, "s")
    return sheet.svg(y)


def _sum(median: Found) -> str:
    """Ours may be too short a bar for the numbers of its parts."""
    sizes = [median.get(phase, 0.0) for phase in PHASES]
    return " = " + " + ".join(short(size) for size in sizes if size > 0.01 * median["step"])


def _split(label: str, side: Found, remark: str, gap: float = 0.0) -> Bar:
    if "median" not in side:
        return Bar(label, precision(side), (), "failed", gap=gap)
    middle = side["median"]
    parts = tuple(Part(name, middle[name], colour) for name, colour in PHASES.items() if name in middle)
    spread = side["min"]["step"], side["max"]["step"]
    note = f"{short(middle['step'])} s{remark}{' (then failed)' if 'failed' in side else ''}"
    return Bar(label, precision(side), parts, note, spread, gap)


def memory(compared: Found, ppo: Found) -> str:
    """memory.svg: peak memory of ours, of TRL and of PPO on our engine, all on one scale."""
    about = "Peak of the process, GiB; TRL and PPO with their multiple of ours."
    sheet, y = Sheet("Peak memory of training", about), 74.0
    critics = {result["workload"]: result.get("memory", {}) for result in ppo.get("results", [])}
    panels = []
    for entries in by_workload(compared):
        name = entries[0]["workload"]["name"]
        panels.append((name, said(entries[0]), _peaks(entries, critics.get(name, {}))))
    most = max(bar.end for _, _, bars in panels for bar in bars)
    for title, words, bars in panels:
        y = panel(sheet, y, title, words, bars, "GiB", most)
    return sheet.svg(y)


def _peaks(entries: Sequence[Found], critics: Found) -> list[Bar]:
    ours = [entry["ours"] for entry in entries]
    own, *spread = pooled(ours, "peak_memory_gib")
    bars = [Bar("ours", precision(ours[0]), (Part("", own, BLUE),), f"{own:.1f} GiB", tuple(spread))]
    for entry in entries:
        variant, trl = entry["variant"], entry["trl"] or {}
        if not variant:
            continue
        if "median" not in trl:
            bars.append(Bar(f"TRL {variant}", precision(trl), (), "failed"))
            continue
        peak, *spread = pooled([trl], "peak_memory_gib")
        note = f"{peak:.1f} GiB, {peak / own:.2f} × ours"
        part = Part("", peak, SIDES.get(variant, RED))
        bars.append(Bar(f"TRL {variant}", precision(trl), (part,), note, tuple(spread)))
    for name in ("ppo_no_reference", "ppo"):
        if name in critics:
            label, below = SETUPS[name]
            peak = critics[name]["peak_memory_gib"]
            note = f"{peak:.1f} GiB, {peak / own:.2f} × ours"
            bars.append(Bar(label, f"our engine, {below}", (Part("", peak, GREEN),), note))
    return bars


def ppo(found: Found) -> str:
    """ppo.svg: GRPO and PPO, seconds by part and memory by cause, for each workload."""
    about = "One engine, the same prompts and answers. Times are medians, memory is the process's peak."
    sheet, y = Sheet("GRPO and PPO, by part", about), 74.0
    for result in found["results"]:
        words = shaped(result["shape"])
        if "time" in result:
            bars = [_timed(name, result["time"]) for name in SETUPS if name in result["time"]]
            y = panel(sheet, y, f"{result['workload']}, seconds", words, bars, "s")
        if "memory" in result:
            bars = [_held(name, result["memory"]) for name in SETUPS if name in result["memory"]]
            y = panel(sheet, y, f"{result['workload']}, memory", words, bars, "GiB")
    return sheet.svg(y)


def _timed(name: str, time: Found) -> Bar:
    row = time[name]
    parts = tuple(
        Part(part, sum(row["parts"].get(key, 0.0) for key in keys), colour)
        for part, (keys, colour) in TIMES.items()
    )
    note = f"{short(row['step'])} s{_saved(row['step'], time, name, 'step')}"
    return Bar(*SETUPS[name], tuple(p for p in parts if p.size), note, (row["min"], row["max"]))


def _held(name: str, rows: Found) -> Bar:
    """What is computed by cause, after what remains: activations, logits, keys and values, the program."""
    tensors, peak = rows[name]["tensors_gib"], rows[name]["peak_memory_gib"]
    parts = [Part(c.replace(" ", "\n"), tensors.get(c, 0.0), colour) for c, colour in CAUSES.items()]
    rest = Part("the rest", max(0.0, peak - sum(part.size for part in parts)), GREY)
    note = f"{peak:.1f} GiB{_saved(peak, rows, name, 'peak_memory_gib')}"
    return Bar(*SETUPS[name], (rest, *(part for part in parts if part.size)), note)


def _saved(value: float, rows: Found, name: str, key: str) -> str:
    if name == "grpo" or "grpo" not in rows:
        return ""
    return f", GRPO saves {1 - rows['grpo'][key] / value:.0%}"
