"""The command line: what it makes of a run, and what it says when something is wrong.

Commands run as processes of their own (see commands.py). A mistake of the user's ends in exit code 1 and
one sentence, never in a traceback, and leaves nothing on disk.
"""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_folder
from commands import ENVIRONMENT, Done, groupwise, lines, start
from groupwise import __version__, runs
from groupwise.cli import NAMES
from groupwise.commands import COMMANDS
from groupwise.recipes import RECIPES
from groupwise.settings import Settings
from groupwise.trajectory import StopReason

SMALL: tuple[Any, ...] = (
    "--steps", 2, "--prompts", 2, "--group-size", 3, "--held-out", 3, "--max-new-tokens", 6, "--lr", 1e-2,
)  # fmt: skip
GYM: tuple[Any, ...] = (
    "gym:CartPole-v1", "--steps", 2, "--prompts", 2, "--group-size", 3, "--held-out", 2, "--epochs", 1,
)  # fmt: skip
VARIED = '''
def varied(completions, **columns):
    """Something to learn from even for a random model."""
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [len(set(text)) / 8 + sum(x.isdigit() for x in text) for text in texts]
'''


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder.save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def world(tmp_path: Path, model: Path) -> Path:
    """A working folder with a model, a reward file and some rows."""
    (tmp_path / "model").symlink_to(model)
    (tmp_path / "reward.py").write_text(VARIED)
    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"say {i}", "answer": str(i)} for i in range(10)])
    return tmp_path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def train(world: Path, *args: Any, before: str = "") -> Done:
    return groupwise("train", *map(str, args), cwd=world, before=before)


def rows_run(world: Path, *more: Any, out: str = "out", before: str = "") -> Done:
    """A small run on the rows with the reward file."""
    args = ("rows.jsonl", "--model", "model", "--reward", "reward.py:varied", *SMALL, "--out", out)
    return train(world, *args, *more, before=before)


def holds(world: Path) -> set[str]:
    """Every file and folder, but for what Python caches of the user's own module."""
    return {str(p.relative_to(world)) for p in world.rglob("*") if "__pycache__" not in p.parts}


def test_code_is_trained_on_and_judged_in_the_sandbox(world: Path) -> None:
    """From rows to the samples file: both parts, and a verdict for each answer."""
    rows = [{"prompt": f"Return {n}.", "test_list": [f"assert f() == {n}"]} for n in range(10)]
    write_rows(world / "code.jsonl", rows)
    done = train(world, "code:code.jsonl", "--model", "model", *SMALL, "--out", "out")
    assert done.code == 0, done.said
    samples = lines(world / "out" / "samples.jsonl")
    assert all(sample["parts"].keys() == {"tests", "format"} for sample in samples)
    assert "rewards/tests/mean" in lines(world / "out" / "metrics.jsonl")[-1]


def test_rows_of_code_without_tests_are_one_sentence(world: Path) -> None:
    write_rows(world / "code.jsonl", [{"prompt": "x", "answer": "y"}])
    done = train(world, "code:code.jsonl", "--model", "model", *SMALL)
    done.sentence("code.jsonl, row 1 has no tests", "test_list (MBPP)")
    assert done.code == 1


# ---------------------------------------------------------------------------- what a run leaves


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A finished run in out/, of the default task with a reward of its own, evaluated each step."""
    world = tmp_path_factory.mktemp("finished")
    (world / "model").symlink_to(model)
    (world / "reward.py").write_text(VARIED)
    args = ("arithmetic", "--model", "model", "--reward", "reward.py:varied=0.5", *SMALL)
    done = train(world, *args, "--evaluate-every", 1, "--out", "out", "--kl-scale", 0.1)
    assert done.code == 0, done.said
    return world


def test_a_run_folder_holds_everything(finished: Path) -> None:
    found = {p.name for p in (finished / "out").iterdir()}
    logs = {"metrics.jsonl", "samples.jsonl", "evaluations.jsonl", "alarms.jsonl"}
    assert found == {"run.json", "result.json", "report.html", "model", "checkpoints", runs.LOCK} | logs


def test_run_json_says_what_was_done(finished: Path) -> None:
    """Defaults of the task filled in, so that the file alone says it; what is a path of today is left out."""
    facts = json.loads((finished / "out" / "run.json").read_text())
    assert facts["groupwise"] == __version__
    assert (facts["task"], facts["model"], facts["recipe"], facts["seed"]) == (
        "arithmetic",
        "model",
        "dapo",
        0,
    )
    assert facts["config"]["learning_rate"] == 1e-2
    assert facts["config"]["epochs"] == 1  # not given: the task's own
    assert facts["config"]["reward"] == ["reward.py:varied=0.5"]
    assert not {"out", "resume", "config"} & facts["config"].keys()
    assert {"python", "torch", "transformers"} <= facts["versions"].keys()
    assert {"cpu", "cores", "threads", "memory_gib", "device", "dtype"} <= facts["machine"].keys()


def test_metrics_have_their_documented_names(finished: Path) -> None:
    """A line a step from 0, the held-out scores before training, on."""
    before, *steps = lines(finished / "out" / "metrics.jsonl")
    gold = {f"gold/{name}" for name in ("correct", "digits", "alone")}  # the task's own, replaced
    assert before.keys() == {"step", "eval/varied", "eval/reward", *(f"eval/{name}" for name in gold)}
    assert [row["step"] for row in steps] == [1, 2]
    for row in steps:
        assert {
            "reward", "reward_std", "frac_reward_zero_std", "rewards/varied/mean", "rewards/varied/std",
            "rewards/unscored", "completions/mean_length", "completions/min_length",
            "completions/max_length", "completions/clipped_ratio", "entropy", "kl", "ratio", "loss",
            "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "grad_norm",
            "learning_rate", "sampling/logp_difference/mean", "sampling/logp_difference/max",
            "step_time", "time/generate", "time/reward", "time/learn", "tokens_per_second",
            "peak_memory_gib", "num_tokens", "eval/varied", "eval/reward",
            *(f"stopped/{reason}" for reason in StopReason), *(f"{name}/mean" for name in gold),
        } <= row.keys()  # fmt: skip
        assert row["reward"] == pytest.approx(row["rewards/varied/mean"] / 2)
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-6)  # the policy is still its reference
    assert steps[1]["kl"] > 1e-6


def test_samples_hold_every_trajectory(finished: Path) -> None:
    samples = lines(finished / "out" / "samples.jsonl")
    where = [(s["step"], s["group"], s["sample"]) for s in samples]
    assert where == [(step, 2 * (step - 1) + g, i) for step in (1, 2) for g in (0, 1) for i in range(3)]
    for sample in samples:
        assert sample["prompt"][-1]["content"].endswith(" = ")
        assert sample["columns"].keys() == {"answer"}
        assert sample["reward"] == pytest.approx(sample["parts"]["varied"] / 2)
        assert sample["policy"] == {"name": "current", "version": sample["step"] - 1}
        assert sample["stopped"] in ("finished", "length")
        assert sample["n_decisions"] <= 6
    for start_ in range(0, len(samples), 3):
        assert sum(s["advantage"] for s in samples[start_ : start_ + 3]) == pytest.approx(0, abs=1e-5)


def test_result_has_scores_before_and_after(finished: Path) -> None:
    result = json.loads((finished / "out" / "result.json").read_text())
    evaluations = lines(finished / "out" / "evaluations.jsonl")
    assert [e["step"] for e in evaluations] == [0, 1, 2]
    assert (result["status"], result["steps"]) == ("finished", 2)
    assert result["train_seconds"] >= 0
    assert result["held_out"]["examples"] == 3
    assert result["held_out"]["before"] == evaluations[0]["scores"]
    assert result["held_out"]["after"] == evaluations[-1]["scores"]
    best = result["held_out"]["best"]
    assert best["gold/correct"] == max(e["scores"]["gold/correct"] for e in evaluations[1:])
    assert [a["before"] for a in result["answers"]] == [a["text"] for a in evaluations[0]["answers"]]
    assert [a["after"] for a in result["answers"]] == [a["text"] for a in evaluations[-1]["answers"]]


def test_the_report_is_one_page(finished: Path) -> None:
    page = (finished / "out" / "report.html").read_text("utf-8")
    assert page.lower().startswith("<!doctype html>")
    (finished / "out" / "report.html").unlink()
    done = groupwise("report", "out", cwd=finished)
    assert done.code == 0, done.said
    assert done.out.strip() == "out/report.html"
    assert (finished / "out" / "report.html").read_text("utf-8") == page


def test_the_next_free_folder_is_taken_unless_one_is_named(world: Path) -> None:
    for n in (1, 2):
        assert train(world, *GYM).code == 0
        assert (world / "runs" / f"gym-{n}" / "result.json").exists()


# ---------------------------------------------------------------------------- the model that comes out

PROBE = "say 123 + 45?"


def logits_of(language_model: Any) -> torch.Tensor:
    ids = torch.tensor([tiny_folder.tokenizer().encode(PROBE)])
    with torch.no_grad():
        return language_model(input_ids=ids).logits


SAVE_POLICY = """
import torch, tiny_folder, groupwise.runs as runs
real = runs.export
def export(folder, built):
    causal = built.run.policy.model
    from groupwise.engine.attention import Packed, Tree
    ids = tiny_folder.tokenizer().encode({probe!r})
    with torch.no_grad():
        attend = Packed([Tree(len(ids))], causal.device)
        hidden = causal.hidden(torch.tensor(ids), torch.arange(len(ids)), attend)
        torch.save(causal.logits(hidden), folder / "logits.pt")
    real(folder, built)
runs.export = export
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "tied", "lora", "lora-tied"])
def test_the_saved_model_is_the_trained_policy(world: Path, kind: str) -> None:
    """Plain transformers loads model/ and gives the logits of the policy, and not those at the start."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = tiny_folder.save(world / "source", tied="tied" in kind)
    rank = ("--lora-rank", 2, "--lora-alpha", 64) if "lora" in kind else ()
    args = ("rows.jsonl", "--model", "source", "--reward", "reward.py:varied", *SMALL, *rank)
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code += SAVE_POLICY.format(probe=PROBE)
    done = train(world, *args, "--out", "out", "--dtype", "float32", before=code)
    assert done.code == 0, done.said
    trained = torch.load(world / "out" / "logits.pt", weights_only=True)
    loaded = AutoModelForCausalLM.from_pretrained(world / "out" / "model")
    assert loaded.config.tie_word_embeddings == ("tied" in kind)
    assert (logits_of(loaded)[0] - trained).abs().max() < 2e-5
    assert (logits_of(AutoModelForCausalLM.from_pretrained(source))[0] - trained).abs().max() > 1e-2
    words = AutoTokenizer.from_pretrained(world / "out" / "model")
    chat = [{"role": "user", "content": PROBE}]
    original = tiny_folder.tokenizer()
    assert words.apply_chat_template(chat, tokenize=False) == original.apply_chat_template(
        chat, tokenize=False
    )
    assert words.encode(PROBE) == original.encode(PROBE)
    assert (world / "out" / "adapter" / "adapter_model.safetensors").exists() == ("lora" in kind)
    started_from = groupwise("eval", "out", "--examples", "2", cwd=world)
    assert started_from.code == 0, started_from.said


@pytest.mark.slow
def test_an_adapter_is_drawn_by_the_seed(world: Path) -> None:
    """Its first weights are random, and like every random number the seed's alone, whatever ran before."""
    for out, code in (("a", ""), ("b", "import torch; torch.rand(7)")):
        assert rows_run(world, "--lora-rank", 2, out=out, before=code).code == 0
    ours, theirs = (lines(world / out / "samples.jsonl") for out in ("a", "b"))
    assert ours == theirs
    ours, theirs = ((world / out / "model" / "model.safetensors").read_bytes() for out in ("a", "b"))
    assert ours == theirs


# ---------------------------------------------------------------------------- eval, chat, report


def shown(done: Done) -> dict[str, float]:
    """The scores in the table that eval prints."""
    assert done.code == 0, done.said
    cells = [
        [c.strip() for c in line.strip("│ ").split("│")] for line in done.out.splitlines() if "│" in line
    ]
    return {name: float(value) for name, value in cells}


@pytest.mark.slow
def test_eval_of_a_run_a_checkpoint_and_a_model(finished: Path) -> None:
    """Each the scores that training itself noted at that step, with the run's own task and reward."""
    noted = [
        {k: float(f"{v:.3f}") for k, v in e["scores"].items()}
        for e in lines(finished / "out" / "evaluations.jsonl")
    ]
    three = ("--examples", "3")
    assert shown(groupwise("eval", "out", *three, cwd=finished)) == noted[2]
    assert shown(groupwise("eval", "out/checkpoints/2", *three, cwd=finished)) == noted[2]
    own = ("--task", "arithmetic", "--reward", "reward.py:varied=0.5", *three)
    assert noted[0] != noted[2]
    limit = "import groupwise.settings as s, dataclasses\n"  # the run's answers have 6 tokens at most
    limit += "s.ARITHMETIC = dataclasses.replace(s.ARITHMETIC, max_new_tokens=6)"
    plain = groupwise("eval", "model", *own, cwd=finished, before=limit)
    assert shown(plain) == noted[0]


def test_eval_of_an_earlier_checkpoint_is_of_that_step(world: Path) -> None:
    assert train(world, *GYM, "--out", "g", "--save-every", 1, "--lr", 1, "--evaluate-every", 1).code == 0
    noted = [e["scores"]["return"] for e in lines(world / "g" / "evaluations.jsonl")]
    assert len(set(noted)) == 3
    for step in (1, 2):
        got = shown(groupwise("eval", f"g/checkpoints/{step}", "--examples", "2", cwd=world))
        assert got["return"] == pytest.approx(noted[step], abs=1e-3)


def test_eval_says_what_it_cannot_read(finished: Path, tmp_path: Path) -> None:
    groupwise("eval", "./nowhere", cwd=finished).sentence("no model at './nowhere'")
    groupwise("eval", "out/checkpoints/77", cwd=finished).sentence("checkpoints/77")
    groupwise("eval", "out", "--examples", "0", cwd=finished).sentence("examples")


def test_a_damaged_checkpoint_is_not_evaluated(world: Path) -> None:
    assert train(world, *GYM, "--out", "g").code == 0
    weights = world / "g" / "checkpoints" / "2" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    groupwise("eval", "g/checkpoints/2", cwd=world).sentence("weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    groupwise("eval", "g/checkpoints/2", cwd=world).sentence("weights.safetensors")


def test_a_report_of_no_run_is_one_sentence(tmp_path: Path) -> None:
    groupwise("report", "nowhere", cwd=tmp_path).sentence("run.json")
    assert holds(tmp_path) == set()


def test_chat_answers_until_an_empty_line_or_the_end(finished: Path) -> None:
    """Greedy by default: the same question has the same answer; a second turn reads the first."""
    short = ("--max-new-tokens", "5")
    done = groupwise("chat", "out", *short, cwd=finished, typed="hello\n\nnever read\n")
    assert done.code == 0, done.said
    assert done.out.count("it   ") == 1
    again = groupwise("chat", "out", *short, cwd=finished, typed="hello\nand\n")
    assert again.code == 0, again.said
    assert again.out.count("it   ") == 2
    assert again.out.splitlines()[1] == done.out.splitlines()[1]
    warm = groupwise("chat", "model", *short, "--temperature", "2", cwd=finished, typed="hello\n")
    assert warm.code == 0, warm.said


def test_chat_ends_in_a_sentence_where_nobody_is_at_home(world: Path) -> None:
    assert train(world, *GYM, "--out", "g").code == 0
    groupwise("chat", "g", cwd=world, typed="hello\n").sentence("not a language model")
    long = "word " * 100
    groupwise("chat", "model", cwd=world, typed=f"{long}\n").sentence("160")


@pytest.mark.slow
def test_the_installed_command_chats_through_a_pipe(finished: Path) -> None:
    """Once as a user runs it: a fresh Python, a real pipe."""
    command = [sys.executable, "-c", "from groupwise.cli import main; main()", "chat", "model"]
    done = subprocess.run(
        [*command, "--max-new-tokens", "4"],
        cwd=finished, env=ENVIRONMENT, input="hello\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "it   " in done.stdout


# ---------------------------------------------------------------------------- help


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (
            "train",
            ("--model", "--reward", "--recipe", "--out", "--resume", "--steps", "--lr", "--config", "TASK"),
        ),
        ("plan", ("Memory and time", "--model", "--group-size", "--lora-rank", "TASK")),
        ("eval", ("A run folder", "--task", "--reward", "--examples")),
        ("chat", ("A run folder", "--temperature", "--max-new-tokens", "--system")),
        ("report", ("The run's folder",)),
    ],
)
def test_each_command_explains_itself(tmp_path: Path, command: str, flags: tuple[str, ...]) -> None:
    done = groupwise(command, "--help", cwd=tmp_path)
    assert done.code == 0
    assert [flag for flag in flags if flag not in done.out] == []
    assert tuple(COMMANDS) == NAMES


def test_alone_it_shows_the_way_in(tmp_path: Path) -> None:
    for args in ((), ("--help",), ("-h",)):
        done = groupwise(*args, cwd=tmp_path)
        assert done.code == 0
        assert [name for name in COMMANDS if f"groupwise {name}" not in done.out] == []


def test_version(tmp_path: Path) -> None:
    done = groupwise("--version", cwd=tmp_path)
    assert (done.code, done.out.strip()) == (0, __version__)


def test_an_unknown_command_is_named(tmp_path: Path) -> None:
    done = groupwise("trian", cwd=tmp_path)
    assert done.code == 2
    assert "unknown command 'trian'" in done.said
    assert "train, plan, eval, chat, play, doctor, backtest, report, reward" in done.said


@pytest.mark.parametrize("command", [("train",), ("plan",), ("eval", "x"), ("chat", "x"), ("report", "x")])
def test_an_unknown_flag_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = groupwise(*command, "--learning-rat", "1", cwd=tmp_path)
    assert done.code == 2
    assert "--learning-rat" in done.said
    assert "Traceback" not in done.said
    assert holds(tmp_path) == set()


# ---------------------------------------------------------------------------- every recipe


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo", "dapo", "kl_cov"])
def test_a_recipe_runs_by_its_name(world: Path, name: str) -> None:
    """Two steps by name alone, and the weights move in both. All others: tests/recipes/test_training.py."""
    done = rows_run(world, "--recipe", name)
    assert done.code == 0, done.said
    steps = lines(world / "out" / "metrics.jsonl")[1:]
    assert [row["grad_norm"] > 0 for row in steps] == [True, True]
    assert ("kl" in steps[0]) == (RECIPES[name].kl is not None)


def test_kl_scale_zero_drops_the_reference(world: Path) -> None:
    assert rows_run(world, "--recipe", "grpo", "--kl-scale", 0).code == 0
    assert all("kl" not in row for row in lines(world / "out" / "metrics.jsonl"))


def test_a_recipe_of_ones_own(world: Path) -> None:
    """By file and by module; a thing that is no recipe, or is not there, is named."""
    code = "from dataclasses import replace\nfrom groupwise import DAPO\n"
    (world / "mine.py").write_text(code + "SHARP = replace(DAPO, entropy_scale=0.01)\nNOT = 3\n")
    for spec in ("mine.py:SHARP", "mine:SHARP"):
        done = rows_run(world, "--recipe", spec, out=spec.replace(":", "-"))
        assert done.code == 0, done.said
    rows_run(world, "--recipe", "mine:NOT", out="x").sentence("mine:NOT", "int", "Recipe")
    rows_run(world, "--recipe", "mine:BLUNT", out="x").sentence("mine", "BLUNT")
    rows_run(world, "--recipe", "yours:SHARP", out="x").sentence("yours")
    assert not (world / "x").exists()


@pytest.mark.slow
def test_tensorboard_gets_an_event_file(world: Path) -> None:
    pytest.importorskip("tensorboard")
    done = train(world, *GYM, "--out", "g", "--tensorboard")
    assert done.code == 0, done.said
    [events] = (world / "g" / "tensorboard").iterdir()
    assert b"reward_std" in events.read_bytes()


# ---------------------------------------------------------------------------- TRL's rewards

TRL_REWARD = '''
import asyncio

def score(prompts, completions, completion_ids, answer, trainer_state=None, log_extra=None, log_metric=None,
          **kwargs):
    """Share of the answer's characters in the completion; notes its inputs as TRL's users do."""
    contents = [c[0]["content"] if isinstance(c, list) else c for c in completions]
    rewards = [sum(x in text for x in a) / len(a) for text, a in zip(contents, answer)]
    if log_extra:
        log_extra("asked", [str(p) for p in prompts])
        log_extra("kinds", [type(c).__name__ for c in completions])
    if log_metric:
        log_metric("ids", sum(map(len, completion_ids)) / len(completion_ids))
        log_metric("step", trainer_state.global_step)
        log_metric("max_steps", trainer_state.max_steps)
    return rewards

async def patient(completions, difficulty, **kwargs):
    await asyncio.sleep(0.001)
    return [float(d) if d is not None else None for d in difficulty]
'''


@pytest.mark.parametrize("kind", ["text", "messages"])
def test_a_reward_written_for_trl_runs_unchanged(world: Path, kind: str) -> None:
    """Text prompts give text completions, conversations give messages; columns come by name, one a row."""
    (world / "trl.py").write_text(TRL_REWARD)

    def prompt(i: int) -> Any:
        return f"say {i}" if kind == "text" else [{"role": "user", "content": f"say {i}"}]

    rows = [
        {"prompt": prompt(i), "answer": f"ab{i}", "difficulty": None if i % 2 else i / 10} for i in range(10)
    ]
    write_rows(world / "rows.jsonl", rows)
    args = ("rows.jsonl", "--model", "model", "--reward", "trl.py:score", "--reward", "trl.py:patient=2")
    done = train(world, *args, *SMALL, "--out", "out")
    assert done.code == 0, done.said
    for sample in lines(world / "out" / "samples.jsonl"):
        i = int(sample["columns"]["answer"][2:])
        assert sample["prompt"] == prompt(i)
        assert sample["extra"] == {"asked": str(prompt(i)), "kinds": "str" if kind == "text" else "list"}
        expected = sum(x in sample["text"] for x in f"ab{i}") / 3
        assert sample["parts"]["score"] == pytest.approx(expected)
        assert sample["parts"]["patient"] == (None if i % 2 else i / 10)
        assert sample["reward"] == pytest.approx(expected + (0 if i % 2 else 2 * i / 10))
    for row in lines(world / "out" / "metrics.jsonl")[1:]:
        assert (row["step"], row["max_steps"]) == (row["step"], 2)
        assert row["ids"] == row["completions/mean_length"]


def test_what_rewards_log_may_be_numpy_or_torch(world: Path) -> None:
    """Values and extras come straight from the user's arithmetic."""
    code = "import numpy as np, torch\ndef score(completions, log_extra, log_metric, **k):\n"
    code += "    n = len(completions)\n    log_metric('m', np.float32(0.5))\n"
    code += "    log_extra('size', np.arange(n))\n"
    code += "    log_extra('tensor', [torch.tensor(1.5)] * n)\n    return np.arange(n) / n\n"
    (world / "reward.py").write_text(code)
    args = ("rows.jsonl", "--model", "model", "--reward", "reward.py:score", *SMALL, "--out", "out")
    done = train(world, *args)
    assert done.code == 0, done.said
    samples = lines(world / "out" / "samples.jsonl")
    assert [s["extra"]["size"] for s in samples[:6]] == list(range(6))
    assert lines(world / "out" / "metrics.jsonl")[1]["m"] == 0.5


def test_a_reward_that_never_applies_does_not_end_the_run(world: Path) -> None:
    """None everywhere: no score, nothing to learn from, weights as they were."""
    (world / "reward.py").write_text(
        "def none(completions, **k):\n    return [None] * len(completions)\n"
        "def one(completions, **k):\n    return [1.0] * len(completions)\n"
    )
    for rewards in (("none",), ("none", "one")):
        specs = [word for name in rewards for word in ("--reward", f"reward.py:{name}")]
        out = "-".join(rewards)
        done = train(world, "rows.jsonl", "--model", "model", *specs, *SMALL, "--out", out)
        assert done.code == 0, done.said
        assert [e["step"] for e in lines(world / out / "evaluations.jsonl")] == [0, 2]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('colour[/red]')", ("raised KeyError", "colour[/red]")),
        ("return [0.5]", ("returned 1 values for",)),
        ("return [float('nan')] * len(completions)", ("returned nan",)),
        ("return ['good'] * len(completions)", ("'good'", "no number")),
        ("return 1.0", ("returned float",)),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_broken_reward_is_named_and_its_input_kept(
    world: Path, body: str, words: tuple[str, ...], late: bool
) -> None:
    """Before training and in the middle of it; once it is mended, the run goes on."""
    guard = "if trainer_state.global_step == 1:" if late else "if True:"
    code = f"def brittle(prompts, completions, answer, trainer_state, **k):\n    {guard}\n        {body}\n"
    sound = "    return [len(set(c)) / 4 for c in completions]\n"
    (world / "reward.py").write_text(code + sound)
    args = ("rows.jsonl", "--model", "model", "--reward", "reward.py:brittle", *SMALL, "--out", "out")
    train(world, *args).sentence("reward 'brittle'", *words, "out/failed_reward.jsonl", "--resume out")
    failures = lines(world / "out" / "failed_reward.jsonl")
    assert failures
    for row in failures:
        assert row["reward"] == "brittle"
        assert row["prompts"] == f"say {row['answer']}"
        assert isinstance(row["completions"], str)
    assert [row["step"] for row in lines(world / "out" / "metrics.jsonl")] == ([0, 1] if late else [])
    (world / "reward.py").write_text("def brittle(completions, **k):\n" + sound)
    done = train(world, "--resume", "out")
    assert done.code == 0, done.said
    assert [row["step"] for row in lines(world / "out" / "metrics.jsonl")] == [0, 1, 2]


# ---------------------------------------------------------------------------- mistakes


def data(text: str) -> Callable[[Path], None]:
    return lambda world: (world / "rows.jsonl").write_text(text) and None


def folder(world: Path) -> None:
    (world / "empty").mkdir()


def nothing(world: Path) -> None:
    """The world as it is."""


LONG = json.dumps({"prompt": "x" * 200, "answer": "1"})
GOOD = json.dumps({"prompt": "a", "answer": "1"}) + "\n" + json.dumps({"prompt": "b", "answer": "2"})
MISTAKES: dict[str, tuple[Callable[[Path], None], tuple[Any, ...], tuple[str, ...]]] = {
    "empty data": (data(""), (), ("rows.jsonl", "empty")),
    "a broken line": (data(GOOD + '\n{"prompt": '), (), ("rows.jsonl", "line 3")),
    "no prompt": (data(GOOD + '\n{"question": "c"}'), (), ("row 3", "'question'", "prompt")),
    "an empty prompt": (data(GOOD + '\n{"prompt": " "}'), (), ("row 3", "empty")),
    "a prompt beyond the context": (data(GOOD + "\n" + LONG), (), ("200 tokens", "160", "--max-new-tokens")),
    "answers beyond the context": (nothing, ("--max-new-tokens", 159), ("160",)),
    "a budget below a sequence": (nothing, ("--tokens-per-microbatch", 10), ("--tokens-per-microbatch",)),
    "a budget of nothing": (nothing, ("--tokens-per-microbatch", 0), ("tokens_per_microbatch 0",)),
    "a group of one": (nothing, ("--group-size", 1), ("group size 1", "2 or more")),
    "no temperature": (nothing, ("--temperature", 0), ("--temperature 0", "above 0")),
    "no learning rate": (nothing, ("--lr", 0), ("learning_rate",)),
    "a negative rate": (nothing, ("--lr", -1), ("learning_rate",)),
    "no steps": (nothing, ("--steps", 0), ("steps",)),
    "no prompts": (nothing, ("--prompts", 0), ("prompts",)),
    "nothing held out": (nothing, ("--held-out", 0), ("held_out",)),
    "keeping none": (nothing, ("--keep", 0), ("keep 0",)),
    "no tokens": (nothing, ("--max-new-tokens", 0), ("max_new_tokens",)),
    "no rows at once": (nothing, ("--max-rows", 0), ("max_rows",)),
    "an empty stop": (nothing, ("--stop", ""), ("stop",)),
    "a bad device": (nothing, ("--device", "warp9"), ("--device warp9",)),
    "a device that is not there": (nothing, ("--device", "cuda:97"), ("--device cuda:97",)),
    "a bad dtype": (nothing, ("--dtype", "float8"), ("--dtype float8", "bfloat16")),
    "an unknown recipe": (nothing, ("--recipe", "grppo"), ("unknown recipe 'grppo'", "Did you mean 'grpo'")),
    "an unknown model": (nothing, ("--model", "./mode"), ("no model at './mode'", "pip:PACKAGE")),
    "a folder without a model": (folder, ("--model", "empty"), ("no model at 'empty'",)),
    "a model that no hub gives": (nothing, ("--model", "no/such"), ("cannot load the model 'no/such'",)),
    "no reward file": (nothing, ("--reward", "reword.py:varied"), ("reword.py", "Did you mean")),
    "no such reward": (nothing, ("--reward", "reward.py:vared"), ("vared", "varied")),
    "one reward twice": (nothing, ("--reward", "reward.py:varied"), ("'varied'",)),
    "an unknown action": (nothing, ("--guard", "warn"), ("--guard warn", "flag, drop, stop or off")),
    "an unknown detector": (nothing, ("--guard", "lenght=stop"), ("Did you mean length?",)),
    "no gold file": (nothing, ("--gold", "gould.py:varied"), ("gould.py",)),
    "a weight on gold": (nothing, ("--gold", "reward.py:varied=2"), ("gold reward 'varied'", "weight 2")),
    "no held-out file": (nothing, ("--held-out-file", "held.jsonl"), ("held.jsonl",)),
    "a negative rank": (nothing, ("--lora-rank", -1), ("lora_rank -1",)),
    "seats without a count": (nothing, ("--seats", "current:2,best"), ("'best' is not SOURCE:COUNT",)),
    "seats of another sum": (
        nothing, ("--seats", "current:2,best:2", "--group-size", 8), ("2 + 2 = 4", "--group-size is 8"),
    ),
    "seats without the policy itself": (nothing, ("--seats", "best:4"), ("no seat for the current policy",)),
    "a seat for nothing": (
        nothing, ("--seats", "current:2,./gone:2", "--group-size", 4), ("--seats: no model at './gone'",),
    ),
    "a seat for no checkpoint": (
        nothing, ("--seats", "current:2,runs/a/checkpoints/5:2", "--group-size", 4),
        ("--seats: there is no runs/a/checkpoints/5",),
    ),
    "an output that is a file": (nothing, ("--out", "reward.py"), ("reward.py is a file",)),
    "brackets in a name": (nothing, ("--model", "./[/red]x"), ("./[/red]x",)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_nothing(world: Path, mistake: str) -> None:
    prepare, flags, words = MISTAKES[mistake]
    prepare(world)
    before = holds(world)
    rows_run(world, *flags).sentence(*words)
    assert holds(world) == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("arithmetics",), ("no task 'arithmetics'", "Did you mean arithmetic")),
        (("arithmetic:digits=99",), ("digits",)),
        (("nowhere.jsonl", "--reward", "reward.py:varied"), ("nowhere.jsonl",)),
        (("rows.jsonl",), ("--reward my_reward.py:score",)),
        (("gym:NoSuch-v0",), ("NoSuch",)),
        (("gym:CartPoul-v1",), ("CartPoul-v1", "Near it: CartPole-v")),
        (("gym:Pendulum-v1", "--bounds", "reflect"), ("Pendulum-v1", "squash and clip")),
        (("gym:Pendulum-v1", "--episode-steps", "0"), ("--episode-steps 0",)),
        (("rows.jsonl", "--bounds", "clip"), ("--bounds: only for environments",)),
    ],
)
def test_a_task_that_is_not_there_is_one_sentence(
    world: Path, args: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = holds(world)
    model = () if args[0].startswith("gym:") else ("--model", "model")
    train(world, *args, *model).sentence(*words)
    assert holds(world) == before


def test_messages_need_a_chat_template(world: Path) -> None:
    tiny_folder.save(world / "plain", chat=False)
    train(world, "--model", "plain", *SMALL).sentence("no chat template", "plain")
    assert not (world / "runs").exists()


def test_a_model_without_a_chat_template_takes_text(world: Path) -> None:
    tiny_folder.save(world / "plain", chat=False)
    assert rows_run(world, "--model", "plain").code == 0
    done = groupwise("chat", "plain", "--max-new-tokens", "4", cwd=world, typed="hello\n")
    assert done.code == 0, done.said


def test_a_folder_with_a_run_is_not_overwritten(world: Path) -> None:
    assert train(world, *GYM, "--out", "g").code == 0
    before = {p: p.read_bytes() for p in (world / "g").rglob("*") if p.is_file()}
    train(world, *GYM, "--out", "g").sentence("already holds a run", "--resume g", "another --out")
    assert {p: p.read_bytes() for p in (world / "g").rglob("*") if p.is_file()} == before


def test_a_missing_extra_is_named_with_its_brackets(world: Path) -> None:
    """What is between brackets in the way out is not taken for a colour."""
    absent = "import sys, groupwise.envs as e; del e.classic; sys.modules['groupwise.envs.classic'] = None"
    train(world, *GYM, before=absent).sentence("pip install -e '.[gym]'")


def test_a_warning_with_brackets_is_told(world: Path) -> None:
    code = "import warnings\nwarnings.warn('look at [/bold] and [gym]', stacklevel=1)\n"
    (world / "reward.py").write_text(code + VARIED)
    done = rows_run(world)
    assert done.code == 0, done.said
    assert "look at [/bold] and [gym]" in done.said


def test_a_disk_that_fills_up_is_one_sentence(world: Path) -> None:
    """The operating system refuses the checkpoint (EFBIG); the logs are small enough to be written."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"
    args = ("rows.jsonl", "--model", "model", "--reward", "reward.py:varied", *SMALL, "--out", "out")
    done = train(world, *args, before=limit)
    done.sentence("could not save the checkpoint of step 2", "there is none yet", "--resume out")
    assert list((world / "out" / "checkpoints").iterdir()) == []
    again = train(world, "--resume", "out")
    assert again.code == 0
    assert "out has no checkpoint yet: it begins at step 1" in again.said


@pytest.mark.slow
def test_ctrl_c_in_chat_is_a_goodbye(finished: Path) -> None:
    """While it is answering too."""
    slow = "import time, groupwise.chat as c\nc.Talk.answer = lambda self, said: time.sleep(600)"
    going = start("chat", "model", cwd=finished, typed="hello\n", before=slow)
    going.until(lambda: "you" in going.files["out"].read_text())
    going.send(signal.SIGINT)
    done = going.wait(60)
    assert done.code in (0, 130), done.said
    assert "Traceback" not in done.said


def test_two_runs_begun_together_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naming the next free folder without making it would give both the same."""
    monkeypatch.chdir(tmp_path)
    names = [runs.new_folder(Settings()).name for _ in range(3)]
    assert names == ["arithmetic-1", "arithmetic-2", "arithmetic-3"]
    runs.give_up(Path("runs/arithmetic-2"))
    assert sorted(p.name for p in Path("runs").iterdir()) == ["arithmetic-1", "arithmetic-3"]


def test_a_run_that_the_guard_stops_ends_with_a_sentence_and_goes_on_when_resumed(world: Path) -> None:
    """Exit code 3, a checkpoint of the step, and the alarm in a sentence, once."""
    done = rows_run(
        world, "--steps", 6, "--kl-scale", 0.1, "--guard", "kl:1e-12=stop", "--dtype", "float32",
    )  # fmt: skip
    assert done.code == 3, done.said
    assert done.said.count("alarm at step 4, kl: KL to the reference is") == 1
    assert "stopped by the guard: KL to the reference is" in done.said
    assert "go on    groupwise train --resume out" in done.said
    assert json.loads((world / "out" / "result.json").read_text())["status"] == "stopped by the guard"
    assert [p.name for p in (world / "out" / "checkpoints").iterdir()] == ["4"]
    again = train(world, "--resume", "out")
    assert again.code == 0, again.said
    assert [row["step"] for row in lines(world / "out" / "metrics.jsonl")] == list(range(7))
    assert len(lines(world / "out" / "alarms.jsonl")) == 1


def test_two_processes_do_not_write_into_one_folder(world: Path) -> None:
    """Each would rewind, write and delete what the other has written. The kernel lets go at the end."""
    assert train(world, *GYM, "--out", "done").code == 0
    (world / "new").mkdir()
    with ExitStack() as stack:
        for name in ("new", "done"):
            fcntl.flock(stack.enter_context((world / name / runs.LOCK).open("a")), fcntl.LOCK_EX)
        before = holds(world)
        train(world, *GYM, "--out", "new").sentence("another process is writing into new", "another --out")
        train(world, "--resume", "done", "--steps", 3).sentence("another process is writing into done")
        assert holds(world) == before
    assert train(world, *GYM, "--out", "new").code == 0
    assert train(world, "--resume", "done", "--steps", 3).code == 0


# ---------------------------------------------------------------------------- worlds

WORLDS = """
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

class Painted(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space, action_space = Box(-9, 9, (2,)), Discrete(3, start=1)

    def __init__(self, render_mode=None, breaks=False):
        self.render_mode, self.breaks = render_mode, breaks

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self.np_random.normal(size=2), {}

    def step(self, action):
        self.at += 1
        if self.breaks and self.at == 2 and action == 2:
            raise RuntimeError("the motor is broken")
        return self.np_random.normal(size=2), float(action), self.at == 4, False, {}

    def render(self):
        return np.full((20, 30, 3), 50 * self.at, np.uint8)

gymnasium.register("Painted-v0", Painted)
gymnasium.register("Breaking-v0", lambda: Painted(breaks=True))
"""


def test_a_world_of_ones_own_is_trained_shown_and_looked_into(world: Path) -> None:
    (world / "mine.py").write_text(WORLDS)
    args = ("gym:mine.py:Painted-v0", *GYM[1:], "--normalise-observations", "--out", "g")
    done = train(world, *args)
    assert done.code == 0, done.said
    shown = start(
        "play", "g", "--episodes", "2", cwd=world, env={"DISPLAY": "", "WAYLAND_DISPLAY": ""}
    ).wait()
    assert shown.code == 0, shown.said
    assert shown.out.count("in 4 steps, it ended") == 2
    assert (world / "g" / "play.gif").read_bytes().startswith(b"GIF89a")
    assert groupwise("report", "g", cwd=world).code == 0
    assert "data:image/gif;base64" in (world / "g" / "report.html").read_text()
    drawn = groupwise("play", "g/checkpoints/2", "--stochastic", "--gif", "film.gif", cwd=world)
    assert drawn.code == 0, drawn.said
    assert (world / "film.gif").exists()
    found = groupwise("doctor", "gym:mine.py:Painted-v0", "--seconds", "0.2", cwd=world)
    assert found.code == 0, found.said
    assert all(word in found.out for word in ("seed", "snapshot", "a deep copy", "rewards", "speed"))


def test_evaluation_knows_what_the_run_learnt_of_the_world(world: Path) -> None:
    """Without the kept means a policy that was trained on normalised observations sees other numbers."""
    args = ("gym:CartPole-v1", *GYM[1:], "--normalise-observations", "--lr", 0.1, "--epochs", 8, "--out", "g")
    assert train(world, *args).code == 0
    after = json.loads((world / "g" / "result.json").read_text())["held_out"]["after"]["return"]
    done = groupwise("eval", "g", "--examples", "2", cwd=world)
    assert f"{after:.3f}" in done.out, done.said


def test_a_world_that_breaks_is_told_and_trained_in_all_the_same(world: Path) -> None:
    (world / "mine.py").write_text(WORLDS)
    done = train(world, "gym:mine.py:Breaking-v0", *GYM[1:], "--out", "g")
    assert done.code == 0, done.said
    assert "RuntimeError: the motor is broken" in done.said
    assert any(row["stopped/error"] > 0 for row in lines(world / "g" / "metrics.jsonl") if row["step"])
    found = groupwise("doctor", "gym:mine.py:Breaking-v0", "--seconds", "0.2", cwd=world)
    assert found.code == 1
    assert "the motor is broken" in found.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("play", "nowhere"), ("there is no folder nowhere",)),
        (("play", "nowhere", "--episodes", "0"), ("--episodes 0",)),
        (("doctor", "CartPole-v1"), ("forecast:..., and not into 'CartPole-v1'",)),
        (("doctor", "gym:CartPoul-v1"), ("CartPoul-v1", "Near it: CartPole-v")),
    ],
)
def test_what_cannot_be_shown_or_looked_into_is_one_sentence(
    world: Path, args: tuple[str, ...], words: tuple[str, ...]
) -> None:
    groupwise(*args, cwd=world).sentence(*words)
