"""The fork server: starts the processes of one execution after another, and ends them.

It never reads a job: it holds files that the parent made and hands them to the child that is to read them.
So a child, which begins as a copy of this process, begins with nothing to find.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from . import candidate, judge
from .lockdown import Lockdown

OFTEN_IMPORTED = (
    "bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "itertools",
    "math", "operator", "re", "string", "typing",
)  # fmt: skip
"""Read once here, and so there in every child."""
OUT_OF_THE_WAY = 100
FILES = 256
"""That the server itself may have open, so that a child is quick to close them all."""


def main(control: int, strict: bool) -> None:
    """Serve orders on a socket until it is closed. First says what this machine keeps apart."""
    channel = socket.socket(fileno=control)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    lockdown = Lockdown()
    network = lockdown.leave_the_network()
    waker = _wake_on_child()
    for name in OFTEN_IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    channel.send(json.dumps(_report(lockdown, strict, network)).encode())
    while True:
        message, fds, _, _ = socket.recv_fds(channel, 1 << 16, 8)
        if not message:
            return
        order = json.loads(message)
        execution = _Execution(lockdown, strict, order, waker, channel)
        channel.send(json.dumps(execution.run(fds)).encode())


class _Execution:
    def __init__(
        self, lockdown: Lockdown, strict: bool, order: dict[str, Any], waker: int, channel: socket.socket
    ) -> None:
        self.lockdown, self.strict, self.order = lockdown, strict, order
        self.waker, self.channel = waker, channel
        self.socket = channel.fileno()
        self.ended: dict[int, int] = {}

    def run(self, fds: list[int]) -> dict[str, Any]:
        """fds: code, input, output, errors; for calls also tests and verdict. Closes them."""
        began = time.monotonic()
        code, given, output, errors, *tests = fds
        own = [given, output, errors, code]
        pids = {}
        if self.order["kind"] == "calls":
            asks, answers = (end.detach() for end in socket.socketpair())
            sink = os.memfd_create("sink")  # what the tests print
            pids["judge"] = self._fork(_judging, [sink, sink, sink, tests[0], asks, tests[1]])
            for fd in (sink, asks, *tests):  # the answer's process is not even born with them
                os.close(fd)
            pids["candidate"] = self._fork(_answering, [*own, answers])
            fds = [*own, answers]
        else:
            pids["candidate"] = self._fork(_KINDS[self.order["kind"]], own)
        for fd in fds:
            os.close(fd)
        timed_out = self._wait(list(pids.values()), began + self.order["wall"])
        early = set(self.ended)
        self._kill(list(pids.values()))  # the judge first: it is not to count the other's end
        answer = self.ended[pids["candidate"]]
        ours = (
            pids["candidate"] not in early
            and os.WIFSIGNALED(answer)
            and os.WTERMSIG(answer) == signal.SIGKILL
        )
        return {
            "timed_out": timed_out,
            "candidate": None if ours else answer,
            "judge": self.ended[pids["judge"]] if "judge" in pids else None,
            "output": self.order["limits"]["output"],
            "seconds": time.monotonic() - began,
        }

    def _fork(self, role: Callable[[], int], fds: list[int]) -> int:
        """A child with `fds` as its files 0, 1, 2 ... and no others."""
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            _only(fds, keep=self.lockdown.ruleset.fd if self.lockdown.ruleset is not None else None)
            self.lockdown.apply(self.order["limits"], self.strict)
            _forget(self.lockdown)
            code = role()
        except BaseException as error:
            candidate._say(f"{type(error).__name__}: {error}")
        finally:
            os._exit(code)

    def _wait(self, pids: list[int], until: float) -> bool:
        """Until the first process ends; True where the time ran out, or the parent went away, first."""
        while True:
            for pid in set(pids) - set(self.ended):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    self.ended[pid] = status
            if pids[0] in self.ended:
                return False
            left = until - time.monotonic()
            if left <= 0:
                return True
            ready, _, _ = select.select([self.waker, self.socket], [], [], left)
            if self.waker in ready:
                os.read(self.waker, 4096)
            if self.socket in ready:  # no order comes before the last is done: it was closed
                self._kill(pids)
                os._exit(0)

    def _kill(self, pids: list[int]) -> None:
        """The processes, and where they could start others, their whole session."""
        for pid in pids:
            if not self.strict:
                _end(os.killpg, pid)
            if pid not in self.ended:
                _end(os.kill, pid)
                self.ended[pid] = os.waitpid(pid, 0)[1]


def _end(kill: Callable[[int, int], None], pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        kill(pid, signal.SIGKILL)


def _only(fds: list[int], keep: int | None) -> None:
    """`fds` become 0, 1, 2 ...; `keep` stays until it is used; everything else is closed."""
    high = [os.dup2(fd, OUT_OF_THE_WAY + i) for i, fd in enumerate(fds)]
    for i, fd in enumerate(high):
        os.dup2(fd, i)
    os.closerange(len(fds), FILES if keep is None else keep)
    if keep is not None:
        os.closerange(keep + 1, FILES)


def _forget(lockdown: Lockdown) -> None:
    if lockdown.ruleset is not None:
        os.close(lockdown.ruleset.fd)
    random.seed(0)  # the same answer earns the same verdict


def _answering() -> int:
    return candidate.serve(candidate.job_of(3), 4)


def _judging() -> int:
    return judge.judge(candidate.job_of(3), 5, 4)


def _running() -> int:
    return candidate.program(candidate.job_of(3))


def _parsing() -> int:
    return candidate.parse(candidate.job_of(3))


_KINDS: dict[str, Callable[[], int]] = {"program": _running, "parse": _parsing}


def _wake_on_child() -> int:
    """A file that becomes readable when a child ends."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


# ---------------------------------------------------------------------------- what is kept apart


def _report(lockdown: Lockdown, strict: bool, network: bool) -> dict[str, Any]:
    """What a locked-down child was seen not to do: tried, not assumed."""
    limits = {"seconds": 5, "memory": 512 << 20, "output": 1 << 20}
    report: dict[str, Any] = {"lacks": lockdown.lacks, "network_of_its_own": network}
    report["nobody"] = lockdown.becomes_nobody
    report["landlock"] = lockdown.ruleset.version if lockdown.ruleset is not None else 0
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        seen: dict[str, Any] = {}
        try:
            lockdown.apply(limits, strict)
            seen = {"open": [name for name, attempt in _ATTEMPTS.items() if _succeeds(attempt)]}
        except BaseException as error:
            seen = {"failed": f"{type(error).__name__}: {error}"}
        finally:
            os.write(writing, json.dumps(seen).encode())
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        told = file.read()
    os.waitpid(pid, 0)
    return report | (json.loads(told) if told else {"failed": "the trial process died"})


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, RuntimeError):
        return False
    return True


def _fork_once() -> None:
    if os.fork() == 0:
        os._exit(0)


_ATTEMPTS: dict[str, Callable[[], object]] = {
    "files": lambda: os.listdir("/"),
    "writing": lambda: os.close(os.open("/tmp", os.O_RDWR | 0o20000000 | os.O_DIRECTORY)),
    "network": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
    "local sockets": lambda: socket.socket(socket.AF_UNIX).close(),
    "processes": _fork_once,
    "signals": lambda: os.kill(os.getppid(), 0),
}

if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "strict")
