"""A fork server seen from the trainer's process: started, given orders, ended, started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import weakref
from collections.abc import Sequence
from typing import Any

from groupwise.sandbox.wrappers import Backend

STARTING = 30.0
"""Seconds that a start may take on a machine that is busy."""
GRACE = 10.0
"""Seconds beyond the limit of an execution after which its server is given up."""


class ServerError(RuntimeError):
    """The fork server did not start, died, or stopped answering."""


class Server:
    """One fork server; executes one order at a time. Not for two threads at once."""

    def __init__(self, backend: Backend) -> None:
        """Raises ServerError where it does not start, with what it said."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors = os.memfd_create("errors")
        try:
            process = subprocess.Popen(
                backend.command(there.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[there.fileno()],
                env={"PYTHONHASHSEED": "0"},  # the same answer earns the same verdict
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the trainer
            )
        except OSError as error:
            here.close()
            os.close(errors)
            raise ServerError(f"{backend.name} did not start: {error}") from error
        finally:
            there.close()
        self._end = weakref.finalize(self, _end, process, here)
        self._channel = here
        self.process = process
        try:
            self.report: dict[str, Any] = self._answer(STARTING)
        except ServerError as error:
            self.close()
            said = text_of(errors, 2000).strip().splitlines()
            raise ServerError(f"{backend.name} did not start: {said[-1] if said else error}") from None
        finally:
            os.close(errors)

    def execute(self, order: dict[str, Any], files: Sequence[int]) -> dict[str, Any]:
        """Raises ServerError where it is gone; the files are the caller's to close."""
        try:
            socket.send_fds(self._channel, [json.dumps(order).encode()], list(files))
        except OSError as error:
            raise ServerError(f"the fork server is gone: {error}") from error
        return self._answer(order["wall"] + GRACE)

    def close(self) -> None:
        self._end()

    def _answer(self, seconds: float) -> dict[str, Any]:
        self._channel.settimeout(seconds)
        try:
            data = self._channel.recv(1 << 16)
        except OSError as error:
            raise ServerError(f"the fork server does not answer: {error}") from error
        if not data:
            raise ServerError("the fork server has ended")
        reply: dict[str, Any] = json.loads(data)
        return reply


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    """Its children die with it: they have asked the kernel for that."""
    channel.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def file_of(data: bytes) -> int:
    """A file in memory that begins with `data`; it belongs to no folder."""
    fd = os.memfd_create("sandbox", os.MFD_CLOEXEC)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def text_of(fd: int, last: int) -> str:
    """The end of a file, `last` bytes at most."""
    size = os.fstat(fd).st_size
    return os.pread(fd, last, max(0, size - last)).decode("utf-8", "replace")
