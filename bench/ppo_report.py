"""Figures and tables of `bench/ppo.py`: medians, savings by cause, memory by part, and the statement."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ppo_setups import BUDGET, SETUPS, Workload

CLAIM = (30, 50)
"""Per cent of memory and time that GRPO is often said to save. DeepSeekMath (arXiv 2402.03300) says that
dropping the critic "significantly" reduces training resources and gives no number."""

PHASES = {"generate": ("generate",), "score": ("reference", "values"), "update": ("pack", "policy", "critic")}
PARTS = [f"{model} {part}" for model in ("policy", "critic") for part in ("weights", "gradients", "Adam")]
PARTS.append("reference weights")


# ---------------------------------------------------------------- figures


def time_summary(steps: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By setup: medians of the step and its phases, and the step's range."""
    summary = {}
    measured = {row["setup"] for row in steps}
    for name in (name for name in SETUPS if name in measured):
        laps = [row["seconds"] for row in steps if row["setup"] == name]
        totals = [sum(lap.values()) for lap in laps]
        summary[name] = {
            "step": statistics.median(totals),
            "min": min(totals),
            "max": max(totals),
            **{p: statistics.median(_phase(lap, p) for lap in laps) for p in PHASES},
            "parts": {part: statistics.median(lap[part] for lap in laps) for part in laps[0]},
        }
    return summary


def _phase(lap: Mapping[str, float], phase: str) -> float:
    return sum(lap.get(part, 0.0) for part in PHASES[phase])


def savings(figure: Mapping[str, float]) -> dict[str, float] | None:
    """What GRPO saves, in per cent of PPO; the parts of either order add up to the whole.

    Left out in turn: ppo - critic -> grpo_kl - reference -> grpo, or the reference first.
    """
    if not {"ppo", "grpo"} <= figure.keys():
        return None
    ppo, grpo = figure["ppo"], figure["grpo"]
    found = {"all": ppo - grpo}
    if "grpo_kl" in figure:
        found |= {"critic, left out first": ppo - figure["grpo_kl"]}
        found |= {"reference, left out then": figure["grpo_kl"] - grpo}
    if "ppo_no_reference" in figure:
        found |= {"reference, left out first": ppo - figure["ppo_no_reference"]}
        found |= {"critic, left out then": figure["ppo_no_reference"] - grpo}
    return {cause: 100 * saved / ppo for cause, saved in found.items()}


def timed_directly(time: Mapping[str, Mapping[str, Any]]) -> dict[str, float] | None:
    """The same causes read off PPO's own clock, in per cent of its step: less noisy than differences."""
    if "ppo" not in time:
        return None
    parts = time["ppo"]["parts"]
    causes = {"critic forward": "values", "critic update": "critic", "reference forward": "reference"}
    return {cause: 100 * parts[part] / time["ppo"]["step"] for cause, part in causes.items()}


def shape(workload: Workload) -> dict[str, int]:
    return {**asdict(workload), "tokens_per_microbatch": BUDGET}


# ---------------------------------------------------------------- text


def text(result: Mapping[str, Any]) -> str:
    """Everything measured of one workload."""
    w = result["shape"]
    lines = [
        f"\n{result['workload']}: {w['prompts']} prompts of {w['prompt']} tokens x {w['group']} answers of "
        f"{w['answer']}; micro-batches of {w['tokens_per_microbatch']} tokens"
    ]
    if "time" in result:
        lines += _time_table(result["time"])
        lines += _saving_lines("time", savings({k: v["step"] for k, v in result["time"].items()}))
        direct = timed_directly(result["time"])
        if direct:
            named = ", ".join(f"{cause} {value:.0f} %" for cause, value in direct.items())
            lines.append(f"  on PPO's own clock: {named} of its step")
    if "memory" in result:
        lines += _memory_table(result["memory"])
        lines += _saving_lines("memory", savings(peaks(result["memory"])))
    return "\n".join(lines)


def peaks(memory: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: row["peak_memory_gib"] for name, row in memory.items()}


def _time_table(time: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [f"\n{'seconds, medians':18}{'generate':>9}{'score':>8}{'update':>8}{'step':>8}   min to max"]
    for name, row in time.items():
        lines.append(
            f"{name:18}{row['generate']:9.2f}{row['score']:8.2f}{row['update']:8.2f}{row['step']:8.2f}"
            f"   {row['min']:.2f} to {row['max']:.2f}"
        )
    return lines


def _memory_table(memory: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Tensor sizes are computed; the rest (activations, logits, KV memory, the program) is what remains."""
    names = list(memory)
    lines = ["", f"{'GiB':30}" + "".join(f"{name:>17}" for name in names)]
    for part in PARTS:
        sizes = [memory[name]["tensors_gib"].get(part, 0.0) for name in names]
        lines.append(f"{'  ' + part + ', computed':30}" + "".join(f"{size:17.2f}" for size in sizes))
    rest = [row["peak_memory_gib"] - _computed(row) for row in memory.values()]
    lines.append(f"{'  the rest, by subtraction':30}" + "".join(f"{size:17.2f}" for size in rest))
    measured = peaks(memory).values()
    lines.append(f"{'peak, measured':30}" + "".join(f"{size:17.2f}" for size in measured))
    return lines


def _computed(row: Mapping[str, Any]) -> float:
    return sum(row["tensors_gib"].get(part, 0.0) for part in PARTS)


def _saving_lines(what: str, saved: Mapping[str, float] | None) -> list[str]:
    if saved is None:
        return []
    lines = [f"  GRPO saves {saved['all']:.0f} % of PPO's {what}"]
    for first, then in (("critic", "reference"), ("reference", "critic")):
        if f"{first}, left out first" in saved:
            a, b = saved[f"{first}, left out first"], saved[f"{then}, left out then"]
            lines.append(f"    {first} left out first: {a:.0f} %, then the {then}: {b:.0f} %")
    return lines


def statement(results: Sequence[Mapping[str, Any]], epochs: int) -> str:
    """The measured savings beside the claim, in words that take no side."""
    low, high = CLAIM
    lines = []
    for result in results:
        figures = {}
        if "time" in result:
            figures["time"] = {k: v["step"] for k, v in result["time"].items()}
        if "memory" in result:
            figures["memory"] = peaks(result["memory"])
        for what, figure in figures.items():
            lines += [f"  {result['workload']}: {line}" for line in _verdicts(what, figure)]
    if not lines:
        return "\nNo saving to state: measure grpo and ppo at least."
    claim = f"Often claimed: GRPO saves {low} to {high} % of PPO's memory and time."
    lines.insert(0, f"\n{claim} Here, epochs on a batch: {epochs}.")
    lines.append(
        "Memory of activations, logits and KV is the same for both, and so is the time to generate: the\n"
        "larger their share, the smaller the saving. The reference is KL's price, not PPO's: GRPO with KL\n"
        "pays it too. A reward model, where there is one, is needed by both and is not counted. These are\n"
        "figures of one model on one machine, for steps of equal size; which of the two learns more in a\n"
        "step is another question."
    )
    return "\n".join(lines)


def _verdicts(what: str, figure: Mapping[str, float]) -> list[str]:
    low, high = CLAIM
    lines = []
    pairs = [("ppo", "grpo"), ("ppo", "grpo_kl"), ("ppo_no_reference", "grpo"), ("ppo_held", "grpo")]
    for dear, cheap in pairs:
        if {dear, cheap} <= figure.keys():
            saved = 100 * (1 - figure[cheap] / figure[dear])
            judged = "within" if low <= saved <= high else "below" if saved < low else "above"
            lines.append(f"{what:6} {cheap} against {dear}: {saved:.0f} %, {judged} the claim")
    return lines
