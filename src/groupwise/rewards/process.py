"""One worker process of a pool, and the channel to it."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from typing import Any

from groupwise.rewards import worker

STARTING = 60.0
"""Seconds that a worker may take to import its function on a machine that is busy."""
LONGEST = 1 << 16
"""Bytes of a worker's message; one that sends more is out of its mind."""


class Worker:
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
        try:
            kind, value = json.loads(bytes(self._got[head:]))
        except (TypeError, RecursionError) as error:  # JSON, but of another kind or without end
            raise ValueError("a message that is none of a worker's") from error
        if not _is_message(kind, value, self.ready):
            raise ValueError(f"a message of the kind {kind!r}")
        self._got.clear()
        return kind, value

    def _send(self, message: Mapping[str, Any], seconds: float) -> None:
        data = pickle.dumps(dict(message))
        self.channel.settimeout(seconds)
        with contextlib.suppress(OSError):  # it is gone, which reading will tell
            self.channel.sendall(worker.LENGTH.pack(len(data)) + data)


def _is_message(kind: object, value: object, ready: bool) -> bool:
    """What a worker writes by itself: an answer that gets at its channel might write anything."""
    if not ready:
        return kind == "unusable" or (kind == "ready" and isinstance(value, list | None))
    return isinstance(value, float | None) if kind == "value" else kind == "failed"


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    channel.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
