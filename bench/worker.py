"""The driver's end of a worker: a process that takes one step when asked."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def end_workers_with_us() -> None:
    """Have SIGTERM unwind the stack, so that no worker goes on alone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class WorkerDiedError(RuntimeError):
    """A worker ended or fell silent; the message has the end of what it wrote to stderr."""


class Worker:
    """A running side of the benchmark. Use as a context: the process ends with it."""

    def __init__(
        self, command: Sequence[str], limit: float = 1800.0, environment: Mapping[str, str] | None = None
    ) -> None:
        self.limit = limit
        """Seconds that loading or a step may take."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **OFFLINE, **(environment or {})},
            cwd=tempfile.gettempdir(),
        )

    def ready(self) -> dict[str, Any]:
        """What the worker says of itself once it has loaded."""
        return self._answer()

    def step(self) -> dict[str, Any]:
        """Have it take a step. The figures: seconds, tokens, GiB.

        Raises:
            WorkerDiedError: it ended, or took longer than `limit`.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"step\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerDiedError(self._why("ended")) from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], self.limit)
        if not ready:
            self._process.kill()
            raise WorkerDiedError(self._why(f"took longer than {self.limit:.0f} s"))
        line = self._process.stdout.readline()  # one line an answer: nothing is left in a buffer
        if not line:
            raise WorkerDiedError(self._why("ended"))
        return json.loads(line)

    def _why(self, what: str) -> str:
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = None
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").splitlines()
        # the error itself, without the traceback and its paths
        said = " ".join(line for line in lines if line.strip() and not line.startswith(" "))[-500:]
        return f"the worker {what} (exit status {status}): {said}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()  # it keeps nothing that would have to be saved
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
