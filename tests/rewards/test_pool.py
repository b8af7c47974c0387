"""Workers that hang, crash and lie cost one answer each; nothing is left behind, whoever ends first."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from groupwise.rewards.pool import Pool, PoolError, isolated
from groupwise.rewards.scoring import Failed, Reward, TrainerState, score
from groupwise.trajectory import Group, Prompt
from judged import answer

JUDGES = str(Path(__file__).with_name("judges.py"))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(f"{JUDGES}:judge", workers=1, seconds=2.0) as pool:
        pool.run([{"prompt": "", "completion": ""}])
        yield pool


def calls(*completions: str) -> list[dict[str, str]]:
    return [{"prompt": "1+1?", "completion": c, "answer": "2", "other": "not taken"} for c in completions]


def alive(number: int) -> bool:
    """Of a process that is not yet waited for, too, only if it runs."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(number: int) -> bool:
    """Soon: what was killed needs a moment of the processor to end."""
    end = time.monotonic() + 20
    while alive(number) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(number)


def test_values_come_back_in_the_order_of_the_calls(pool: Pool) -> None:
    assert pool.run(calls("2", "3", "none", "2")) == [1.0, 0.0, None, 1.0]
    assert pool.run([]) == []


@pytest.mark.parametrize(
    ("misdeed", "reason"),
    [
        ("sleep", "timeout"),
        ("deaf", "timeout"),
        ("crash", "crash"),
        ("exit", "crash"),
        ("raise", "raised ValueError: no such shape"),
        ("nan", "returned no number: nan"),
        ("words", "returned no number: str"),
        ("5", "crash"),
        ('["value", "1"]', "crash"),
        ('["unusable", "so the run ends"]', "crash"),
        ('["value", ' + "9" * 400 + "]", "crash"),
        ("[" * 50_000, "crash"),
    ],
)
def test_a_misdeed_costs_one_answer(pool: Pool, misdeed: str, reason: str) -> None:
    """The answers before and after are judged as ever, by the worker that takes its place."""
    began = time.monotonic()
    before, failed, after = pool.run(calls("2", misdeed, "2"))
    assert (before, after) == (1.0, 1.0)
    assert isinstance(failed, Failed)
    assert failed.reason.startswith(reason)
    assert time.monotonic() - began < 30


def test_what_a_function_prints_does_not_mix_with_its_values(pool: Pool) -> None:
    assert pool.run(calls("print", "2")) == [0.0, 1.0]


def test_a_worker_that_is_killed_between_batches_is_replaced(pool: Pool) -> None:
    (worker,) = pool._workers
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    assert pool.run(calls("2")) == [1.0]


def test_a_long_answer_is_sent_whole(pool: Pool) -> None:
    text = "9" * 2_000_000
    assert pool.run([{"prompt": "", "completion": text, "answer": text}]) == [1.0]


def test_a_batch_that_is_interrupted_leaves_no_reply_for_the_next(pool: Pool) -> None:
    """A stale reply would be taken for the value of another answer."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(KeyboardInterrupt):
        pool.run(calls("sleep"))
    signal.signal(signal.SIGALRM, old)
    assert pool.run(calls("2", "3")) == [1.0, 0.0]


def test_a_worker_outlives_the_thread_that_asked_for_it() -> None:
    """The kernel sends it the signal of its parent's death when the thread that started it ends."""
    with Pool(f"{JUDGES}:judge", workers=1, seconds=5) as pool:
        found: list[object] = []
        asking = threading.Thread(target=lambda: found.extend(pool.run(calls("2", "3"))))
        asking.start()
        asking.join()
        [worker] = pool._workers
        time.sleep(0.1)
        assert pool.run(calls("2")) == [1.0]
        assert (found, pool._workers) == ([1.0, 0.0], [worker])


def test_hangs_are_waited_for_side_by_side_and_leave_no_thread_or_process() -> None:
    threads = threading.active_count()
    with Pool(f"{JUDGES}:judge", workers=4, seconds=4.0) as pool:
        pool.run(calls("2", "2", "2", "2"))
        began = time.monotonic()
        assert pool.run(calls("sleep", "sleep", "sleep", "sleep")) == [Failed("timeout")] * 4
        assert time.monotonic() - began < 15
        pool.run(calls("2"))
        numbers = [w.process.pid for w in pool._workers]
    assert numbers
    assert not any(map(alive, numbers))
    assert threading.active_count() == threads


def test_a_timeout_ends_what_the_worker_started(tmp_path: Path) -> None:
    note = tmp_path / "numbers"
    with Pool(f"{JUDGES}:child", workers=1, seconds=3.0) as pool:
        assert pool.run([{"completion": str(note)}]) == [Failed("timeout")]
    worker, child = map(int, note.read_text().split())
    assert gone(worker)
    assert gone(child)


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """In the middle of a call, and in C code: reading the end of a channel would come too late."""
    code = (
        "from groupwise.rewards.pool import Pool\n"
        f"pool = Pool({JUDGES + ':judge'!r}, workers=1, seconds=60)\n"
        "pool.run([{'prompt': '', 'completion': '2'}])\n"
        "print(pool._workers[0].process.pid, flush=True)\n"
        "pool.run([{'prompt': '', 'completion': 'deaf'}])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    time.sleep(0.2)
    assert alive(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(worker)


def test_a_worker_starts_without_torch_but_the_package_is_whole_when_asked() -> None:
    """Each of many workers would otherwise take seconds and hundreds of megabytes for nothing."""
    with Pool(f"{JUDGES}:imports", workers=1, seconds=30) as pool:
        assert pool.run([{"completion": name} for name in ("torch", "numpy", "json")]) == [0.0, 0.0, 1.0]
    with Pool(f"{JUDGES}:imports_after_the_rewards", workers=1, seconds=30) as pool:
        assert pool.run([{"completion": name} for name in ("torch", "numpy")]) == [0.0, 1.0]
    with Pool(f"{JUDGES}:asks_the_package", workers=1, seconds=30) as pool:
        assert pool.run([{"completion": name} for name in ("objective", "nothing_of_the_kind")]) == [1.0, 0.0]


def test_memory_has_a_limit_where_one_is_given() -> None:
    with Pool(f"{JUDGES}:hungry", workers=1, seconds=5, memory_mb=512) as pool:
        small, large = pool.run([{"completion": "1000"}, {"completion": str(1 << 30)}])
    assert small == 1000.0
    assert isinstance(large, Failed)
    assert large.reason.startswith("raised MemoryError")


def test_a_locked_worker_reads_and_computes_and_reaches_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    honest = ["2 ** 10", f"open('{tmp_path}/there').read()", "__import__('colorsys').rgb_to_hsv(1, 1, 1)"]
    hostile = [
        f"open('{tmp_path}/new', 'w')",
        f"__import__('os').remove('{tmp_path}/there') or 1",
        "__import__('socket').socket()",
        "__import__('os').fork()",
        "__import__('os').kill(__import__('os').getppid(), 0) or 1",
    ]
    with Pool(f"{JUDGES}:evaluates", workers=1, seconds=5, locked=True) as pool:
        assert pool.run([{"completion": code} for code in honest]) == [1.0] * 3
        for value in pool.run([{"completion": code} for code in hostile]):
            assert isinstance(value, Failed)
            assert value.reason.startswith("raised PermissionError")
        assert pool.run([{"completion": "__import__('os').execv('/bin/true', ['x'])"}]) == [Failed("crash")]
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_where_nothing_can_lock_a_worker_it_is_not_used(tmp_path: Path) -> None:
    """Rather than evaluating in the open what an answer says."""
    code = "import platform\nplatform.machine = lambda: 'vax'\nevaluates = eval\n"
    (tmp_path / "on_a_vax.py").write_text(code)
    place = f"{tmp_path}/on_a_vax.py:evaluates"
    with (
        Pool(place, workers=1, seconds=5, locked=True) as pool,
        pytest.raises(PoolError, match=r"nothing keeps them apart here: .*vax.*--allow-unsafe-code"),
    ):
        pool.run([{"completion": "1"}])


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("no_such_module_of_mine:f", "no module 'no_such_module_of_mine'"),
        (f"{JUDGES}:no_such_function", "no attribute 'no_such_function'"),
    ],
)
def test_a_function_that_is_not_there_is_named(place: str, words: str) -> None:
    with Pool(place, workers=1) as pool, pytest.raises(PoolError, match=words):
        pool.run(calls("2"))


def test_a_function_that_ends_its_process_when_called_is_a_crash() -> None:
    """SystemExit is no Exception: it must not end quietly either."""
    with Pool(f"{JUDGES}:ends_early", workers=1) as pool:
        assert pool.run([{"completion": "a"}]) == [Failed("crash")]


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Pool("a:b", workers=0)


# ---------------------------------------------------------------------------- as a reward


def test_a_failed_answer_is_counted_named_and_without_a_reward() -> None:
    """Its other part alone would rank it above or below siblings that were judged in full."""
    reward = isolated(f"{JUDGES}:judge", workers=1, seconds=2.0)
    group = Group(Prompt(0, "1+1?", {"answer": "2"}), tuple(answer(t) for t in ("2", "crash", "3", "raise")))
    rewards = [Reward("right", reward), Reward("one", lambda completions, **_: [1.0] * len(completions))]
    scored = score([group], rewards, TrainerState())
    reward.pool.close()
    trajectories = scored.cohort[0].trajectories
    assert [t.reward for t in trajectories] == [2.0, None, 1.0, None]
    assert [t.parts["right"] for t in trajectories] == [1.0, None, 0.0, None]
    reasons = [t.extra["right/failed"] for t in trajectories]
    assert reasons == ["", "crash", "", "raised ValueError: no such shape"]
    assert scored.metrics == {
        "rewards/right/failed": 0.5,
        "rewards/right/failed/crash": 0.25,
        "rewards/right/failed/raised_ValueError": 0.25,
    }


def test_equal_answers_are_judged_once_and_failures_again(tmp_path: Path) -> None:
    reward = isolated(f"{JUDGES}:counted", workers=1, seconds=5)
    columns = {"folder": [str(tmp_path)] * 3, "never_read": [1, 2, 3]}
    given = ["a", "bb", "a"]
    assert reward(prompts=["p"] * 3, completions=given, **columns) == [1.0, 2.0, 1.0]
    assert reward(prompts=["q"] * 3, completions=given, **columns) == [1.0, 2.0, 1.0]
    reward.pool.close()
    assert (tmp_path / "calls").read_text().split() == ["a", "bb"]


def test_a_column_called_completion_is_not_judged_in_place_of_the_answer() -> None:
    """Data sets have one beside `prompt`: what somebody wrote, which is right every time."""
    reward = isolated(f"{JUDGES}:judge", workers=1, seconds=5)
    given = {"completion": ["2"], "prompt": ["?"], "answer": ["2"]}
    assert reward(prompts=["1+1?"], completions=["3"], **given) == [0.0]
    reward.pool.close()


def test_a_lost_worker_is_replaced_before_the_next_batch(pool: Pool) -> None:
    """Else each batch after a timeout waits for a start."""
    (old,) = [pool.run(calls("2")) and w.process.pid for w in pool._workers]
    pool.run(calls("crash"))
    (new,) = pool._workers
    assert new.process.pid != old
    assert pool.run(calls("2")) == [1.0]
    assert pool._workers == [new]
