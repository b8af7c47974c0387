"""The comparison with PPO: measured alike, kept in pieces, drawn whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("gymnasium")

import control
import control_pictures
import control_sides
from control_setups import BASELINES, COMPARED, EVERY, SETUPS, trial

CART = "CartPole-v1"


def fake(*scores: float, steps: int = 50_000) -> dict[str, Any]:
    points = [[steps * i / (len(scores) - 1), 2.0 * i, 1.0 * i, s, s / 2] for i, s in enumerate(scores)]
    return {"points": points, "updates": 1}


def test_a_course_measures_at_even_steps_and_at_the_end_and_stops_its_watch_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Points are due every 5 steps of 100; updates come every 7; evaluation takes 50 seconds, training 1."""
    now = [0.0]
    monkeypatch.setattr(control_sides.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(control_sides.time, "process_time", lambda: now[0] / 2)

    def play(greedy: bool) -> Sequence[float]:
        now[0] += 25
        return [1.0, 3.0] if greedy else [0.0]

    course = control_sides.Course(100, 20, play)
    course.passed(0)
    for steps in range(7, 106, 7):
        now[0] += 1
        assert not course.finished(steps - 7)
        course.passed(steps)
    assert course.finished(105)
    assert [p[0] for p in course.points] == [0, *range(7, 106, 7)]
    assert course.points[-1] == [105, 15.0, 7.5, 2.0, 0.0]


def test_a_course_whose_updates_are_short_measures_at_the_marks_alone() -> None:
    course = control_sides.Course(100, 20, lambda greedy: [0.0])
    for steps in range(101):
        course.passed(steps)
    assert [p[0] for p in course.points] == list(range(0, 101, 5))


@pytest.mark.parametrize("side", ["ours", "ppo"])
def test_both_sides_run_and_are_measured_alike(side: str) -> None:
    """Of an untrained policy at the start: the same 3 starts, of returns of at least 8 steps."""
    if side == "ppo":
        pytest.importorskip("stable_baselines3")
    setup = replace(SETUPS[CART], steps=300, episodes=3)
    setup = replace(setup, ours={"prompts": 2, "group_size": 2}, ppo={**setup.ppo, "n_epochs": 1})
    figures = control_sides.run(side, setup, seed=1)
    points = figures["points"]
    assert points[0][0] == 0
    assert points[-1][0] >= 300
    assert [p[0] for p in points] == sorted({p[0] for p in points})
    assert all(8 <= score <= 500 for p in points for score in p[3:])
    assert points[-1][1] > 0


def test_our_course_leaves_the_run_as_it_is() -> None:
    """Looking at drawn episodes on the way must not teach the normaliser: one course looks at more."""
    ours = {"prompts": 2, "group_size": 2, "normalise_observations": True}
    one, other = (
        control_sides.run("ours", replace(SETUPS[CART], steps=400, episodes=n, ours=ours), seed=1)
        for n in (1, 3)
    )
    assert [p[0] for p in one["points"]] == [p[0] for p in other["points"]]


def test_what_is_there_is_kept_until_its_settings_change(tmp_path: Path) -> None:
    out = tmp_path / "control.json"
    of = control.settings(SETUPS[CART], "ours")
    control.keep(out, CART, 2, "ours", {**fake(1, 2), "of": of})
    control.keep(out, CART, 1, "ppo", {**fake(1, 3), "of": control.settings(SETUPS[CART], "ppo")})
    found = control.known(out)
    assert control.is_kept(found, CART, 2, "ours")
    assert control.is_kept(found, CART, 1, "ppo")
    assert not control.is_kept(found, CART, 1, "ours")
    control.keep(out, CART, 2, "ours", {**fake(1, 2), "of": {**of, "steps": 7}})
    assert not control.is_kept(control.known(out), CART, 2, "ours")
    assert control.is_kept(control.known(out), CART, 1, "ppo")
    assert list(control.of_now(control.known(out))[CART]) == ["ppo"]


def test_runs_go_by_turns_and_can_be_named() -> None:
    assert list(control.wanted([CART])) == [
        (CART, 1, "ours"),
        (CART, 1, "ppo"),
        (CART, 2, "ppo"),
        (CART, 2, "ours"),
        (CART, 3, "ours"),
        (CART, 3, "ppo"),
    ]
    assert list(control.wanted([f"{CART}:2:ppo"])) == [(CART, 2, "ppo")]
    assert len(list(control.wanted([]))) == 6 * len(SETUPS) + 3 * (len(EVERY) - len(SETUPS))
    with pytest.raises(SystemExit, match="--only CartPole:1: ENVIRONMENT"):
        list(control.wanted(["CartPole:1"]))


def test_a_worker_tells_its_figures_in_its_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("stable_baselines3")
    monkeypatch.setattr(control, "PACKAGES", ("gymnasium",))
    monkeypatch.setattr(control_sides, "run", lambda side, setup, seed: fake(1, 2))
    control.worker(CART, 1, "ppo")
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["of"] == control.settings(SETUPS[CART], "ppo")
    assert told["machine"]["gymnasium"]


def test_the_table_has_means_and_ranges_of_the_last_points() -> None:
    found = {CART: {"ours": {"1": fake(0, 500), "2": fake(0, 400)}}}
    row = control_pictures.table(found).splitlines()[-1]
    assert row == "| CartPole-v1 | 50k | 450 (400 … 500) | 225 (200 … 250) | 1 | – | – | – |"


def test_baselines_stand_side_by_side_half_way_and_at_the_end() -> None:
    """Drawn scores of fake runs are half the greedy ones: 150 at a half of the steps, 250 at the end."""
    one, name = next(iter(BASELINES)), next(iter(COMPARED))
    steps = COMPARED[name]
    runs = {str(seed): fake(0, 300, 500 + seed, steps=steps) for seed in (-10, 10)}
    rows = control_pictures.baselines({trial(name, one): {"ours": runs}}).splitlines()
    assert rows[2].startswith(f"| {one} | 150 | 250 (245 … 255) | – | – |")
    assert len(rows) == 2 + len(BASELINES)
    assert EVERY[trial(name, one)].ours["recipe"] == BASELINES[one]


def test_what_comes_after_the_steps_does_not_count() -> None:
    """An update of long episodes may end far beyond: its policy had more steps than the other side's."""
    run = {"points": [[0, 0, 0, 1, 1], [50_500, 1, 1, 2, 2], [70_000, 2, 2, 500, 500]]}
    assert control_pictures.last({"1": run}, control_pictures.GREEDY, 50_000) == [2]


def test_a_curve_is_read_between_its_points_and_averaged_over_seeds() -> None:
    runs = {"1": fake(0, 100), "2": fake(0, 0, 300)}
    curve = dict(control_pictures.mean_curve(runs, 50_000, count=4))
    assert curve == {0: 0, 12_500: 12.5, 25_000: 25, 37_500: 112.5, 50_000: 200}
    assert control_pictures.reached(runs, 100, control_pictures.WALL) == [2.0, 4.0]
    assert control_pictures.reached(runs, 200, control_pictures.STEPS) == [None, 50_000]


def test_the_picture_has_a_panel_for_each_environment_and_a_line_for_each_run() -> None:
    found = {name: {side: {"1": fake(-3, 7, steps=s.steps), "2": fake(0, 5, steps=s.steps)}
                    for side in control.SIDES} for name, s in SETUPS.items()}  # fmt: skip
    svg = control_pictures.picture(found)
    root = ElementTree.fromstring(svg)
    lines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    for colour in control_pictures.COLOURS.values():
        assert sum(e.get("stroke") == colour for e in lines) == 1 + 3 * len(SETUPS)
    words = {e.text for e in root.iter("{http://www.w3.org/2000/svg}text")}
    assert set(SETUPS) <= words


def test_words_of_the_zoo_are_read() -> None:
    ready = control_sides._read(
        {"learning_rate": "lin_0.5", "gamma": 0.9, "policy_kwargs": {"activation_fn": "ReLU"}}
    )
    assert ready["learning_rate"](0.5) == 0.25
    assert ready["gamma"] == 0.9
    assert ready["policy_kwargs"]["activation_fn"].__name__ == "ReLU"
