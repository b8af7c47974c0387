"""What is kept of every step, and when a number has moved: by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from groupwise.rewards.guard.history import Change, Course, HeldOut, History, change, noise, paired, windows


def course(values: np.ndarray) -> Course:
    return Course(values, noise(values))


def test_a_change_is_in_standard_errors_of_two_windows() -> None:
    """Differences 2 −2 2 −2 10 2 −2 2 −2: s² = 132 / 18, and the error of the difference is s √(2/5)."""
    values = np.array([0, 2, 0, 2, 0, 10, 12, 10, 12, 10], dtype=float)
    assert noise(values) == pytest.approx(math.sqrt(132 / 18))
    got = change(course(values), 5)
    assert got[:2] == (pytest.approx(0.8), pytest.approx(10.8))
    assert got.z == pytest.approx(10 / math.sqrt(132 / 18 * 2 / 5))
    assert change(course(-values), 5).z == pytest.approx(-got.z)


def test_a_window_may_begin_later() -> None:
    values = np.array([9, 9, 9, 9, 9, 0, 1, 0, 1, 0, 5, 5, 5, 5, 5], dtype=float)
    assert change(course(values), 5, start=5)[:2] == (0.4, 5)


def test_a_trend_is_no_noise() -> None:
    """A deviation about the mean would call a line of slope 1 noisy, and hide every steady rise."""
    line = np.arange(40, dtype=float)
    assert noise(line) == pytest.approx(math.sqrt(0.5))
    assert noise(line) < line.std() / 15


def test_without_noise_any_move_is_beyond_doubt_and_no_move_is_none() -> None:
    assert change(course(np.ones(10)), 5) == Change(1, 1, 0)
    assert paired(HeldOut(0, [1, 1, 1]), HeldOut(9, [0, 0, 0])) == Change(1, 0, -math.inf)
    assert paired(HeldOut(0, [1, 1]), HeldOut(9, [1, 1])).z == 0


def test_windows_fit_twice() -> None:
    assert [list(windows(n)) for n in (0, 7, 8, 15, 16, 64)] == [[], [], [4], [4], [4, 8], [4, 8, 16, 32]]


def test_a_history_survives_json_to_the_last_bit() -> None:
    """It is part of a checkpoint: a value rounded there would raise other alarms after a resume."""
    rng = np.random.default_rng(0)
    kept = History().evaluated(0, [{"gold": {"g": 0.1 + 0.2}}, {"gold": {"g": None}}])
    for step in range(1, 9):
        kept = kept.after(
            step, {"a": float(rng.normal()), **({"b": float(rng.normal())} if step > 4 else {})}
        )
    again = History.of(json.loads(json.dumps(kept.saved())))
    assert again.steps == tuple(range(1, 9))
    for names in (("a",), ("b",), ("a", "b")):
        for ours, theirs in zip(kept.known(*names), again.known(*names), strict=True):
            assert (ours.values.tolist(), ours.noise) == (theirs.values.tolist(), theirs.noise)
    assert again.peaks == kept.peaks == {"g": HeldOut(0, [0.1 + 0.2, None])}
    assert json.dumps(again.after(9, {"a": 1.0}).saved()) == json.dumps(kept.after(9, {"a": 1.0}).saved())


def test_columns_are_compared_at_steps_that_all_have() -> None:
    kept = History().after(1, {"a": 1.0}).after(2, {"a": 2.0, "b": 5.0}).after(3, {"b": 6.0}).after(4, {})
    assert [c.values.tolist() for c in kept.known("a")] == [[1, 2]]
    assert [c.values.tolist() for c in kept.known("a", "b")] == [[2], [5]]
    assert [len(c) for c in kept.known("a", "c")] == [0, 0]
    assert [c.values.tolist() for c in kept.judged("a")] == [[1, 2], [0, 0]]
    with_judge = kept.after(5, {"a": 7.0, "correct": 0.5})
    assert [c.values.tolist() for c in with_judge.judged("a")] == [[7], [0.5]]


def test_the_errors_of_the_steps_count_where_they_are_larger() -> None:
    """Five steps that happen to be equal are no proof that the sixth, which is not, means anything."""
    kept = History()
    for step, value in enumerate([2.0, 2.0, 2.0, 4.0], start=1):
        kept = kept.after(step, {"a": value, "b": value, "±a": 3.0, "±b": 0.1})
    apart = math.sqrt(4 / 6)
    assert [c.noise for c in kept.known("a", "b")] == [pytest.approx(3.0), pytest.approx(apart)]
    assert kept.after(5, {"a": 4.0}).known("a")[0].noise == pytest.approx(3.0)  # a step without one


def test_the_best_evaluation_is_kept_and_the_latest() -> None:
    """A fall is measured from the peak: from the start, a gain that was lost again would not show."""

    def lines(*values: float | None) -> list[dict[str, dict[str, float | None]]]:
        return [{"gold": {"g": v}} for v in values]

    kept = History().evaluated(0, lines(0, 0)).evaluated(5, lines(1, 1)).evaluated(9, lines(1, 0))
    assert kept.peaks["g"] == HeldOut(5, [1, 1])
    assert kept.latest["g"] == HeldOut(9, [1, 0])
    assert kept.evaluated(10, []) == kept
    assert History().evaluated(0, lines(None)).evaluated(1, lines(0.0)).peaks["g"].step == 1


def test_held_out_answers_are_compared_prompt_by_prompt() -> None:
    """Differences −1, 0, 0, −1 of the four that both have: mean −1/2, error √(1/3) / 2."""
    got = paired(HeldOut(0, [1, 1, 0, 1, None]), HeldOut(5, [0, 1, 0, 0, 1]))
    assert got[:2] == (0.75, 0.25)
    assert got.z == pytest.approx(-0.5 / (math.sqrt(1 / 3) / 2))
    assert paired(HeldOut(0, [None, 1]), HeldOut(5, [1, None])).z == 0
