"""A run killed at any moment and resumed ends as the run that nobody disturbed: bit for bit."""

from __future__ import annotations

import functools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny_folder
from commands import ENVIRONMENT, Done, groupwise, lines, start

STEPS, SAVE_EVERY = 6, 2
REWARD = '''
def digits_share(completions, **columns):
    """Between 0 and 1: something to learn from even for a random model."""
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [sum(x.isdigit() for x in text) / 8 + len(set(text)) / 100 for text in texts]

def digits(completions, **columns):
    """0 or 1: groups without a spread, to be replaced or passed over."""
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [float(sum(x.isdigit() for x in text) > 1) for text in texts]
'''
TALK = '''
import random

class Talk:
    """Draws from the global generator, as many worlds do: a resumed run has to hear the same."""
    def reset(self, row):
        return f"{row['seed'] % 7}?"

    def step(self, message):
        return f"{random.randrange(100)}.", sum(x.isdigit() for x in message) / 8 + len(message) / 100, False
'''
ROWS = "".join(json.dumps({"prompt": f"{i} and", "kind": f"{i % 2}"}) + "\n" for i in range(8))
COMMON = ("--steps", STEPS, "--save-every", SAVE_EVERY, "--group-size", 4, "--evaluate-every", 3)
LANGUAGE = (
    "arithmetic", "--model", "model", "--reward", "reward.py:digits_share", "--prompts", 3, "--held-out", 4,
    "--max-new-tokens", 8, "--lr", 1e-2,
)  # fmt: skip
ADAPTIVE = (
    "rows.jsonl", "--model", "model", "--reward", "reward.py:digits", "--prompts", 3, "--held-out", 3,
    "--max-new-tokens", 8, "--lr", 1e-2, "--recipe", "rloo", "--sizes", "variance", "--min-group", 2,
    "--max-group", 8, "--answers", 13, "--resample", 2, "--skip-solved", "--train-on", "drawn:4",
)  # fmt: skip
REAL = (
    "gym:Pendulum-v1", "--prompts", 2, "--held-out", 2, "--epochs", 2, "--episode-steps", 20,
    "--normalise-observations", "--normalise-rewards", "--recipe", "return_to_go_99",
)  # fmt: skip
RUNS: dict[str, tuple[Any, ...]] = {
    "language": (*LANGUAGE, *COMMON),
    "language-kl-bfloat16": (*LANGUAGE, *COMMON, "--kl-scale", 0.1, "--dtype", "bfloat16", "--epochs", 2),
    "guarded": (*LANGUAGE, *COMMON, "--kl-scale", 0.1, "--guard", "drop,kl:1e-9=flag"),
    "language-adaptive": (*ADAPTIVE, *COMMON),
    "mixed": (*LANGUAGE, *COMMON, "--seats", "current:2,latest-1:2", "--keep", 1),
    "conversation": (
        "env:talk.py:Talk",
        "--model",
        "model",
        "--prompts",
        2,
        "--held-out",
        2,
        "--max-new-tokens",
        6,
        "--max-turns",
        3,
        "--lr",
        1e-2,
        *COMMON,
    ),
    "gym": ("gym:CartPole-v1", *COMMON, "--prompts", 2, "--held-out", 2, "--epochs", 2),
    "gym-real": (*REAL, *COMMON),
    "game": (
        "game:tic_tac_toe",
        "--prompts",
        4,
        "--held-out",
        4,
        "--opponents",
        "current:1,latest-1:1",
        *COMMON,
    ),
    "zoo": ("zoo:crowds.py:parallel_env", "--prompts", 2, "--held-out", 2, "--normalise-rewards", *COMMON),
}


@functools.cache
def world() -> Path:
    """A folder with a tiny model and a reward file; all runs of this file start there."""
    folder = tempfile.TemporaryDirectory(prefix="resume-")
    KEPT.append(folder)
    tiny_folder.save(Path(folder.name) / "model")
    (Path(folder.name) / "reward.py").write_text(REWARD)
    (Path(folder.name) / "rows.jsonl").write_text(ROWS)
    shutil.copy(Path(__file__).parent / "crowds.py", folder.name)
    (Path(folder.name) / "talk.py").write_text(TALK)
    return Path(folder.name)


KEPT: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def undisturbed(kind: str) -> Path:
    """The run that others are compared with."""
    out = world() / f"undisturbed-{kind}"
    done = train(kind, out)
    assert done.code == 0, done.said
    return out


def train(kind: str, out: Path, *more: Any, before: str = "") -> Done:
    return groupwise("train", *map(str, (*RUNS[kind], "--out", out, *more)), cwd=world(), before=before)


def resume(out: Path, *more: Any, before: str = "") -> Done:
    return groupwise("train", "--resume", out, *map(str, more), cwd=world(), before=before)


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics less what a clock or the machine's memory says."""
    timed = ("step_time", "tokens_per_second", "peak_memory_gib")
    return [{k: v for k, v in r.items() if k not in timed and not k.startswith("time/")} for r in rows]


def newest(out: Path) -> Path:
    return max((out / "checkpoints").iterdir(), key=lambda p: int(p.name))


def differences(out: Path, other: Path) -> list[str]:
    """What two runs do not have in common, down to the last bit."""
    found = []
    for name in ("samples.jsonl", "evaluations.jsonl", "alarms.jsonl"):
        if (out / name).read_bytes() != (other / name).read_bytes():
            steps = [[row["step"] for row in lines(folder / name)] for folder in (out, other)]
            found.append(f"{name}: steps {steps}" if steps[0] != steps[1] else name)
    ours, theirs = (without_times(lines(folder / "metrics.jsonl")) for folder in (out, other))
    if ours != theirs:
        found.append(f"metrics.jsonl: {[r['step'] for r in ours]}, {[r['step'] for r in theirs]}")
    if scores(out) != scores(other):
        found.append(f"result.json: {scores(out)}, {scores(other)}")
    if remembered(out) != remembered(other):
        found.append("state.json: beliefs, sampler or guard")
    for file in ("weights.safetensors", "optimizer.safetensors"):
        found += [f"{file}: {name}" for name in unequal(newest(out) / file, newest(other) / file)]
    if (other / "model").exists():
        found += [
            f"model/: {name}"
            for name in unequal(out / "model" / "model.safetensors", other / "model" / "model.safetensors")
        ]
    return found


def unequal(path: Path, other: Path) -> list[str]:
    ours, theirs = load_file(path), load_file(other)
    return [
        name
        for name in sorted(ours.keys() | theirs.keys())
        if name not in ours or name not in theirs or not torch.equal(ours[name], theirs[name])
    ]


def scores(out: Path) -> Any:
    result = json.loads((out / "result.json").read_text())
    del result["train_seconds"]
    return result


def remembered(out: Path) -> Any:
    """What the last checkpoint keeps of prompts, worlds and its guard, as text: down to the last digit."""
    state = json.loads((newest(out) / "state.json").read_text())
    return json.dumps([state["beliefs"], state["sampler"], state["guard"]])


def dying_at(operation: int) -> str:
    """Code that kills its process with SIGKILL just before its n-th file operation in the run's folder."""
    return f"""
import os, signal, sys
left = [{operation}]
def audit(event, args):
    if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree"):
        if "/run-" in os.path.abspath(os.fsdecode(args[0])) if isinstance(args[0], (str, bytes)) else False:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
"""


def dying_in(function: str, call: int, after: bool = False) -> str:
    """Code that kills its process with SIGKILL in the n-th call of a function of groupwise."""
    owner, name = function.rsplit(".", 1)
    return f"""
import os, pkgutil, signal
owner = pkgutil.resolve_name({owner!r})
real = getattr(owner, {name!r})
left = [{call}]
def dying(*args, **kwargs):
    left[0] -= 1
    if left[0] == 0 and not {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    value = real(*args, **kwargs)
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return value
setattr(owner, {name!r}, dying)
"""


# ---------------------------------------------------------------------------- killed


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_two_runs_of_one_seed_are_equal(kind: str) -> None:
    """What resuming is measured against: without it, equality after a kill would say nothing.

    And the policy does move, in every weight, or equal weights would be no news.
    """
    out = world() / f"run-again-{kind}"
    assert train(kind, out).code == 0
    assert differences(out, undisturbed(kind)) == []
    early = newest(out).with_name(str(STEPS - SAVE_EVERY)) / "weights.safetensors"
    moved = unequal(early, newest(out) / "weights.safetensors")
    assert len(moved) == len(load_file(early))


@pytest.mark.slow
def test_the_adaptive_run_does_what_is_to_be_resumed() -> None:
    """Sizes that differ, groups replaced, prompts passed over, answers left out: else it says little."""
    steps = lines(undisturbed("language-adaptive") / "metrics.jsonl")[1:]
    assert any(row["groups/size/min"] < row["groups/size/max"] - 1 for row in steps)
    assert sum(row["groups/replaced"] for row in steps) > 0
    assert sum(row["groups/skipped"] for row in steps) > 0
    assert any(0 < row["groups/trained"] < row["groups/informative"] for row in steps)


@pytest.mark.slow
def test_the_guarded_run_raises_an_alarm_to_be_resumed() -> None:
    """Else the equality of two empty files would say little."""
    [alarm] = lines(undisturbed("guarded") / "alarms.jsonl")
    assert (alarm["step"], alarm["alarm"]) == (4, "kl")
    history = json.loads((newest(undisturbed("guarded")) / "state.json").read_text())["guard"]["history"]
    assert history["steps"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("guarded", 5),
        ("language", 0),
        ("language", 1),
        ("language-kl-bfloat16", 2),
        ("language-adaptive", 4),
        ("gym", 3),
        ("gym-real", 5),
        ("mixed", 4),
    ],
)
def test_killed_before_a_random_file_operation_again_and_again(kind: str, seed: int) -> None:
    """SIGKILL at a seeded random open, rename or removal of a file in the run folder, five times over."""
    rng = np.random.default_rng([seed, len(kind)])
    out = world() / f"run-files-{kind}-{seed}"
    done = train(kind, out, before=dying_at(int(rng.integers(2, 60))))
    kills = 0
    while done.code == -signal.SIGKILL and kills < 5:
        kills += 1
        if (out / "run.json").exists():
            done = resume(out, before=dying_at(int(rng.integers(2, 60))) if kills < 5 else "")
        else:
            done = train(kind, out, before=dying_at(int(rng.integers(2, 60))))
    assert kills >= 1
    assert done.code == 0, done.said
    assert differences(out, undisturbed(kind)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["language", "language-adaptive", "gym"])
def test_killed_by_the_clock_again_and_again(kind: str) -> None:
    """SIGKILL from outside, wherever the process happens to be, once two more steps are written."""
    rng = np.random.default_rng(len(kind))
    out = world() / f"run-clock-{kind}"
    going = start("train", *map(str, (*RUNS[kind], "--out", out)), cwd=world())
    for step in (1, 3, 4):
        reached = functools.partial(has_step, out / "metrics.jsonl", step)
        if going.until(reached):
            time.sleep(float(rng.uniform(0, 0.1)))
            going.send(signal.SIGKILL)
        assert going.wait().code in (0, -signal.SIGKILL)
        going = start("train", "--resume", out, cwd=world())
    assert going.wait().code == 0
    assert differences(out, undisturbed(kind)) == []


def has_step(path: Path, step: int) -> bool:
    return path.exists() and f'{{"step": {step}, ' in path.read_text("utf-8", "replace")


MOMENTS = {
    "in the evaluation before training": ("groupwise.rollouts.TextSampler.collect", 1, False),
    "with that evaluation written and no step done": ("groupwise.rollouts.TextSampler.collect", 2, False),
    "in the first step, before the first checkpoint": ("groupwise.learner.Learner.step", 1, True),
    "between samples and metrics of a step": ("groupwise.journal.RunJournal.samples", 3, True),
    "between metrics and the checkpoint of a step": ("groupwise.checkpoints.Checkpoints.save", 2, False),
    "between weights and moments": ("groupwise.checkpoints._moments", 2, False),
    "with all files written and the manifest missing": ("groupwise.checkpoints._digest", 6, True),
    "before the rename": ("pathlib.Path.rename", 2, False),
    "after the rename, before old ones are dropped": ("pathlib.Path.rename", 3, True),
    "with training over and no result": ("groupwise.runs.finish", 1, False),
    "with the result and no model": ("groupwise.runs.export", 1, False),
    "before the report": ("groupwise.report.write", 1, False),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_in_an_awkward_moment(moment: str) -> None:
    out = world() / f"run-moment-{list(MOMENTS).index(moment)}"
    assert train("language", out, before=dying_in(*MOMENTS[moment])).code == -signal.SIGKILL
    done = resume(out)
    assert done.code == 0, done.said
    assert differences(out, undisturbed("language")) == []
    assert not list(out.rglob(".writing-*"))


@pytest.mark.slow
def test_killed_while_resuming() -> None:
    """Rewinding the logs is itself not to be caught halfway."""
    out = world() / "run-resuming"
    assert train("language", out, before=dying_in("groupwise.learner.Learner.step", 4)).code < 0
    for call, after in ((1, False), (1, True), (2, True), (3, False)):
        assert resume(out, before=dying_in("groupwise.journal.rewind", call, after)).code < 0
    assert resume(out).code == 0
    assert differences(out, undisturbed("language")) == []


# ---------------------------------------------------------------------------- damaged


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def cut_inside_a_letter(path: Path) -> None:
    """As a power cut may: the last line ends within a character of several bytes."""
    path.write_bytes(path.read_bytes() + '{"step": 5, "text": "é'.encode()[:-1])


def add_zeros(path: Path) -> None:
    """As some file systems do after a power cut: a hole at the end."""
    path.write_bytes(path.read_bytes() + b"\0" * 64)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut_short, cut_inside_a_letter, add_zeros])
def test_torn_last_lines_are_dropped_and_written_again(damage: Callable[[Path], None]) -> None:
    out = world() / f"run-{damage.__name__}"
    assert train("language", out, before=dying_in("groupwise.learner.Learner.step", 6)).code < 0
    for name in ("metrics.jsonl", "samples.jsonl", "evaluations.jsonl"):
        if (
            damage is not cut_short or name != "evaluations.jsonl"
        ):  # its last line is from before the checkpoint of step 4
            damage(out / name)
    done = resume(out)
    assert done.code == 0, done.said
    assert differences(out, undisturbed("language")) == []


@pytest.mark.slow
def test_text_with_every_kind_of_line_break_survives_a_resume() -> None:
    """U+2028, U+0085 and the like end a line for Python's splitlines(), but not in JSON lines."""
    rows = [{"prompt": f"a\u2028b\u0085c\u2029d\u000be\u001cf {i}", "odd": "\u2028"} for i in range(10)]
    (world() / "breaks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("breaks.jsonl", *LANGUAGE[1:], *COMMON)
    whole, torn = world() / "breaks", world() / "run-breaks"
    done = groupwise("train", *map(str, asked), "--out", whole, cwd=world())
    assert done.code == 0, done.said
    dying = dying_in("groupwise.learner.Learner.step", 4)
    assert groupwise("train", *map(str, asked), "--out", torn, cwd=world(), before=dying).code < 0
    assert resume(torn).code == 0
    assert differences(torn, whole) == []
    assert "\u2028" in lines(torn / "samples.jsonl")[0]["prompt"]


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_costs_its_steps_and_nothing_else() -> None:
    out = world() / "run-damaged"
    assert train("language", out, before=dying_in("groupwise.learner.Learner.step", 5)).code < 0
    assert newest(out).name == "4"
    weights = newest(out) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    done = resume(out)
    assert done.code == 0, done.said
    assert "weights.safetensors is not what was written" in done.said
    assert "Falling back to the checkpoint before it" in done.said
    assert differences(out, undisturbed("language")) == []


# ---------------------------------------------------------------------------- more, or again


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["language", "language-adaptive", "gym"])
def test_more_steps_extend_a_finished_run(kind: str) -> None:
    """As if it had been asked for so many steps at once; but for the evaluation where it first ended."""
    longer, out = world() / f"longer-{kind}", world() / f"run-extended-{kind}"
    assert train(kind, longer, "--steps", 9).code == 0
    assert train(kind, out).code == 0
    done = resume(out, "--steps", 9)
    assert done.code == 0, done.said
    assert unequal(newest(out) / "weights.safetensors", newest(longer) / "weights.safetensors") == []
    assert (out / "samples.jsonl").read_bytes() == (longer / "samples.jsonl").read_bytes()
    assert differences(out, longer) == []
    assert json.loads((out / "result.json").read_text())["steps"] == 9


@pytest.mark.slow
def test_an_extension_that_was_killed_goes_on_to_its_own_end() -> None:
    """The number of steps asked for last is remembered: resuming needs no flag a second time."""
    out = world() / "run-extension-killed"
    assert train("language", out).code == 0
    assert resume(out, "--steps", 9, before=dying_in("groupwise.learner.Learner.step", 3)).code < 0
    assert resume(out).code == 0
    assert json.loads((out / "result.json").read_text())["steps"] == 9


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing() -> None:
    out = world() / "run-finished"
    assert train("language", out).code == 0
    files = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.suffix != ".html"}
    done = resume(out)
    assert done.code == 0, done.said
    assert {p: p.read_bytes() for p in files} == files


# ---------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (("--lr", "0.5"), "learning_rate"),
        (("--seed", "1"), "seed"),
        (("--recipe", "grpo"), "recipe"),
        (("gsm8k",), "task"),
        (("--group-size", "8", "--steps", "9"), "group_size"),
    ],
)
def test_resuming_with_another_setting_is_refused_by_name(flags: tuple[str, ...], name: str) -> None:
    out = undisturbed("gym")
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    resume(out, *flags).sentence("cannot change", name, "--steps", "--tokens-per-microbatch may differ")
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_another_number_of_threads_is_told(tmp_path: Path) -> None:
    """Sums are then taken in another order: the run goes on, and is no longer what it would have been."""
    out = tmp_path / "run"
    shutil.copytree(undisturbed("gym"), out)
    assert "began on other terms" not in resume(out).said
    facts = json.loads((out / "run.json").read_text())
    facts["machine"] |= {"threads": 64, "dtype": "bfloat16", "cpu": "another"}
    (out / "run.json").write_text(json.dumps(facts))
    done = resume(out)
    assert done.code == 0, done.said
    assert "(dtype bfloat16 then and float32 now, threads 64 then and 1 now)" in done.said


def test_repeating_a_setting_of_the_run_is_no_change() -> None:
    assert resume(undisturbed("gym"), "--seed", "0", "gym:CartPole-v1").code == 0


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    resume(tmp_path).sentence("holds no run", str(tmp_path))
    resume(tmp_path / "nowhere").sentence("holds no run", "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"config": []}', '{"config": {"stepps": 3}}', "{}"])
def test_a_garbled_run_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    resume(tmp_path).sentence("run.json")


# ---------------------------------------------------------------------------- Ctrl-C


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["language", "gym"])
def test_ctrl_c_ends_with_a_checkpoint_and_how_to_go_on(kind: str) -> None:
    """SIGINT saves after the step under way (no multiple of --save-every is waited for), with code 130."""
    out = world() / f"run-interrupted-{kind}"
    slow = "import time\nfrom groupwise.learner import Learner\nreal = Learner.step\n"
    slow += "def step(*a):\n    time.sleep(0.3)\n    return real(*a)\nLearner.step = step"
    going = start(
        "train", *map(str, (*RUNS[kind], "--save-every", 100, "--out", out)), cwd=world(), before=slow
    )
    assert going.until(lambda: has_step(out / "metrics.jsonl", 1))
    going.send(signal.SIGINT)
    done = going.wait()
    assert done.code == 130, done.said
    assert f"groupwise train --resume {out}" in done.said
    assert "Traceback" not in done.said
    assert newest(out).name == str(lines(out / "metrics.jsonl")[-1]["step"])
    assert json.loads((out / "result.json").read_text())["status"] == "interrupted"
    assert (out / "model").exists() == (kind == "language")
    assert resume(out).code == 0
    assert differences(out, undisturbed(kind)) == []


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once() -> None:
    out = world() / "run-interrupted-twice"
    endless = "import time\nfrom groupwise.learner import Learner\nLearner.step = lambda *a: time.sleep(600)"
    going = start("train", *map(str, (*RUNS["language"], "--out", out)), cwd=world(), before=endless)
    assert going.until(lambda: (out / "metrics.jsonl").exists() and has_step(out / "metrics.jsonl", 0))
    time.sleep(0.3)
    going.send(signal.SIGINT)
    assert going.until(lambda: "Ctrl-C again" in going.files["out"].read_text())
    going.send(signal.SIGINT)
    done = going.wait(60)
    assert done.code == 130, done.said
    assert f"groupwise train --resume {out}" in done.said
    assert "Traceback" not in done.said


@pytest.mark.slow
def test_ctrl_c_while_the_model_loads_leaves_no_traceback() -> None:
    out = world() / "run-interrupted-early"
    endless = "import time, groupwise.config as c\n"
    endless += "c.load = lambda *a, **k: print('here', flush=True) or time.sleep(600)"
    going = start("train", *map(str, (*RUNS["language"], "--out", out)), cwd=world(), before=endless)
    going.until(lambda: "here" in going.files["out"].read_text())
    going.send(signal.SIGINT)
    done = going.wait(60)
    assert done.code in (130, -signal.SIGINT), done.said
    assert "Traceback" not in done.said
    assert not out.exists()


@pytest.mark.slow
def test_the_real_command_is_killed_and_resumed() -> None:
    """Once without the shortcut that the other tests start processes by: a fresh Python each time."""
    out = world() / "run-real"
    command = [sys.executable, "-c", "from groupwise.cli import main; main()", "train"]
    going = subprocess.Popen(
        [*command, *map(str, (*RUNS["gym"], "--out", out))],
        cwd=world(),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while going.poll() is None and not has_step(out / "metrics.jsonl", 3):
        time.sleep(0.002)
    going.send_signal(signal.SIGKILL)
    going.communicate()
    assert going.returncode == -signal.SIGKILL
    resumed = subprocess.run(
        [*command, "--resume", str(out)], cwd=world(), env=ENVIRONMENT, capture_output=True, check=False
    )
    assert resumed.returncode == 0, resumed.stdout
    assert differences(out, undisturbed("gym")) == []
