"""How a worker is spoken to: a line asks for a step, a line of JSON answers.

The driver writes `step` or `quit`; the worker writes one line when it is ready and one for each step,
all figures in seconds, tokens and GiB. Only the side that was asked works, so steps of two workers
can be taken turn and turn about. Needs neither torch nor groupwise: both environments import it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


class Channel:
    """The worker's end. Whatever else prints to stdout goes to stderr from now on."""

    def __init__(self) -> None:
        self._answers: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def send(self, message: Mapping[str, Any]) -> None:
        self._answers.write(json.dumps(dict(message)) + "\n")
        self._answers.flush()

    def asked(self) -> bool:
        """Wait for the driver: True for a step, False when there is nothing more to do."""
        return sys.stdin.readline().strip() == "step"


class Stopwatch:
    """Seconds by phase."""

    def __init__(self, synchronize: Callable[[], None] = lambda: None) -> None:
        self._synchronize = synchronize
        self.seconds: dict[str, float] = {}

    def now(self) -> float:
        self._synchronize()
        return time.perf_counter()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = self.now()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + self.now() - start

    def take(self) -> dict[str, float]:
        """Seconds since the last call, by phase."""
        seconds, self.seconds = self.seconds, {}
        return seconds


def peak_memory_gib() -> float:
    """The most memory this process ever held: resident on a CPU, allocated by torch on a GPU.

    Linux's ru_maxrss begins at the parent's, so the process's own mark is read where there is one.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())) / 2**30
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
