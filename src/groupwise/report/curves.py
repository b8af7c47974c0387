"""Which metrics are charted together, and what a reader should expect of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from groupwise.report.alarms import NAMES as GUARDED
from groupwise.report.alarms import guard_charts, raised
from groupwise.report.charts import Chart, Series, draw
from groupwise.report.files import Point, Run, finite, number
from groupwise.report.markup import esc, island
from groupwise.report.policies import NAMES, by_policy


@dataclass(frozen=True, slots=True)
class Spec:
    """A chart of metrics with fixed names."""

    title: str
    about: str
    metrics: dict[str, str]
    """Metric -> the words for it in the legend."""
    from_zero: bool = True
    log: bool = False
    moves: bool = False
    """Of interest only where it is not one number all the time."""


LEARNING = (
    Spec(
        "Groups without a spread",
        "The fraction of groups whose siblings all got the same reward, and so teach nothing. Healthy: "
        "well below 1; near 1 the task is too hard, too easy, or solved.",
        {"frac_reward_zero_std": "fraction of groups"},
    ),
    Spec(
        "Answers to a prompt",
        "The sizes of a step's groups. Healthy: all alike, or, where answers are shared out by difficulty, "
        "apart and moving as prompts are learnt.",
        {"groups/size/max": "largest", "groups/size/mean": "mean", "groups/size/min": "smallest"},
        moves=True,
    ),
    Spec(
        "Answers worth writing",
        "The fraction of a step's answers in groups with a spread, and of those that were trained on. "
        "Healthy: high; what is missing was written for nothing.",
        {"groups/informative": "in groups with a spread", "groups/trained": "trained on"},
    ),
    Spec(
        "Replaced and skipped",
        "How many groups without a spread made room for fresh prompts, and how many prompts were passed "
        "over before they were asked. Healthy: few, or the data are too hard or too easy.",
        {"groups/replaced": "replaced", "groups/skipped": "skipped"},
        moves=True,
    ),
)
ANSWERS = (
    Spec(
        "Answers cut off",
        "The fraction of answers that a limit on length ended. Healthy: near 0, or falling; a rise "
        "means answers run away or the limit is too tight. Where staying alive is the task, it is what "
        "should rise; where the limit is the length of an answer, as in sums, it is 1.",
        {"completions/clipped_ratio": "cut off"},
    ),
    Spec(
        "Entropy",
        "How undecided the policy is, in nats a decision. Healthy: falls slowly; a collapse to 0 ends "
        "exploration, a rise beyond the start means it falls apart.",
        {"entropy": "entropy"},
    ),
)
UPDATE = (
    Spec(
        "Distance from the reference",
        "The KL divergence of the policy from where it started. Healthy: grows slowly and smoothly; "
        "a jump means that one step changed too much.",
        {"kl": "KL"},
    ),
    Spec(
        "Probability ratio",
        "New over old probability of the decisions in a step. Healthy: close to 1; a drift away means "
        "that the data are older than the method allows.",
        {"ratio": "mean ratio"},
        from_zero=False,
    ),
    Spec(
        "Clipped decisions",
        "The fraction of decisions whose ratio left the trusted region, below, above, or either. "
        "Healthy: a few per cent at most; exactly 0 with one update a step.",
        {"clip_ratio/region_mean": "either", "clip_ratio/low_mean": "below", "clip_ratio/high_mean": "above"},
    ),
    Spec(
        "Gradient norm",
        "The length of the gradient before clipping. Healthy: steady, with single spikes; lasting growth "
        "comes before a collapse.",
        {"grad_norm": "norm"},
    ),
    Spec(
        "Learning rate", "The schedule as it was applied. Healthy: as configured.", {"learning_rate": "rate"}
    ),
    Spec(
        "Loss",
        "The objective that was minimised. Healthy: small and around 0; it need not fall, the reward is "
        "what should rise.",
        {"loss": "loss"},
    ),
    Spec(
        "Sampler against learner",
        "How far the log-probabilities of the two disagree about the same decision. Healthy: flat; the "
        "mean below 0.01, and lower still in float32.",
        {"sampling/logp_difference/max": "largest", "sampling/logp_difference/mean": "mean"},
        from_zero=False,
        log=True,
    ),
)
MACHINE = (
    Spec(
        "Throughput",
        "Decisions a second of a whole step: tokens, or steps of an environment. Healthy: steady, or moving "
        "with the length of the answers.",
        {"tokens_per_second": "decisions a second"},
    ),
    Spec(
        "Tokens or steps so far",
        "Everything read and decided. Healthy: a straight line.",
        {"num_tokens": "tokens"},
    ),
    Spec(
        "Peak memory",
        "The most memory held during a step, in GiB. Healthy: flat after the first steps; steady growth "
        "is a leak.",
        {"peak_memory_gib": "GiB"},
    ),
)


def curves(run: Run) -> str:
    """All charts in parts, what has no value yet, and the data of the tooltips."""
    if not run.metrics:
        return '<p class="nothing">No step has been written yet.</p>'
    parts = {
        "Learning": [*_rewards(run), *_charts(run, LEARNING)],
        "Answers": [*_lengths(run), *_endings(run), *_charts(run, ANSWERS)],
        "Who wrote them": by_policy(run),
        "The guard": guard_charts(run),
        "The update": _charts(run, UPDATE),
        "Time and memory": [*_times(run), *_charts(run, MACHINE)],
    }
    parts["Everything else"] = _others(run)
    steps = float(run.metrics[0]["step"]), float(run.metrics[-1]["step"])
    html: list[str] = []
    values: list[dict[str, Any]] = []
    for title, charts in parts.items():
        drawn = []
        for chart in charts:
            body, data = draw(chart, steps, len(values))
            drawn.append(body)
            values.append(data)
        if drawn:
            html.append(_part(title, drawn))
    return "".join(html) + _absent(run) + island("curves-data", values)


def _part(title: str, drawn: list[str]) -> str:
    grid = f'<div class="charts">{"".join(drawn)}</div>'
    if title != "Everything else":
        return f"<h3>{esc(title)}</h3>{grid}"
    return f'<details class="else"><summary>{title} <span>{len(drawn)}</span></summary>{grid}</details>'


def _absent(run: Run) -> str:
    specs = (*LEARNING, *ANSWERS, *UPDATE, *MACHINE)
    titles = [spec.title for spec in specs if not any(_has(run, name) for name in spec.metrics)]
    return f'<p class="absent">Not recorded: {esc(", ".join(titles).lower())}.</p>' if titles else ""


def _has(run: Run, name: str) -> bool:
    return any(finite(value) for _, value in run.points(name))


def _names(run: Run, pattern: str) -> list[str]:
    """Metrics with a finite value whose whole name fits, in the order in which they appeared."""
    names = dict.fromkeys(name for row in run.metrics for name in row)
    return [name for name in names if re.fullmatch(pattern, name) and _has(run, name)]


def _charts(run: Run, specs: tuple[Spec, ...]) -> list[Chart]:
    charts = []
    for spec in specs:
        series = [Series(label, run.points(name)) for name, label in spec.metrics.items() if _has(run, name)]
        still = spec.moves and len({value for one in series for _, value in one.points}) == 1
        if series and not still:
            charts.append(Chart(spec.title, spec.about, tuple(series), spec.from_zero, spec.log))
    return charts


# ---------------------------------------------------------------- charts whose metrics carry names


def _rewards(run: Run) -> list[Chart]:
    """The reward, each of its parts that is not the reward itself, then held-out scores left over."""
    parts = [name.split("/", 1)[1].removesuffix("/mean") for name in _names(run, "rewards/.+/mean")]
    twins = [part for part in parts if run.points(f"rewards/{part}/mean") == run.points("reward")]
    others = [part for part in parts if part not in twins]
    held_out = next((n for n in ("reward", *twins) if _has(run, f"eval/{n}")), "reward")
    charts = [
        *_reward(run, "Reward", "reward", "reward_std", f"eval/{held_out}", wide=True),
        *(
            chart
            for part in others
            for chart in _reward(
                run, f"Reward: {part}", f"rewards/{part}/mean", f"rewards/{part}/std", f"eval/{part}"
            )
        ),
    ]
    gold = [name.split("/", 1)[1].removesuffix("/mean") for name in _names(run, "gold/.+/mean")]
    for name in gold:
        charts += _reward(run, f"Gold: {name}", f"gold/{name}/mean", f"gold/{name}/std", f"eval/gold/{name}")
    drawn = [run.points(f"eval/{name}") for name in (held_out, *others, *(f"gold/{n}" for n in gold))]
    for name in _names(run, "eval/.+"):
        if run.points(name) not in drawn:
            about = "A held-out score, measured now and then. Healthy: moves with the training reward."
            series = Series("held out", run.points(name), dots=True)
            charts.append(Chart(f"Held out: {name.removeprefix('eval/')}", about, (series,)))
    return charts


def _reward(run: Run, title: str, mean: str, std: str, held_out: str, wide: bool = False) -> list[Chart]:
    spread = dict(run.points(std))
    points = run.points(mean)
    band = [
        (step, value - spread[step], value + spread[step])
        for step, value in points
        if finite(value) and finite(spread.get(step))
    ]
    series = [Series("training", points, band)] if _has(run, mean) else []
    if _has(run, held_out):
        series.append(Series("held out", run.points(held_out), dots=True))
    about = (
        "The mean over a step's answers"
        + ("; the band is one standard deviation" if band else "")
        + (", dots are held-out scores" if series and series[-1].dots else "")
        + ". Healthy: rises, then levels off"
        + (", and the dots rise with it." if series and series[-1].dots else ".")
    )
    marks = dict.fromkeys(row["step"] for row in raised(run))
    if marks:
        about += " Vertical lines are alarms of the guard."
    return [Chart(title, about, tuple(series), wide=wide, marks=tuple(marks))] if series else []


def _lengths(run: Run) -> list[Chart]:
    name = "completions/mean_length"
    if not _has(run, name):
        return []
    low, high = dict(run.points("completions/min_length")), dict(run.points("completions/max_length"))
    band = [
        (step, low[step], high[step])
        for step, _ in run.points(name)
        if finite(low.get(step)) and finite(high.get(step))
    ]
    about = (
        "Decisions in an answer: the mean" + (", between the shortest and the longest" if band else "") + ". "
        "Healthy: changes with the reward; growth alone means length is being rewarded."
    )
    return [Chart("Length", about, (Series("mean", run.points(name), band),), from_zero=True)]


def _endings(run: Run) -> list[Chart]:
    names = _names(run, "stopped/.+")
    about = (
        "How many answers the policy ended itself, a limit cut off, or the world failed. Healthy: no errors, "
        "nearly all finished; where staying alive is the task, or the limit is an answer's length, cut."
    )
    series = tuple(Series(name.removeprefix("stopped/"), run.points(name)) for name in names)
    return [Chart("Why answers ended", about, series, from_zero=True)] if series else []


def _times(run: Run) -> list[Chart]:
    """Bars of the named times, and of what they leave of `step_time`: nothing goes uncounted."""
    names = _names(run, "time/.+")
    series = [Series(name.removeprefix("time/"), run.points(name)) for name in names]
    rest: list[Point] = []
    for row in run.metrics:
        total, named = number(row.get("step_time")), [number(row.get(name)) or 0.0 for name in names]
        if total is not None and finite(total) and finite(sum(named)):
            rest.append((row["step"], max(0.0, total - sum(named))))
    totals = dict(run.points("step_time"))
    if any(value > 0.01 * totals[step] for step, value in rest):
        series.append(Series("everything else" if names else "step", rest))
    about = (
        "Seconds of each step. Healthy: steady; generating usually takes most, a growing part of anything "
        "else is worth a look."
    )
    return [Chart("Where the time goes", about, tuple(series), stacked=True, wide=True)] if series else []


def _others(run: Run) -> list[Chart]:
    """A chart for each metric that no chart above knows."""
    known = {name for spec in (*LEARNING, *ANSWERS, *UPDATE, *MACHINE) for name in spec.metrics}
    known |= {"step", "step_time", "reward", "reward_std"}
    own = re.compile(r"(rewards|gold)/.+/(mean|std)|completions/(mean|min|max)_length|(eval|stopped|time)/.+")
    patterns = (own, NAMES, GUARDED)
    shown = [name for name in _names(run, ".+") if any(p.fullmatch(name) for p in patterns)]
    names = [name for name in _names(run, ".+") if name not in known and name not in shown]
    return [
        Chart(
            name,
            "A metric of this run that this page knows nothing about.",
            (Series(name, run.points(name)),),
        )
        for name in names
    ]
