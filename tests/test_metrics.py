"""The numbers of a step, from a cohort small enough to do them by hand; and the files they go to."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groupwise.metrics import (
    Clock,
    JsonLines,
    count_decisions,
    count_tokens,
    of_cohort,
    peak_memory_gib,
    rewind,
    samples_of,
)
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

FINISHED, LENGTH, ERROR = StopReason.FINISHED, StopReason.LENGTH, StopReason.ERROR


def answer(
    n: int, reward: float | None, stopped: StopReason = FINISHED, prompt: int = 3, **parts: float | None
) -> Trajectory:
    """n decisions after a prompt of some tokens."""
    turn = Turn(np.arange(prompt), np.arange(n), np.full(n, -1.0, dtype=np.float32))
    return Trajectory((turn,), PolicyTag(), stopped, "text", reward, parts)


COHORT = [
    Group(Prompt(0, "a"), (answer(2, 1.0, x=1.0, y=None), answer(4, 3.0, LENGTH, x=3.0, y=None))),
    Group(Prompt(1, "b"), (answer(6, 2.0, x=2.0, y=5.0), answer(8, 2.0, LENGTH, x=2.0, y=None))),
    Group(Prompt(2, "c"), (answer(10, 7.0, x=7.0, y=7.0), answer(0, None, ERROR))),
]


def test_every_number_of_a_cohort_by_hand() -> None:
    """Deviations of groups are of samples (n - 1), over groups with two scores or more."""
    assert of_cohort(COHORT) == pytest.approx(
        {
            "rewards/unscored": 1 / 6,
            "reward": (1 + 3 + 2 + 2 + 7) / 5,
            "reward_std": (math.sqrt(2) + 0) / 2,
            "frac_reward_zero_std": 1 / 2,
            "rewards/x/mean": 3.0,
            "rewards/x/std": math.sqrt((4 + 0 + 1 + 1 + 16) / 5),
            "rewards/y/mean": 6.0,
            "rewards/y/std": 1.0,
            "completions/mean_length": 5.0,
            "completions/min_length": 0.0,
            "completions/max_length": 10.0,
            "completions/clipped_ratio": 2 / 6,
            "stopped/finished": 3 / 6,
            "stopped/length": 2 / 6,
            "stopped/error": 1 / 6,
        }
    )


def test_no_number_where_there_is_nothing_to_count() -> None:
    """A part that never applied and a reward that nobody got have no mean, rather than NaN or 0."""
    silent = [Group(Prompt(0, "a"), (answer(2, None, y=None), answer(4, None, y=None)))]
    numbers = of_cohort(silent)
    assert numbers["rewards/unscored"] == 1
    assert not {"reward", "reward_std", "frac_reward_zero_std", "rewards/y/mean"} & numbers.keys()
    single = of_cohort([Group(Prompt(0, "a"), (answer(2, 5.0, y=5.0),))])
    assert single["reward"] == single["rewards/y/mean"] == 5
    assert "reward_std" not in single
    assert all(math.isfinite(v) for v in (numbers | single).values())


def test_decisions_and_tokens() -> None:
    """Every answer counts with its prompt; steps of an environment are decisions and read no tokens."""
    assert count_decisions(COHORT) == 30
    assert count_tokens(COHORT) == 30 + 6 * 3
    turns = (Turn(np.arange(3), np.arange(2), np.zeros(2)), Turn(np.arange(5), np.arange(1), np.zeros(1)))
    assert count_tokens([Group(Prompt(0, "a"), (Trajectory(turns, PolicyTag(), FINISHED),))]) == 11
    steps = Turn(np.zeros((4, 2)), np.arange(4), np.zeros(4))
    assert count_tokens([Group(Prompt(0, 9), (Trajectory((steps,), PolicyTag(), FINISHED),))]) == 4


def test_samples_are_lines_of_plain_values() -> None:
    prompt = Prompt(4, [{"role": "user", "content": "é\u2028"}], {"answer": 3})
    scored = Trajectory(
        COHORT[0].trajectories[0].turns, PolicyTag("old", 2), LENGTH, "said", 0.5, {"x": None}, {"note": [1]},
        np.array([0.25, 0.25], dtype=np.float32),
    )  # fmt: skip
    [line] = samples_of([Group(prompt, (scored,))])
    assert json.loads(json.dumps(line)) == {
        "prompt": prompt.content,
        "group": 4,
        "sample": 0,
        "text": "said",
        "reward": 0.5,
        "parts": {"x": None},
        "gold": {},
        "extra": {"note": [1]},
        "advantage": 0.25,
        "n_decisions": 2,
        "stopped": "length",
        "policy": {"name": "old", "version": 2},
        "columns": {"answer": 3},
    }
    [before] = samples_of([Group(prompt, (answer(2, None),))])
    assert (before["advantage"], before["reward"]) == (None, None)
    nothing = Turn(np.empty((0, 2)), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0))
    seat = Trajectory((nothing,), PolicyTag(), FINISHED, reward=-1.0, advantage=np.empty(0, np.float32))
    [unasked] = samples_of([Group(prompt, (seat,))])
    assert (unasked["advantage"], unasked["reward"]) == (None, -1.0)


# ---------------------------------------------------------------------------- the clock


def test_the_clock_adds_up_phases_and_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluating is told and not counted as training; a phase that raises is counted."""
    now = iter([0.0, 1.0, 10.0, 12.0, 20.0, 23.0, 30.0, 34.0, 50.0, 51.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    clock = Clock()
    for phase in ("generate", "learn", "generate"):
        with clock(phase):
            pass
    with clock("evaluate"):
        pass
    assert clock.apart("evaluate") == {"time/evaluate": 4.0}
    taken = clock.take(decisions=12)
    assert taken.pop("peak_memory_gib") > 0
    assert taken == {
        "step_time": 6.0,
        "time/generate": 4.0,
        "time/learn": 2.0,
        "tokens_per_second": 2.0,
    }

    def fails() -> None:
        with clock("learn"):
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert clock.take(1)["step_time"] == 1.0


def test_memory_is_told_in_gib() -> None:
    """A process with torch holds more than 0.05 GiB and less than this machine could ever have."""
    before = peak_memory_gib()
    assert 0.05 < before < 2000
    held = np.ones(300 * 2**20 // 8)
    assert peak_memory_gib() >= before
    assert held.sum() > 0


# ---------------------------------------------------------------------------- files


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_bytes().split(b"\n")[:-1]]


def written(path: Path, *numbers: int, **more: Any) -> Path:
    lines = JsonLines(path)
    for step in numbers:
        lines.write(step, {"x": step / 3, **more})
    lines.close()
    return path


def test_lines_are_there_as_soon_as_they_are_written(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "a.jsonl")
    lines.write(1, {"x": 0.1 + 0.2, "text": "é\n\u2028"})
    assert json.loads((tmp_path / "a.jsonl").read_bytes()) == {"step": 1, "x": 0.1 + 0.2, "text": "é\n\u2028"}
    lines.close()
    written(tmp_path / "a.jsonl", 2)
    assert steps(tmp_path / "a.jsonl") == [1, 2]


def test_half_a_surrogate_pair_is_written_and_read_back(tmp_path: Path) -> None:
    """A judge's reply may hold one, and its last line becomes the reason why an answer has failed."""
    lines = JsonLines(tmp_path / "samples.jsonl")
    lines.write(1, {"extra": "unparsable: \ud800 ü"})
    lines.close()
    row = json.loads((tmp_path / "samples.jsonl").read_text("utf-8"))
    assert row == {"step": 1, "extra": "unparsable: \ud800 ü"}


def test_rewinding_drops_later_steps_and_keeps_the_rest_byte_for_byte(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", 0, 1, 1, 2, 2, 3, text="é\u2028\u0085\r")
    kept = b"".join(path.read_bytes().splitlines(keepends=True)[:3])
    rewind(path, 1)
    assert path.read_bytes() == kept
    rewind(path, 1)
    assert path.read_bytes() == kept
    rewind(path, -1)
    assert path.read_bytes() == b""
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    "end", [b'{"step": 2, "x": 0.', b'{"step": 2}', b'{"step": 2, "t": "\xc3', b"\0\0", b"{"]
)
def test_rewinding_drops_an_unfinished_line(tmp_path: Path, end: bytes) -> None:
    """Whole JSON without its line feed too: the next line would be written onto its end."""
    path = written(tmp_path / "a.jsonl", 0, 1)
    path.write_bytes(path.read_bytes() + end)
    rewind(path, 5)
    assert steps(written(path, 2)) in ([0, 1, 2], [0, 1, 2, 2])
    assert all(json.loads(line) for line in path.read_bytes().split(b"\n")[:-1])


def test_rewinding_nothing_makes_nothing(tmp_path: Path) -> None:
    rewind(tmp_path / "a.jsonl", 3)
    assert list(tmp_path.iterdir()) == []


def test_rounding_does_not_hide_a_flat_group() -> None:
    """Six times 0.1 has a standard deviation of 1e-17: the group teaches nothing, and is counted so."""
    member = Trajectory((), PolicyTag(), StopReason.FINISHED, reward=0.1)
    turn = Turn(np.array([1]), np.array([2]), np.array([-1.0], dtype=np.float32))
    group = Group(Prompt(0, "?"), tuple(replace(member, turns=(turn,)) for _ in range(6)))
    assert of_cohort([group])["frac_reward_zero_std"] == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the mark is Linux's")
def test_the_peak_is_the_processes_own_and_not_its_parents() -> None:
    """The system's own count begins at what the parent held when it started the child."""
    big = np.ones(2**29 // 8)  # half a GiB, touched
    code = (
        "from groupwise.metrics import peak_memory_gib as peak\n"
        "first = peak(); held = b'x' * 2**29; print(first, peak())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    at_first, then = map(float, done.stdout.split())
    assert at_first + 0.9 * big.nbytes / 2**30 < peak_memory_gib(), "less than the parent's"
    assert then == pytest.approx(at_first + 0.5, abs=0.1)
