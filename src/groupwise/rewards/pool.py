"""Judges answers in worker processes: a hang or a crash costs one answer, never the run.

    equivalent = isolated("my_checks.py:one", seconds=2)     # one(completion, answer) -> float | None

Each worker runs one call at a time. One that takes too long, dies, or answers nonsense is killed and
another started in its place. Workers are processes that were started clean, not forked from the trainer, and
end with it, however it ends. What they print is thrown away.
"""

from __future__ import annotations

import math
import os
import selectors
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from groupwise.rewards.ahead import Kept
from groupwise.rewards.cache import Cache, key_of
from groupwise.rewards.process import Worker
from groupwise.rewards.scoring import Failed, Value

STRIKES = 3
"""Workers in a row that end before they are ready, after which a batch is given up."""


Call = Mapping[str, Any]
"""Keyword arguments for one answer."""


class PoolError(RuntimeError):
    """A pool's function cannot be imported. Says what importing it said."""


class Pool:
    """Worker processes for one function. Any thread may use it, but not two at once.

    Args:
        place: `file.py:function` or `package.module:function`. It takes keyword arguments for one answer
            and returns a number, or None.
        workers: processes; the machine's cores unless given. They start when they are needed.
        seconds: a call may take.
        memory_mb: address space of a worker; not limited unless given. torch needs much more than it uses.
        locked: once its function is imported, a worker can write no file, and make no socket and no process
            (the sandbox's filter of system calls): for a function that evaluates what an answer says.
    """

    def __init__(
        self,
        place: str,
        workers: int | None = None,
        seconds: float = 1.0,
        memory_mb: int | None = None,
        locked: bool = False,
    ) -> None:
        if seconds <= 0 or (workers is not None and workers < 1):
            raise ValueError(f"{workers} workers and {seconds} s a call: give 1 or more, and more than 0 s.")
        self.place, self.seconds, self.locked = place, seconds, locked
        self.size = workers or len(os.sched_getaffinity(0))
        self._order = {"place": place, "memory": memory_mb and memory_mb << 20, "locked": locked}
        self._workers: list[Worker] = []
        # Kept: the kernel ends a worker with the thread that started it.
        self._starter = ThreadPoolExecutor(1)
        self._reads: frozenset[str] | bool | None = False  # not known yet

    @property
    def reads(self) -> frozenset[str] | None:
        """The arguments that the function takes; None where it takes any. Starts a worker to ask."""
        if self._reads is False:
            self._run([])
        assert not isinstance(self._reads, bool)
        return self._reads

    def run(self, calls: Sequence[Call]) -> list[Value]:
        """The function's value for each call, in their order, or Failed: `timeout`, `crash`, `raised ...`.

        Raises:
            PoolError: the function cannot be imported.
        """
        return self._run([self.seen(call) for call in calls]) if calls else []

    def seen(self, call: Call) -> dict[str, Any]:
        """Of a call what the function takes."""
        reads = self.reads
        return {k: v for k, v in call.items() if reads is None or k in reads}

    def close(self) -> None:
        """End the workers; a pool that is forgotten closes itself."""
        for each in self._workers:
            each.end()
        self._workers.clear()
        self._starter.shutdown()
        self._starter = ThreadPoolExecutor(1)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, calls: Sequence[Call]) -> list[Value]:
        batch = _Batch(calls)
        try:
            while batch.unfinished or self._reads is False:
                self._hire(len(batch.waiting) or int(self._reads is False))
                self._hand_out(batch)
                for each in self._heard():
                    self._settle(each, batch)
                if batch.strikes >= STRIKES:
                    batch.give_up()
                    if self._reads is False:
                        raise PoolError(f"{self.place}: {STRIKES} workers ended before they were ready.")
            self._hire(len(calls))  # for those lost: they start while the next answers are written
        finally:  # an interrupt: the reply to a call of this batch is not for the next
            for each in [w for w in self._workers if w.call is not None]:
                self._dismiss(each)
        return batch.results

    def _hire(self, waiting: int) -> None:
        for each in [w for w in self._workers if w.call is None and w.process.poll() is not None]:
            self._dismiss(each)
        free = sum(w.call is None for w in self._workers)
        for _ in range(min(self.size - len(self._workers), waiting - free)):
            starting = self._starter.submit(Worker, {**self._order, "path": sys.path})
            self._workers.append(starting.result())

    def _hand_out(self, batch: _Batch) -> None:
        for each in self._workers:
            if each.ready and each.call is None and batch.waiting:
                each.give(batch.waiting[0], batch.calls[batch.waiting[0]], self.seconds)
                batch.waiting.popleft()

    def _heard(self) -> list[Worker]:
        """Wait until one has something to say, or its time is over."""
        engaged = [w for w in self._workers if w.deadline < math.inf]
        left = min((w.deadline for w in engaged), default=0.0) - time.monotonic()
        with selectors.DefaultSelector() as selector:
            for each in engaged:
                selector.register(each.channel, selectors.EVENT_READ, each)
            said = [key.data for key, _ in selector.select(max(left, 0.0))]
        now = time.monotonic()
        return said or [w for w in engaged if w.deadline <= now]

    def _settle(self, each: Worker, batch: _Batch) -> None:
        late = each.deadline <= time.monotonic()
        try:
            message = each.read()
        except BlockingIOError:
            if not late:
                return
            message = ("timeout", None)
        except (OSError, ValueError):
            message = ("crash", None)
        kind, value = message
        if kind == "unusable":
            self.close()
            raise PoolError(f"{self.place} cannot be used by a worker: {value}")
        if kind == "ready":
            self._reads = None if value is None else frozenset(value)
            each.ready, each.deadline, batch.strikes = True, math.inf, 0
            return
        if each.call is None:  # ended, or took too long, before it was ready
            batch.strikes += 1
        else:
            batch.finish(each.call, _value(kind, value))
            each.call, each.deadline = None, math.inf
        if kind in ("timeout", "crash"):
            self._dismiss(each)

    def _dismiss(self, each: Worker) -> None:
        each.end()
        self._workers.remove(each)


class _Batch:
    """Calls that wait for a worker, and the results so far."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls
        self.waiting = deque(range(len(calls)))
        self.unfinished = len(calls)
        self.results: list[Value] = [Failed("no worker")] * len(calls)
        self.strikes = 0

    def finish(self, i: int, value: Value) -> None:
        self.results[i] = value
        self.unfinished -= 1

    def give_up(self) -> None:
        self.unfinished -= len(self.waiting)
        self.waiting.clear()


def _value(kind: str, value: Any) -> Value:
    if kind in ("timeout", "crash"):
        return Failed(kind)
    if kind == "failed":
        return Failed(str(value))
    if value is not None and not math.isfinite(value):
        return Failed(f"returned no number: {value}")
    return None if value is None else float(value)


class isolated:  # noqa: N801 - reads as the function that it makes
    """A reward from a function of one answer, run in a pool.

    `f(prompt, completion, **columns) -> float | None` gets the arguments that it names, all but
    `completion_ids` if it has **columns. Values are kept for the same arguments, up to `cache` of them;
    failures are not: a machine that was busy may do better later. Begins with a group while other groups are
    being written (ahead.py), unless `ahead` is set to False. `locked`: as of Pool.
    """

    def __init__(
        self,
        place: str,
        workers: int | None = None,
        seconds: float = 1.0,
        memory_mb: int | None = None,
        cache: int = 10_000,
        locked: bool = False,
    ) -> None:
        self.pool = Pool(place, workers, seconds, memory_mb, locked)
        self.cache = Cache(cache)
        self.ahead = True
        self._kept = Kept[bytes, Call, Value]()

    def begin(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> None:
        calls = self._calls(prompts, completions, columns)
        keyed = {key: call for call in calls if (key := key_of(call)) is not None and key not in self.cache}
        self._kept.begin(keyed, self.pool.run, lambda value: not isinstance(value, Failed))

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[Value]:
        calls = self._calls(prompts, completions, columns)
        keys = [key_of(call) for call in calls]

        def judged(missing: list[int]) -> list[Value]:
            return self._kept.taken([keys[i] for i in missing], [calls[i] for i in missing], self.pool.run)

        return self.cache.filled(keys, judged)

    def _calls(
        self, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]
    ) -> list[Call]:
        # ours last: a data set's own column `completion` is what somebody wrote, not what is judged
        rows = {**columns, "prompt": prompts, "completion": completions}
        if self.pool.reads is None:
            rows.pop("completion_ids", None)
        lists = {k: v for k, v in rows.items() if isinstance(v, list) and k != "group_ids"}
        return [self.pool.seen({k: v[i] for k, v in lists.items()}) for i in range(len(completions))]
