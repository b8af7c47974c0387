"""Judges answers in worker processes: a hang or a crash costs one answer, never the run.

    equivalent = isolated("my_checks.py:one", seconds=2)     # one(completion, answer) -> float | None

Each worker runs one call at a time. One that takes too long, dies, or answers nonsense is killed and
another started in its place. Workers are processes that were started clean, not forked from the trainer, and
end with it, however it ends. What they print is thrown away.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.rewards import worker
from groupwise.rewards.cache import Cache, key_of
from groupwise.rewards.scoring import Failed, Value

STARTING = 60.0
"""Seconds that a worker may take to import its function on a machine that is busy."""
LONGEST = 1 << 16
"""Bytes of a worker's message; one that sends more is out of its mind."""
STRIKES = 3
"""Workers in a row that end before they are ready, after which a batch is given up."""


class PoolError(RuntimeError):
    """A pool's function cannot be imported. Says what importing it said."""


class Pool:
    """Worker processes for one function. Not for two threads at once.

    Args:
        place: `file.py:function` or `package.module:function`. It takes keyword arguments for one answer
            and returns a number, or None.
        workers: processes; the machine's cores unless given. They start when they are needed.
        seconds: a call may take.
        memory_mb: address space of a worker; not limited unless given. torch needs much more than it uses.
    """

    def __init__(
        self, place: str, workers: int | None = None, seconds: float = 1.0, memory_mb: int | None = None
    ) -> None:
        if seconds <= 0 or (workers is not None and workers < 1):
            raise ValueError(f"{workers} workers and {seconds} s a call: give 1 or more, and more than 0 s.")
        self.place, self.seconds = place, seconds
        self.size = workers or len(os.sched_getaffinity(0))
        self._order = {"place": place, "memory": memory_mb and memory_mb << 20}
        self._workers: list[_Worker] = []
        self._reads: frozenset[str] | bool | None = False  # not known yet

    @property
    def reads(self) -> frozenset[str] | None:
        """The arguments that the function takes; None where it takes any. Starts a worker to ask."""
        if self._reads is False:
            self._run([])
        assert not isinstance(self._reads, bool)
        return self._reads

    def run(self, calls: Sequence[Mapping[str, Any]]) -> list[Value]:
        """The function's value for each call, in their order, or Failed: `timeout`, `crash`, `raised ...`.

        Raises:
            PoolError: the function cannot be imported.
        """
        return self._run([self.seen(call) for call in calls]) if calls else []

    def seen(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Of a call what the function takes."""
        reads = self.reads
        return {k: v for k, v in call.items() if reads is None or k in reads}

    def close(self) -> None:
        """End the workers; a pool that is forgotten closes itself."""
        for each in self._workers:
            each.end()
        self._workers.clear()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, calls: Sequence[Mapping[str, Any]]) -> list[Value]:
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
            self._workers.append(_Worker({**self._order, "path": sys.path}))

    def _hand_out(self, batch: _Batch) -> None:
        for each in self._workers:
            if each.ready and each.call is None and batch.waiting:
                each.give(batch.waiting[0], batch.calls[batch.waiting[0]], self.seconds)
                batch.waiting.popleft()

    def _heard(self) -> list[_Worker]:
        """Wait until one has something to say, or its time is over."""
        engaged = [w for w in self._workers if w.deadline < math.inf]
        left = min((w.deadline for w in engaged), default=0.0) - time.monotonic()
        with selectors.DefaultSelector() as selector:
            for each in engaged:
                selector.register(each.channel, selectors.EVENT_READ, each)
            said = [key.data for key, _ in selector.select(max(left, 0.0))]
        now = time.monotonic()
        return said or [w for w in engaged if w.deadline <= now]

    def _settle(self, each: _Worker, batch: _Batch) -> None:
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

    def _dismiss(self, each: _Worker) -> None:
        each.end()
        self._workers.remove(each)


class _Batch:
    """Calls that wait for a worker, and the results so far."""

    def __init__(self, calls: Sequence[Mapping[str, Any]]) -> None:
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


class _Worker:
    """One process and the channel to it."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self.channel, there = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", worker.__file__, str(there.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                start_new_session=True,  # Ctrl-C is for the trainer
            )
        except BaseException:
            self.channel.close()
            raise
        finally:
            there.close()
        self.end = weakref.finalize(self, _end, self.process, self.channel)
        self.ready = False
        self.call: int | None = None
        self.deadline = time.monotonic() + STARTING
        self._got = bytearray()
        self._send(order, STARTING)

    def give(self, number: int, call: Mapping[str, Any], seconds: float) -> None:
        self._send(call, seconds)
        self.call = number
        self.deadline = time.monotonic() + seconds

    def read(self) -> tuple[str, Any]:
        """A message. BlockingIOError while there is none; OSError, ValueError where none will come."""
        self.channel.setblocking(False)
        piece = self.channel.recv(LONGEST)
        if not piece:
            raise ConnectionResetError("the worker has ended")
        self._got += piece
        head = worker.LENGTH.size
        n = worker.LENGTH.unpack(self._got[:head])[0] if len(self._got) >= head else 0
        if n > LONGEST:
            raise ValueError(f"a message of {n} bytes")
        if len(self._got) < head + max(n, 1):
            raise BlockingIOError
        kind, value = json.loads(bytes(self._got[head:]))
        self._got.clear()
        return kind, value

    def _send(self, message: Mapping[str, Any], seconds: float) -> None:
        data = pickle.dumps(dict(message))
        self.channel.settimeout(seconds)
        with contextlib.suppress(OSError):  # it is gone, which reading will tell
            self.channel.sendall(worker.LENGTH.pack(len(data)) + data)


def _value(kind: str, value: Any) -> Value:
    if kind in ("timeout", "crash"):
        return Failed(kind)
    if kind == "failed":
        return Failed(str(value))
    if value is not None and not math.isfinite(value):
        return Failed(f"returned no number: {value}")
    return None if value is None else float(value)


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    channel.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class isolated:  # noqa: N801 - reads as the function that it makes
    """A reward from a function of one answer, run in a pool.

    `f(prompt, completion, **columns) -> float | None` gets the arguments that it names, all but
    `completion_ids` if it has **columns. Values are kept for the same arguments, up to `cache` of them;
    failures are not: a machine that was busy may do better later.
    """

    def __init__(
        self,
        place: str,
        workers: int | None = None,
        seconds: float = 1.0,
        memory_mb: int | None = None,
        cache: int = 10_000,
    ) -> None:
        self.pool = Pool(place, workers, seconds, memory_mb)
        self.cache = Cache(cache)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[Value]:
        rows = {"prompt": prompts, "completion": completions, **columns}
        if self.pool.reads is None:
            rows.pop("completion_ids", None)
        lists = {k: v for k, v in rows.items() if isinstance(v, list) and k != "group_ids"}
        calls = [self.pool.seen({k: v[i] for k, v in lists.items()}) for i in range(len(completions))]
        return self.cache.filled(
            [key_of(call) for call in calls], lambda missing: self.pool.run([calls[i] for i in missing])
        )
