"""The driver on workers that only pretend: no model, no TRL."""

import json
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import compare
import environment
import record
from environment import TrlMissingError
from worker import Worker, WorkerDiedError

FAKE = """
import json, sys
print(json.dumps({"model": "nowhere", "precision": {"weights": "float32", "compute": "float32"}}), flush=True)
for n, line in enumerate(sys.stdin):
    if n == int(sys.argv[1]) if sys.argv[1:2] and sys.argv[1].isdigit() else False:
        sys.exit("out of memory")
    print(json.dumps({"generate": 1.0, "score": 0.0, "update": 2.0, "step": 3.0 + n, "prompt_tokens": 7,
                      "answer_tokens": 100, "peak_memory_gib": 1.5, "lengths": [1]}), flush=True)
"""


def steps(*seconds: float) -> list[dict[str, Any]]:
    return [{"step": s, "answer_tokens": 10, "prompt_tokens": 5, "lengths": [10]} for s in seconds]


def worker(folder: Path, *arguments: str) -> Worker:
    path = folder / "ours.py"
    path.write_text(FAKE)
    return Worker([sys.executable, str(path), *arguments], limit=20)


def test_a_side_has_median_min_and_max_of_every_number() -> None:
    side = record.side({"precision": "float32"}, steps(3.0, 1.0, 8.0))
    assert (side["median"]["step"], side["min"]["step"], side["max"]["step"]) == (3.0, 1.0, 8.0)
    assert side["median"]["seconds_per_token"] == pytest.approx(0.3)
    assert "lengths" not in side["median"]
    assert len(side["steps"]) == 3


def test_ratios_are_theirs_by_ours_and_leave_out_what_is_unknown() -> None:
    ours = {"median": {"step": 2.0, "generate": 1.0, "peak_memory_gib": 4.0, "update": 0.0}}
    theirs = {"median": {"step": 5.0, "peak_memory_gib": 2.0, "update": 3.0}}
    assert record.ratios(ours, theirs) == {"step": 2.5, "peak_memory_gib": 0.5}


def test_an_entry_says_whether_both_read_the_same_prompts() -> None:
    ours, theirs = record.side({}, steps(1.0)), record.side({}, steps(4.0))
    found = record.entry({"name": "short"}, "fp32", {}, ours, theirs)
    assert found["ratio"]["step"] == 4.0
    assert found["same_prompt_tokens"]
    theirs["steps"][0]["prompt_tokens"] = 6
    assert not record.entry({"name": "short"}, "fp32", {}, ours, theirs)["same_prompt_tokens"]


def test_an_entry_without_the_other_side_has_no_ratio() -> None:
    ours = record.side({}, steps(1.0))
    assert "ratio" not in record.entry({"name": "short"}, "fp32", {}, ours, {"failed": "out of memory"})
    assert "ratio" not in record.entry({"name": "short"}, None, {}, ours, None)


def test_merging_keeps_what_was_measured_before(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"
    record.merge(path, "short/fp32", {"a": 1})
    record.merge(path, "long/fp32", {"a": 2})
    record.merge(path, "short/fp32", {"a": 3})
    assert json.loads(path.read_text()) == {"short/fp32": {"a": 3}, "long/fp32": {"a": 2}}
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_sides_take_turns_and_the_first_step_does_not_count(tmp_path: Path) -> None:
    with worker(tmp_path) as ours, worker(tmp_path) as trl:
        ours.ready(), trl.ready()
        rows, there, failure = compare.turns(ours, trl, 2)
    assert [row["step"] for row in rows] == [row["step"] for row in there] == [4.0, 5.0]
    assert failure is None


def test_a_side_that_dies_is_data_and_ours_goes_on(tmp_path: Path) -> None:
    with worker(tmp_path) as ours, worker(tmp_path, "2") as trl:
        ours.ready(), trl.ready()
        rows, there, failure = compare.turns(ours, trl, 3)
    assert len(rows) == 3
    assert len(there) == 1
    assert failure is not None
    assert "out of memory" in failure
    assert "step 2" in failure


def test_our_own_death_ends_the_comparison(tmp_path: Path) -> None:
    with worker(tmp_path, "0") as ours:
        ours.ready()
        with pytest.raises(WorkerDiedError, match="out of memory"):
            compare.turns(ours, None, 1)


def test_a_worker_that_falls_silent_is_ended() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with Worker(command, limit=0.2) as silent, pytest.raises(WorkerDiedError, match="took longer"):
        silent.ready()


def test_without_trl_our_side_is_measured_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ours.py").write_text(FAKE)
    monkeypatch.setattr(compare, "HERE", tmp_path)
    monkeypatch.setattr(compare, "end_workers_with_us", lambda: None)  # pytest keeps its own signals
    monkeypatch.setenv(environment.VARIABLE, str(tmp_path / "no-python"))
    out = tmp_path / "results.json"
    compare.main(["--workloads", "short", "--steps", "1", "--out", str(out)])
    found = json.loads(out.read_text())
    assert list(found) == ["short"]
    assert found["short"]["trl"] is None
    assert found["short"]["ours"]["median"]["step"] == 4.0
    assert "Only our side is measured" in " ".join(capsys.readouterr().out.split())


def test_a_failing_installation_is_told_with_pips_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **_: Any) -> CompletedProcess[str]:
        failed = "pip" in command
        return CompletedProcess(command, int(failed), "", "ERROR: no such version" if failed else "")

    monkeypatch.delenv(environment.VARIABLE, raising=False)
    monkeypatch.setattr(environment.subprocess, "run", run)
    with pytest.raises(TrlMissingError, match=r"could not be installed.*no such version"):
        environment.trl_python(None, tmp_path / "venv")


def test_a_complete_environment_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def run(command: list[str], **_: Any) -> CompletedProcess[str]:
        commands.append(command)
        python = tmp_path / "venv" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return CompletedProcess(command, 0, "", "")

    monkeypatch.delenv(environment.VARIABLE, raising=False)
    monkeypatch.setattr(environment.subprocess, "run", run)
    monkeypatch.setattr(environment.sys, "platform", "linux")
    first = environment.trl_python(None, tmp_path / "venv")
    asked = len(commands)
    assert environment.trl_python(None, tmp_path / "venv") == first
    assert asked == len(commands) == 2


def test_an_interpreter_that_is_given_is_taken_as_it_is(tmp_path: Path) -> None:
    assert environment.trl_python(tmp_path / "python") == tmp_path / "python"
