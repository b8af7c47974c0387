"""Runs answers apart from everything: `Sandbox().run([Calls(...), ...]) -> [Verdict, ...]`."""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from groupwise.sandbox.choice import chosen
from groupwise.sandbox.client import Server, ServerError, file_of, text_of
from groupwise.sandbox.inside.candidate import PARSES_NOT, RAISED
from groupwise.sandbox.inside.judge import KINDS_AT, TALLY
from groupwise.sandbox.jobs import Calls, Job, Limits, Parse, Program, Reason, Verdict
from groupwise.sandbox.wrappers import Backend

TAIL = 2000
"""Characters of output that a verdict keeps."""


class Sandbox:
    """Fork servers, one for each execution that runs at the same time; threads may share it.

    Args:
        backend: how servers are started; the safest that works here unless given.
        workers: executions at the same time; the machine's cores unless given.

    Raises:
        UnsafeError: nothing here keeps answers apart and `allow_unsafe` is not set.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        workers: int | None = None,
        backend: Backend | None = None,
        allow_unsafe: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.workers = workers or len(os.sched_getaffinity(0))
        self.backend, first = chosen(backend, allow_unsafe)
        self.report = first.report
        self._idle: queue.SimpleQueue[Server | None] = queue.SimpleQueue()
        self._idle.put(first)
        for _ in range(self.workers - 1):
            self._idle.put(None)  # started when it is needed
        self._servers = {first}
        self._lock = threading.Lock()
        # Kept between runs: bubblewrap ends with the thread that started it.
        self._threads = ThreadPoolExecutor(self.workers)

    def run(self, jobs: Sequence[Job]) -> list[Verdict]:
        """A verdict for each job, in their order. Never raises for what an answer does."""
        return list(self._threads.map(self._one, jobs))

    def close(self) -> None:
        """Once nothing runs any more; a sandbox that is forgotten closes itself."""
        self._threads.shutdown(cancel_futures=True)
        for server in self._servers:
            server.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _one(self, job: Job) -> Verdict:
        if isinstance(job, Calls):
            return self._calls(job)
        return self._program(job) if isinstance(job, Program) else self._parse(job)

    def _calls(self, job: Calls) -> Verdict:
        tests = {"tests": job.tests, "setup": job.setup, "functions": job.functions}
        done = self._execute("calls", job.code, "", self.limits.seconds, tests)
        passed, run, written = done.tally
        complete = done.judge == 0 and not done.timed_out
        total = max(run + (not complete), written, 1)  # the test that was not finished is not passed
        kind, _, first = done.failure.partition(":")
        if done.failed is None and not complete and not done.timed_out:
            return done.verdict(passed, total, Reason.TESTS, first or f"the judge ended with {done.judge}")
        if passed == total:
            return done.verdict(passed, total, Reason.PASSED)
        reason = done.reason(
            {"unsendable": Reason.UNPARSABLE, "gone": Reason.EXITED}.get(kind, Reason.FAILED)
        )
        if "MemoryError" in first and reason is Reason.FAILED:
            reason = Reason.MEMORY
        return done.verdict(passed, total, reason, first)

    def _program(self, job: Program) -> Verdict:
        """One process for each input; the time is that of all of them together."""
        passed, spent, worst = 0, 0.0, None
        for given, wanted in zip(job.inputs, job.outputs, strict=True):
            done = self._execute("program", job.code, given, max(self.limits.seconds - spent, 0.0))
            spent += done.seconds
            right = done.candidate == 0 and not done.timed_out and _same_text(done.stdout, wanted)
            passed += right
            worst = worst or (None if right else done)
            if done.timed_out or done.failed or self.limits.seconds <= spent:
                break
        last = worst or done
        reason = Reason.PASSED if passed == len(job.inputs) else last.reason(Reason.FAILED)
        return last.verdict(passed, len(job.inputs), reason)

    def _parse(self, job: Parse) -> Verdict:
        done = self._execute("parse", job.code, "", self.limits.seconds)
        right = done.candidate == 0 and not done.timed_out
        return done.verdict(int(right), 1, Reason.PASSED if right else done.reason(Reason.CRASH))

    def _execute(
        self, kind: str, code: str, given: str, seconds: float, tests: dict[str, Any] | None = None
    ) -> _Done:
        """On a server; where that dies, once more on a new one, and then as data."""
        limits = {
            "seconds": max(1, math.ceil(self.limits.seconds)),
            "memory": self.limits.memory_mb << 20,
            "output": self.limits.output_bytes,
        }
        order = {"kind": kind, "wall": seconds, "limits": limits}
        done = _Done(failed="never tried")
        for _ in range(2):
            with ExitStack() as stack:
                contents = [json.dumps({"code": code}), given, "", ""]
                contents += [json.dumps(tests), ""] if tests is not None else []
                files = [file_of(text.encode("utf-8", "replace")) for text in contents]
                for fd in files:
                    stack.callback(os.close, fd)
                done = self._ask(order, files)
                if done.failed is None:
                    return done
        return done

    def _ask(self, order: dict[str, Any], files: list[int]) -> _Done:
        began = time.monotonic()
        server = self._idle.get()
        try:
            if server is None:
                server = Server(self.backend)
                with self._lock:
                    self._servers.add(server)
            reply = server.execute(order, files)
        except ServerError as error:
            if server is not None:
                server.close()
                with self._lock:
                    self._servers.discard(server)
            self._idle.put(None)
            return _Done(failed=str(error), seconds=time.monotonic() - began)
        self._idle.put(server)
        return _read(reply, files)


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of one order."""

    timed_out: bool = False
    candidate: int | None = None
    """Wait status of the answer's process; None where it lived until the tests were done."""
    judge: int | None = None
    seconds: float = 0.0
    stdout: str = ""
    stderr: str = ""
    full: bool = False
    """It wrote all that it may."""
    tally: tuple[int, int, int] = (0, 0, 0)
    failure: str = ""
    failed: str | None = field(default=None)

    def reason(self, otherwise: Reason) -> Reason:
        """Why an execution is no success; `otherwise` where the answer's process ended as it should."""
        if self.failed is not None:
            return Reason.SANDBOX
        status, ran_out = self.candidate, "MemoryError" in self.stderr
        if self.timed_out:
            return Reason.TIMEOUT
        if status is not None and os.WIFSIGNALED(status):
            sent = os.WTERMSIG(status)
            reasons = {signal.SIGXCPU: Reason.TIMEOUT, signal.SIGSYS: Reason.REFUSED}
            return reasons.get(signal.Signals(sent), Reason.MEMORY if ran_out else Reason.CRASH)
        if self.full:
            return Reason.OUTPUT
        code = None if status is None else os.WEXITSTATUS(status)
        if code == PARSES_NOT:
            return Reason.SYNTAX
        if ran_out:
            return Reason.MEMORY
        if code == RAISED:
            return Reason.RAISED
        return Reason.EXITED if code and otherwise is Reason.FAILED else otherwise

    def verdict(self, passed: int, total: int, reason: Reason, detail: str = "") -> Verdict:
        lines = self.stderr.strip().splitlines()
        detail = detail or self.failed or (lines[-1] if lines and reason is not Reason.PASSED else "")
        return Verdict(passed, total, reason, detail, self.stdout[-TAIL:], self.seconds)


def _read(reply: dict[str, Any], files: Sequence[int]) -> _Done:
    _, _, output, errors, *tests = files
    tally, failure = (0, 0, 0), ""
    if tests:
        head = os.pread(tests[1], KINDS_AT, 0)
        tally = TALLY.unpack(head) if len(head) == KINDS_AT else tally
        failure = os.pread(tests[1], TAIL, KINDS_AT).decode("utf-8", "replace")
    size = max(os.fstat(fd).st_size for fd in (output, errors))
    return _Done(
        timed_out=reply["timed_out"],
        candidate=reply["candidate"],
        judge=reply["judge"],
        seconds=reply["seconds"],
        stdout=text_of(output, 1 << 26),
        stderr=text_of(errors, TAIL),
        full=size >= reply["output"],
        tally=tally,
        failure=failure,
    )


def _same_text(got: str, wanted: str) -> bool:
    """Equal but for blanks at the ends of lines and blank lines at the end, as judges of contests have it."""
    return _lines(got) == _lines(wanted)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
