"""From the command line to a trained policy that talks; and the flags that do not go together."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import tiny_folder
from groupwise import report, runs
from groupwise.chat import Talk
from groupwise.config import build
from groupwise.envs.conversation import ConversationSampler
from groupwise.envs.tools import written
from groupwise.groups import Order
from groupwise.rewards.scoring import TrainerState
from groupwise.settings import ConfigError, Settings, completed
from groupwise.trainer import train

TALK = '''
class Talk:
    """Worth a point for every digit; after the second turn it has had enough."""
    def reset(self, row):
        self.turn, self.odd = 0, row["seed"] % 2
        return f"{row['seed'] % 7}?"

    def step(self, message):
        self.turn += 1
        if self.odd:
            raise KeyError("it is odd")
        return "more", float(sum(x.isdigit() for x in message)), self.turn == 2
'''
RIGHT = '''
def polite(completions, returns, **columns):
    """Sees the whole conversation."""
    assert all(m["role"] in ("assistant", "user") for c in completions for m in c)
    return [0.0 for c in completions]
'''


@pytest.fixture
def talk(tmp_path: Path) -> Settings:
    (tmp_path / "talk.py").write_text(TALK)
    (tmp_path / "polite.py").write_text(RIGHT)
    return Settings(
        task=f"env:{tmp_path}/talk.py:Talk",
        model=str(tiny_folder.save(tmp_path / "model")),
        reward=(f"{tmp_path}/polite.py:polite",),
        steps=2, prompts=3, group_size=6, max_new_tokens=10, stop=tuple("aeiou "),
        held_out=3, device="cpu", dtype="float32",
    )  # fmt: skip


def made(settings: Settings, folder: Path) -> Any:
    (folder / "out").mkdir()
    return build(settings, folder / "out", Console(file=io.StringIO()), lambda: False)


@pytest.mark.filterwarnings("ignore:.*conversations failed")
def test_a_conversation_is_trained_on_and_reported(talk: Settings, tmp_path: Path) -> None:
    """Through the trainer's one page, with failures of the world on the way."""
    built = made(talk, tmp_path)
    runs.begin(tmp_path / "out", talk)
    with contextlib.closing(built.journal):
        state = train(built.run)
    assert isinstance(built.run.sampler, ConversationSampler)
    assert state.step == 2
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["grad_norm"] > 0 for row in rows if row["step"] > 0)
    assert all(1 <= row["completions/mean_turns"] <= 2 for row in rows if row["step"] > 0)
    assert built.run.task.measure == "return"
    samples = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert {s["stopped"] for s in samples} == {"length", "finished", "error"}
    assert all((s["reward"] is None) == (s["stopped"] == "error") for s in samples)
    assert all(s["messages"][0]["role"] == "assistant" for s in samples)
    runs.finish(tmp_path / "out", built, state)
    page = report.write(tmp_path / "out").read_text()
    assert page.count('<span class="role">assistant</span>') > len(samples), "every turn is shown"


@pytest.mark.filterwarnings("ignore:.*conversations ended with their first turn")
@pytest.mark.parametrize("own", [True, False])
def test_what_a_task_gives_on_the_way_is_credit_only_where_it_is_trained_on(
    own: bool, talk: Settings, tmp_path: Path
) -> None:
    """Per-turn recipes would learn from rewards that `--reward` has put others in the place of."""
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('embeddings": 160', 'embeddings": 999'))
    run = made(replace(talk, task="clarify", reward=() if own else talk.reward, stop=()), tmp_path).run
    groups = run.sampler.collect([Order(prompt, 4) for prompt in run.task.stream(0, 1, seed=0)])
    [group] = run.score(groups, TrainerState()).cohort
    given = [turn.rewards for t in group.trajectories for turn in t.turns]
    assert all((rewards is None) != own for rewards in given)
    assert all(set(t.parts) == ({"served", "guessed"} if own else {"polite"}) for t in group.trajectories)
    if not own:
        assert all(t.gold["served"] < 0 for t in group.trajectories), "it is judged by that all the same"


ECHO = '''
def echo(text: str) -> str:
    """Say it again.

    Args:
        text: what
    """
    return text * 2

class Echo:
    tools = [echo]
    def reset(self, row):
        return [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]
    def step(self, message):
        return None, 1.0, True
'''


def test_who_talks_to_a_run_of_conversations_talks_as_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its system's message and its tools: without them a trained model is asked what it never was."""
    (tmp_path / "echo.py").write_text(ECHO)
    settings = Settings(
        task=f"env:{tmp_path}/echo.py:Echo", model=str(tiny_folder.save(tmp_path / "model")), steps=1,
        prompts=1, group_size=2, max_new_tokens=4, held_out=1, device="cpu", dtype="float32",
    )  # fmt: skip
    runs.begin(tmp_path / "out", settings)
    shutil.copytree(tmp_path / "model", tmp_path / "out" / "model")
    seen: list[Any] = []
    said = iter([written("echo", text="ab"), "abab it is", "bye"])

    def complete(self: Talk, content: Any) -> str:
        seen.append([dict(message) for message in content])
        return next(said)

    monkeypatch.setattr(Talk, "_complete", complete)
    talk = Talk(str(tmp_path / "out"), 0.0, 8)
    assert talk.answer("Say ab twice.").splitlines()[1:] == ["abab", "abab it is"]
    assert talk.answer("Thanks.") == "bye"
    assert "echo" in seen[0][0]["content"]
    assert [m["role"] for m in seen[1]] == ["system", "user", "assistant", "tool"]
    assert [m["role"] for m in seen[2]][4:] == ["assistant", "user"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "arithmetic", "max_turns": 3}, "--max-turns: only for conversations"),
        ({"task": "arithmetic", "max_context": 3}, "--max-context: only for conversations"),
        ({"task": "gym:CartPole-v1", "max_turns": 3}, "--max-turns: only for"),
        ({"task": "clarify", "seats": "current:4,best:4"}, "--seats .*one policy holds"),
        ({"task": "clarify", "held_out_file": "x.jsonl"}, "brings its own held-out rows"),
        ({"task": "clarify", "max_turns": 0}, r"--max-turns 0 \(1 or more\)"),
        ({"task": "clarify", "max_context": 4096}, "may have 4096 tokens, and a micro-batch holds 2048"),
    ],
)
def test_flags_that_do_not_go_together_are_named(changes: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        made(Settings(model="nowhere", **changes), tmp_path)


def test_the_limits_are_the_users_the_tasks_and_the_models(talk: Settings, tmp_path: Path) -> None:
    sampler = made(talk, tmp_path).run.sampler
    assert (sampler.limits.turns, sampler.limits.tokens) == (8, tiny_folder.CONTEXT)
    assert completed(talk).max_context == 1024
    assert completed(Settings(task="arithmetic")).max_context is None
