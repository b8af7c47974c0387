"""Rewards that begin before all answers are there give what they give when they are called: bit for bit."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import tiny_folder
from groupwise.config import build
from groupwise.rewards import ahead
from groupwise.rewards.ahead import Ahead, Kept
from groupwise.rewards.code import code_rewards
from groupwise.rewards.maths import concise, equivalent
from groupwise.rewards.pool import isolated
from groupwise.rewards.scoring import Failed, Reward, RewardError, Scored, TrainerState, score
from groupwise.rewards.siblings import by_group, ranked
from groupwise.sandbox import Limits, Sandbox
from groupwise.settings import Settings
from groupwise.trainer import Run, train
from groupwise.trajectory import Group, Prompt, StopReason
from judged import answer

JUDGES = str(Path(__file__).with_name("judges.py"))
STATE = TrainerState(3, 10, 0.5)


def group(ordinal: int, *texts: str, **columns: Any) -> Group:
    return Group(Prompt(ordinal, f"{ordinal}?", columns), tuple(map(answer, texts)))


def begun(rewards: Sequence[Reward], cohort: Sequence[Group]) -> None:
    """Rewards begin with every group, and are waited for until they are done with the last."""
    with Ahead(rewards, [g.prompt for g in cohort], STATE) as early:
        for each in cohort:
            early.begin(each)
        if early._thread is not None:
            early._groups.put(None)
            early._thread.join()


def told(scored: Scored) -> list[Any]:
    """All that scoring gives, to the last digit and in its order."""
    members = [t for g in scored.cohort for t in g.trajectories]
    return [
        [(t.text, repr(t.reward), repr(dict(t.parts)), repr(dict(t.extra))) for t in members],
        repr(dict(scored.metrics)),
    ]


# ---------------------------------------------------------------------------- what is kept


def test_a_job_is_done_once_and_forgotten_when_it_is_taken() -> None:
    done: list[str] = []

    def work(jobs: list[str]) -> list[int]:
        done.extend(jobs)
        return [len(job) for job in jobs]

    kept = Kept[int, str, int]()
    kept.begin({1: "a", 2: "bb"}, work, lambda found: found > 1)
    kept.begin({2: "bb", 3: "ccc"}, work, lambda found: found > 1)
    assert done == ["a", "bb", "ccc"]
    taken = kept.taken([3, 1, None, 3, 2], ["ccc", "a", "dddd", "ccc", "bb"], work)
    assert taken == [3, 1, 4, 3, 2]
    assert done == ["a", "bb", "ccc", "a", "dddd"], "1 was not to be kept, None has no key"
    kept.taken([3], ["ccc"], work)
    assert done[5:] == ["ccc"]


# ---------------------------------------------------------------------------- the thread


class Spy:
    """A reward that says when it begins."""

    ahead = True

    def __init__(self) -> None:
        self.began: list[dict[str, Any]] = []
        self.go = threading.Event()
        self.go.set()

    def begin(self, prompts: list[Any], completions: list[str], **given: Any) -> None:
        self.began.append({"prompts": prompts, "completions": completions, **given})
        assert self.go.wait(60)

    def __call__(self, completions: list[str], **_: Any) -> list[float]:
        return [0.0] * len(completions)


def test_a_reward_begins_with_the_arguments_of_its_call_for_one_group() -> None:
    """A column that only other rows have is there, as None; answers on which the world failed are not."""
    spy, cohort = Spy(), [group(0, "a", "b", gold="2"), group(1, "c", "d", level=3)]
    broken = replace(answer("x"), stopped=StopReason.ERROR)
    cohort[1] = replace(cohort[1], trajectories=(broken, *cohort[1].trajectories))
    cohort.append(replace(cohort[0], trajectories=(broken,)))
    begun([Reward("spy", spy)], cohort)
    shared = {"completion_ids": [[1], [1]], "group_ids": [0, 0], "trainer_state": STATE}
    assert spy.began == [
        {"prompts": ["0?"] * 2, "completions": ["a", "b"], "gold": ["2"] * 2, "level": [None] * 2, **shared},
        {"prompts": ["1?"] * 2, "completions": ["c", "d"], "gold": [None] * 2, "level": [3] * 2, **shared},
    ]


def test_a_reward_that_does_not_say_so_is_called_with_the_whole_cohort_alone() -> None:
    """It may compare what it likes. And no thread is started for it."""
    seen = []

    def plain(completions: list[str]) -> list[float]:
        seen.append(completions)
        return [0.0] * len(completions)

    rewards = [Reward("plain", plain), Reward("group", by_group(plain))]
    threads = threading.active_count()
    with Ahead(rewards, [], STATE) as early:
        early.begin(group(0, "a"))
        assert threading.active_count() == threads
    assert seen == []


def test_waiting_ends_the_thread_and_leaves_what_has_not_begun_to_the_call() -> None:
    """All that is left is worked on at once then, side by side, and not group by group."""
    spy, threads = Spy(), threading.active_count()
    spy.go.clear()
    with Ahead([Reward("spy", spy)], [], STATE) as early:
        for i in range(3):
            early.begin(group(i, "a"))
        while not spy.began:
            time.sleep(0.001)
        threading.Timer(0.05, spy.go.set).start()
        early.wait()
        assert [given["prompts"] for given in spy.began] == [["0?"]]
        assert early.seconds > 0.04
    assert not any(t.name == "rewards ahead" for t in threading.enumerate())
    assert threading.active_count() <= threads + 1, "the timer may be about to end"


def test_an_interrupt_does_not_wait_for_a_reward_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "PATIENCE", 0.1)
    spy = Spy()
    spy.go.clear()
    early = Ahead([Reward("spy", spy)], [], STATE)

    def interrupted() -> None:
        with early:
            early.begin(group(0, "a"))
            while not spy.began:
                time.sleep(0.001)
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - began < 30
    assert early._thread is not None
    assert early._thread.daemon, "so that the process can end"
    spy.go.set()
    early._thread.join()


# ---------------------------------------------------------------------------- the same values


@contextlib.contextmanager
def worker(function: str, seconds: float = 5.0) -> Iterator[isolated]:
    made = isolated(f"{JUDGES}:{function}", workers=1, seconds=seconds)
    yield made
    made.pool.close()


def test_failures_of_workers_are_the_same_and_good_answers_are_not_judged_again(tmp_path: Path) -> None:
    texts = ["2", "3", "none", "2", "crash", "raise", "nan", "sleep"]
    cohort = [group(0, *texts[:4], answer="2"), group(1, *texts[4:], answer="3", level=1)]
    broken = replace(answer("x"), stopped=StopReason.ERROR)
    cohort[1] = replace(cohort[1], trajectories=(*cohort[1].trajectories, broken))
    found = []
    for early in (False, True):
        with worker("judge", 0.5) as judge, worker("counted") as counted:
            rewards = [Reward("right", judge), Reward("rank", ranked(judge), 0.5)]
            if early:
                begun(rewards, cohort)
            found.append(told(score(cohort, rewards, STATE)))
            columns = {"folder": str(tmp_path / str(early))}
            (tmp_path / str(early)).mkdir()
            plain = [group(0, "a", "bb", "a", **columns), group(1, "a", "ccc", **columns)]
            if early:
                begun([Reward("counted", counted)], plain)
                assert (tmp_path / "True" / "calls").read_text().split() == ["a", "bb", "ccc"]
            found.append(told(score(plain, [Reward("counted", counted)], STATE)))
            found.append([(tmp_path / str(early) / "calls").read_text(), counted.cache.hits])
    assert found[:3] == found[3:]


def test_formulas_and_what_is_logged_of_them_are_the_same() -> None:
    """Of the cohort 2 of 5 say nothing; `concise` logs the shares of each group beside that, 0 and 2/3."""
    pytest.importorskip("math_verify")
    cohort = [
        group(0, "#### 1/2", "#### 0.5", answer="\\frac{1}{2}"),
        group(1, "nothing", "#### 9^9^9", "no", answer="7"),
    ]
    found = []
    for early in (False, True):
        judge = equivalent(workers=1, seconds=20)
        rewards = [Reward("right", judge), Reward("short", concise(judge), 0.1)]
        if early:
            begun(rewards, cohort)
        found.append(told(score(cohort, rewards, STATE)))
        judge.judge.pool.close()
    assert found[0] == found[1]
    assert f"'maths/no_answer': {(0.4 + 0 + 2 / 3) / 3}" in found[0][1]


def test_verdicts_of_the_sandbox_are_the_same() -> None:
    """Answers of one group repeat, one never ends, one has no code; reasons are counted over the cohort."""
    row = {"test_list": ["assert f(1) == 2", "assert f(2) == 3"]}
    good, half = "```python\ndef f(x): return x + 1\n```", "```python\ndef f(x): return 2\n```"
    loop, words = "```python\ndef f(x):\n    while True: pass\n```", "I do not know"
    cohort = [group(0, good, half, good, **row), group(1, loop, words, good, **row), group(2, good)]
    with Sandbox(Limits(seconds=1.0), workers=1) as sandbox:
        late = told(score(cohort, code_rewards(sandbox), STATE))
        rewards = code_rewards(sandbox)
        begun(rewards, cohort)
        ran: list[Any] = []
        real = sandbox.run
        sandbox.run = lambda jobs: (ran.extend(jobs), real(jobs))[1]  # type: ignore[method-assign]
        assert told(score(cohort, rewards, STATE)) == late
    assert len(ran) == 1, "a time limit that was passed on a busy machine is tried again; nothing else is"
    assert "while True" in ran[0].code


def test_a_reward_by_group_logs_once_and_what_failed_is_asked_again() -> None:
    asked: list[list[str]] = []

    def judge(completions: list[str], log_metric: Any, gold: list[str]) -> list[Any]:
        asked.append(completions)
        log_metric("length", len("".join(completions)))
        tired = completions == ["tired"] and len(asked) == 2
        return (
            [Failed("timeout")] if tired else [float(c == g) for c, g in zip(completions, gold, strict=True)]
        )

    cohort = [group(0, "a", "b", gold="a"), group(1, "tired", gold="x"), group(2, "c", gold="c")]
    rewards = [Reward("judge", by_group(judge, ahead=True))]
    begun(rewards, cohort[:2])
    assert asked == [["a", "b"], ["tired"]]
    early = told(score(cohort, rewards, STATE))
    assert asked[2:] == [["tired"], ["c"]]
    assert early == told(score(cohort, [Reward("judge", by_group(judge))], STATE))
    assert "'length': 2.6666666666666665" in early[1], "2, 5 and 1, each once"


def test_what_raises_ahead_raises_in_the_call_with_its_input_saved(tmp_path: Path) -> None:
    def picky(completions: list[str]) -> list[float]:
        if "b" in completions:
            raise ZeroDivisionError("by hand")
        return [1.0] * len(completions)

    cohort, messages, saved = [group(0, "a"), group(1, "b", "c")], [], []
    for early in (False, True):
        rewards = [Reward("picky", by_group(picky, ahead=True))]
        if early:
            begun(rewards, cohort)
        with pytest.raises(RewardError) as caught:
            score(cohort, rewards, STATE, tmp_path / "failed.jsonl")
        messages.append(str(caught.value))
        saved.append((tmp_path / "failed.jsonl").read_text())
        (tmp_path / "failed.jsonl").unlink()
    assert "raised ZeroDivisionError('by hand')" in messages[0]
    assert messages[0] == messages[1]
    assert saved[0] == saved[1]
    assert len(saved[0].splitlines()) == 3


# ---------------------------------------------------------------------------- a whole run

REWARDS = f"""
from groupwise.rewards.pool import isolated
from groupwise.rewards.siblings import by_group

worker = isolated({JUDGES + ":length"!r}, workers=1)

def share(completions, completion_ids, trainer_state, log_metric):
    log_metric("letters", sum(map(len, completions)) / 7)
    return [len(set(text)) / (9 + trainer_state.global_step) for text in completions]

varied = by_group(share, ahead=True)

def plain(completions, log_extra, **columns):
    log_extra("first", [text[:1] for text in completions])
    return [len(text) / 100 for text in completions]
"""


class Unhurried:
    """A sampler that waits after each group, so that rewards are sure to begin before the last."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def collect(self, orders: Any, greedy: bool = False, progress: Any = None, finished: Any = None) -> Any:
        def slowly(group: Group) -> None:
            finished(group)
            time.sleep(0.02)

        return self.inner.collect(orders, greedy, progress, slowly if finished else None)


def run(folder: Path, out: str) -> Run:
    rewards = tuple(f"{folder / 'my.py'}:{name}" for name in ("worker", "varied", "plain"))
    settings = Settings(
        task=str(folder / "rows.jsonl"), model=str(folder / "model"), device="cpu", reward=rewards, steps=2,
        prompts=3, group_size=4, max_rows=4, max_new_tokens=6, held_out=2, resample=1, learning_rate=1e-2,
    )  # fmt: skip
    (folder / out).mkdir()
    return build(settings, folder / out, Console(file=io.StringIO()), lambda: False).run


def ended(run: Run) -> list[Any]:
    with contextlib.closing(run.journal):  # type: ignore[type-var]
        state = train(replace(run, sampler=Unhurried(run.sampler)))
    timed = ("step_time", "tokens_per_second", "peak_memory_gib", "ahead_time")
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in r.items() if k not in timed and not k.startswith("time/")} for r in rows]
    files = [(run.folder / name).read_bytes() for name in ("samples.jsonl", "evaluations.jsonl")]
    weights = torch.cat([w.detach().flatten() for w in run.learner.masters.weights.values()])
    return [kept, *files, weights.tolist(), state.best, ["ahead_time" in row for row in rows[1:]]]


def test_a_run_with_rewards_that_begin_early_is_the_run_without(tmp_path: Path) -> None:
    tiny_folder.save(tmp_path / "model")
    (tmp_path / "my.py").write_text(REWARDS)
    rows = [{"prompt": f"{i} and", **({"odd": i} if i % 2 else {})} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    early, late = run(tmp_path, "early"), run(tmp_path, "late")
    hidden = tuple(replace(r, function=lambda **_: None) for r in late.task.rewards)
    *same, began = ended(early)
    *wanted, never = ended(replace(late, task=replace(late.task, rewards=hidden)))
    assert same == wanted
    assert (began, never) == ([True] * 2, [False] * 2)
    assert not any(t.name == "rewards ahead" for t in threading.enumerate())
