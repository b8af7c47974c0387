"""What the guard said of a run: its alarms, the answers that show them, and charts of what it measured."""

from __future__ import annotations

import re

from groupwise.report.charts import Chart, Series
from groupwise.report.files import Row, Run, finite, mapping, number
from groupwise.report.markup import counted, esc, fmt, pairs, plain, prose
from groupwise.report.samples import prompt

NAMES = re.compile(
    r"guard/(agreement|share|disagreement|repetition|copied|constant|dropped|alarms)(?:/(.+))?"
)
CHARTS = {
    ("agreement",): (
        "Reward and gold among siblings",
        "The correlation of the reward with each gold reward within groups. Healthy: above 0 and steady; at "
        "0 the reward says nothing of what the run is judged by, below 0 it works against it.",
    ),
    ("share",): (
        "Which part decides",
        "The share of each part in what siblings' rewards differ by. Healthy: the part that matters keeps "
        "most.",
    ),
    ("disagreement",): (
        "Disagreement of the ensemble",
        "How far the members of an ensemble are apart. Healthy: steady; growth means answers unlike those "
        "that it was made from.",
    ),
    ("repetition",): (
        "Repetition",
        "The fraction of an answer's four-token runs that came before in it. Healthy: low and steady.",
    ),
    ("copied", "constant"): (
        "Copies and constant groups",
        "The fraction of groups in which one long text is most of the answers, and of those whose answers "
        "all get one reward without being right. Healthy: low.",
    ),
    ("dropped",): ("Dropped answers", "Answers whose reward the guard took away. Healthy: few."),
}


def guard_charts(run: Run) -> list[Chart]:
    """Empty for a run without a guard."""
    names = dict.fromkeys(name for row in run.metrics for name in row)
    found = [match for name in names if (match := NAMES.fullmatch(name))]
    found = [match for match in found if any(finite(value) for _, value in run.points(match[0]))]
    charts = []
    for kinds, (title, about) in CHARTS.items():
        lines = tuple(Series(m[2] or m[1], run.points(m[0])) for m in found if m[1] in kinds)
        if any(value for series in lines for _, value in series.points):  # nothing but 0 is no news
            charts.append(Chart(title, about, lines))
    return charts


def raised(run: Run) -> list[Row]:
    """Lines that raise an alarm, in the order of steps."""
    return [row for row in run.alarms if not row.get("over")]


def alarms(run: Run) -> str:
    """Every alarm with its sentence, how long it stood, and the answers that show it."""
    found = raised(run)
    if not found:
        watched = any(finite(value) for _, value in run.points("guard/alarms"))
        words = "No alarm was raised." if watched else "No guard looked at this run."
        return f'<p class="nothing">{words}</p>'
    return "".join(_alarm(row, run) for row in found)


def _alarm(row: Row, run: Run) -> str:
    step, name = row["step"], plain(row.get("alarm", "unnamed"))
    ends = [r["step"] for r in run.alarms if r.get("over") and r.get("alarm") == name and r["step"] > step]
    stood = f"over at step {fmt(min(ends))}" if ends else "not over"
    action = plain(row.get("action", "flag"))
    samples = row.get("samples")
    shown = "".join(_sample(mapping(s)) for s in samples) if isinstance(samples, list) else ""
    return (
        f'<article class="group"><header><p class="facts">step {fmt(step)} · {stood} · {esc(action)}</p>'
        f"<h4>{esc(name)}</h4><p>{esc(plain(row.get('message', '')))}.</p></header>"
        f'<ol class="siblings">{shown}</ol></article>'
    )


def _sample(row: Row) -> str:
    reward, decisions = number(row.get("reward")), number(row.get("n_decisions"))
    facts = [counted(decisions, "decision")] if decisions is not None else []
    facts += [pairs(values) for name in ("parts", "gold", "extra") if (values := mapping(row.get(name)))]
    text = plain(row.get("text") or "")
    return (
        f'<li><div class="worth"><span class="reward{"" if reward is not None else " none"}">'
        f"{fmt(reward) if reward is not None else 'not scored'}</span></div>"
        f'<div class="said"><div class="prompt">{prompt(row.get("prompt"))}</div>'
        f'{prose(text) if text else prose("no text")}<p class="facts">{" · ".join(facts)}</p></div></li>'
    )
