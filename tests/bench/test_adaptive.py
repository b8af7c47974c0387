"""The experiment of adaptive groups, on a tiny model: equal budgets, resumed run by run, figures by hand."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import adaptive
import tiny_folder
from pictures_adaptive import answers_to, common_target, picture

SMALL = ("--steps", "2", "--every", "1", "--budget", "32", "--held-out", "6", "--device", "cpu")


def curve(*accuracies: float) -> list[dict[str, float]]:
    return [{"step": i, "answers": 64 * i, "seconds": i, "accuracy": a} for i, a in enumerate(accuracies)]


def run_of(arm: str, seed: int, *accuracies: float) -> dict[str, Any]:
    return {"arm": arm, "seed": seed, "made_with": {}, "curve": curve(*accuracies)}


FOUND = {
    "variance/0": run_of("variance", 0, 0.1, 0.3, 0.5),
    "variance/1": run_of("variance", 1, 0.1, 0.5, 0.4),
    "fixed-16/0": run_of("fixed-16", 0, 0.1, 0.2, 0.4),
}


def test_every_arm_writes_as_many_answers_a_step() -> None:
    options = adaptive.parse(["--budget", "128"])
    for arm in adaptive.ARMS:
        made = adaptive.settings_of(arm, 0, options)
        assert made.prompts * made.group_size == 128
    with pytest.raises(SystemExit):
        adaptive.parse(["--budget", "100"])


def test_answers_to_a_target_are_read_off_a_straight_line() -> None:
    assert answers_to(curve(0.1, 0.2, 0.4), 0.3) == pytest.approx(96)
    assert answers_to(curve(0.1, 0.5, 0.4), 0.5) == 64
    assert answers_to(curve(0.3, 0.5), 0.2) == 0
    assert answers_to(curve(0.1, 0.2), 0.3) is None


def test_the_common_target_is_what_every_run_came_to() -> None:
    assert common_target(FOUND) == 0.4


def test_the_table_and_the_picture_tell_the_median_of_seeds() -> None:
    shown = adaptive.table(FOUND, 0.4)
    assert [list(column.cells) for column in shown.columns] == [
        ["fixed-16", "variance"], ["1", "2"], ["128", "72"], ["128", "48"], ["128", "96"], ["0.400", "0.450"],
    ]  # fmt: skip
    words = [element.text or "" for element in ET.fromstring(picture(FOUND, 0.4)).iter()]
    assert "variance: 72" in words
    assert "fixed-16: 128" in words
    assert not any("knapsack" in word for word in words)
    missed = adaptive.table(FOUND, 0.45)
    assert next(iter(missed.columns[1].cells)) == "1 (1 never)"


def test_a_run_on_a_tiny_model_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arms, then a third beside them; other options are refused and nothing is lost."""
    model = tiny_folder.save(tmp_path / "model")
    out, svg = tmp_path / "adaptive.json", tmp_path / "adaptive.svg"
    where = ("--model", str(model), "--out", str(out), "--svg", str(svg), "--seeds", "0")
    adaptive.main([*SMALL, *where, "--arms", "variance", "fixed-8"])
    found = json.loads(out.read_text())
    assert list(found) == ["variance/0", "fixed-8/0"]
    for run in found.values():
        assert [point["step"] for point in run["curve"]] == [0, 1, 2]
        assert [point["answers"] for point in run["curve"]] == [0, 32, 64]
    ET.parse(svg)
    real, asked = adaptive.measure, list[str]()
    monkeypatch.setattr(adaptive, "measure", lambda arm, *more: (asked.append(arm), real(arm, *more))[1])
    adaptive.main([*SMALL, *where, "--arms", "variance", "fixed-32"])
    assert asked == ["fixed-32"]
    with pytest.raises(SystemExit, match="made with"):
        adaptive.main([*SMALL, *where, "--arms", "variance", "--learning-rate", "1"])
    adaptive.main(["--draw", "--out", str(out), "--svg", str(svg)])
    assert list(json.loads(out.read_text())) == ["variance/0", "fixed-8/0", "fixed-32/0"]
    with pytest.raises(SystemExit, match="no runs"):
        adaptive.main(["--draw", "--out", str(tmp_path / "none.json"), "--svg", str(svg)])
