"""Charts of groups that several policies wrote: a line for each policy."""

from __future__ import annotations

import re

from groupwise.report.charts import Chart, Series
from groupwise.report.files import Run, finite

ABOUT = {
    "ess": (
        "What is left of each policy's answers",
        "The effective sample size of its answers as a fraction of their number. Healthy: above 0.3; below "
        "0.1 for five steps a policy loses its seats.",
    ),
    "reward": (
        "Reward by policy",
        "The mean reward of each policy's answers. Healthy: the current policy comes up to the others.",
    ),
    "advantage": (
        "Advantage by policy",
        "The mean advantage of each policy's answers. Healthy: around 0; else a policy is imitated, or "
        "avoided, rather than good answers learnt.",
    ),
    "log_weight": (
        "Log-weight by policy",
        "The mean log importance weight of each policy's answers, in nats an answer. Healthy: near 0; far "
        "below, the current policy would hardly write them.",
    ),
    "count": (
        "Answers by policy",
        "How many answers each policy wrote. Healthy: as seated; a policy that lost its seats ends here.",
    ),
}
NAMES = re.compile(r"sources/(.+)/(ess|reward|advantage|log_weight|count)")


def by_policy(run: Run) -> list[Chart]:
    """Empty for a run without seats."""
    names = dict.fromkeys(name for row in run.metrics for name in row)
    found = [match for name in names if (match := NAMES.fullmatch(name))]
    found = [match for match in found if any(finite(value) for _, value in run.points(match[0]))]
    charts = []
    for what, (title, about) in ABOUT.items():
        lines = tuple(Series(m[1], run.points(m[0])) for m in found if m[2] == what)
        if lines:
            charts.append(Chart(title, about, lines, from_zero=what in ("ess", "count")))
    return charts
