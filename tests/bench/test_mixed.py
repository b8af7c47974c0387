"""The experiment on mixed groups, at the size of seconds: all arms run, go on, and are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import mixed
import tiny_folder
from groupwise.train_commands import train

FAKE: dict[str, Any] = {
    "arms": {
        "corrected": {"0": {"curve": [[0, 0.2], [5, 0.6]]}, "1": {"curve": [[0, 0.4], [5, 0.8], [6, 0.9]]}},
        "uncorrected": {"0": {"curve": [[0, 0.2], [5, 0.5]]}},
        "on-policy": {"0": {"curve": [[0, 0.2], [5, 0.55]]}},
    }
}


def test_the_mean_is_over_steps_that_every_seed_has() -> None:
    assert mixed.mean_curve(FAKE["arms"]["corrected"]) == [(0, pytest.approx(0.3)), (5, pytest.approx(0.7))]


def test_the_picture_has_a_line_for_each_arm_and_seed_and_names_the_means() -> None:
    svg = mixed.picture(FAKE)
    root = ElementTree.fromstring(svg)
    lines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    for arm, colour in mixed.ARMS.items():
        drawn = [e for e in lines if e.get("stroke") == colour]
        assert len(drawn) == len(FAKE["arms"][arm]) + 1
    assert "corrected 70%" in svg
    assert "on-policy 55%" in svg


def test_the_table_tells_start_and_end() -> None:
    assert "| corrected | 0.300 | 0.700 | 0.600, 0.900 |" in mixed.table(FAKE)


@pytest.mark.slow
def test_a_tiny_experiment_runs_all_arms_and_is_not_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def here(args: list[str]) -> None:
        calls.append(list(args))
        assert train(args) == 0

    monkeypatch.setattr(mixed, "groupwise", here)
    monkeypatch.chdir(tmp_path)
    model = tiny_folder.save(tmp_path / "model")
    argv = ["mixed.py", "--model", str(model), "--seeds", "1", "--past-steps", "2", "--stage", "1"]
    argv += ["--steps", "2", "--every", "1", "--prompts", "1", "--group", "6", "--share", "2"]
    argv += ["--held-out", "2", "--work", "work", "--out", "mixed.json", "--svg", "mixed.svg"]
    monkeypatch.setattr("sys.argv", [*argv, "--", "--device", "cpu", "--dtype", "float32"])
    mixed.main()
    assert len(calls) == 4
    found = json.loads(Path("mixed.json").read_text())
    assert set(found["arms"]) == {"past", *mixed.ARMS}
    for arm in mixed.ARMS:
        assert [step for step, _ in found["arms"][arm]["1"]["curve"]] == [0, 1, 2]
    sources = found["arms"]["corrected"]["1"]["sources"]
    assert {name: s["count"]["mean"] for name, s in sources.items()} == {
        "current": 2, "checkpoints/1": 2, "past/model": 2,
    }  # fmt: skip
    assert not found["arms"]["on-policy"]["1"]["sources"]
    assert ElementTree.parse("mixed.svg")
    mixed.main()
    assert len(calls) == 4
