"""Runs `groupwise` commands as processes of their own, which can be killed.

Starting Python with torch takes seconds, so one process imports everything once and forks itself for each
command: what then runs is `groupwise.cli.main()` in a fresh process, with the pid that a signal is sent to.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if k not in ("PYTHONWARNINGS", "FORCE_COLOR")},
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "COLUMNS": "1000",  # sentences stay on one line
    "TERM": "dumb",
}

_SERVER = """
import json, os, signal, sys
import torch
torch.set_num_threads(1)
from groupwise import commands
from groupwise.cli import main
from groupwise.envs import classic
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

def child(order):
    os.chdir(order["cwd"])
    for number, (name, flags) in enumerate([("in", os.O_RDONLY), ("out", os.O_WRONLY), ("err", os.O_WRONLY)]):
        handle = os.open(order[name], flags)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)
    sys.argv = ["groupwise", *order["args"]]
    os.environ.update(order["env"])
    code = 1
    try:
        exec(order["before"], {"__name__": "before"})
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

for line in sys.stdin:
    order = json.loads(line)
    if "poll" in order:
        pid, status = os.waitpid(order["poll"], os.WNOHANG)
        answer = None if not pid else os.waitstatus_to_exitcode(status)
    else:
        answer = os.fork()
        if not answer:
            # a job in the background of a shell inherits an ignored SIGINT, and Ctrl-C would do nothing
            signal.signal(signal.SIGINT, signal.default_int_handler)
            child(order)
    print(json.dumps(answer), flush=True)
"""


class _Server:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        atexit.register(self._process.communicate)  # the end of its input ends it

    def ask(self, order: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


_server = functools.cache(_Server)


@dataclass(frozen=True)
class Done:
    """How a command ended. A negative code is the signal that killed it."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err

    def sentence(self, *words: str) -> str:
        """Everything it said, once it is sure that it failed by saying these words, not by a traceback."""
        assert self.code == 1, (self.code, self.said)
        assert "Traceback" not in self.said, self.said
        missing = [word for word in words if word not in self.said]
        assert not missing, f"{missing} not in: {self.said}"
        return self.said


@dataclass
class Running:
    """A command under way."""

    pid: int
    files: Mapping[str, Path]
    code: int | None = field(default=None)

    def poll(self) -> int | None:
        if self.code is None:
            self.code = _server().ask({"poll": self.pid})
        return self.code

    def send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, seconds: float = 120) -> Done:
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > end:
                self.send(signal.SIGKILL)
                raise AssertionError(f"still running after {seconds} s: {self._said()}")
            time.sleep(0.01)
        assert self.code is not None
        return Done(self.code, *self._said())

    def until(self, happened: Callable[[], bool], seconds: float = 60) -> bool:
        """Wait for something to happen; False if the command ended before."""
        end = time.monotonic() + seconds
        while not happened():
            if self.poll() is not None:
                return False
            assert time.monotonic() < end, f"nothing in {seconds} s: {self._said()}"
            time.sleep(0.002)
        return True

    def _said(self) -> tuple[str, str]:
        return self.files["out"].read_text("utf-8"), self.files["err"].read_text("utf-8")


_numbers = itertools.count()


@functools.cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="commands-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def start(
    *args: str | Path, cwd: Path, typed: str = "", before: str = "", env: Mapping[str, str] | None = None
) -> Running:
    """Begin a command. `before` is Python that its process executes first."""
    stem = _folder() / str(next(_numbers))
    files = {name: stem.with_suffix(f".{name}") for name in ("in", "out", "err")}
    for path in files.values():
        path.write_text(typed if path.suffix == ".in" else "", "utf-8")
    order = {
        "args": [str(a) for a in args],
        "cwd": str(cwd),
        "before": before,
        "env": dict(env or {}),
        **{name: str(path) for name, path in files.items()},
    }
    return Running(_server().ask(order), files)


def groupwise(*args: str | Path, cwd: Path, typed: str = "", before: str = "") -> Done:
    """Run a command to its end."""
    return start(*args, cwd=cwd, typed=typed, before=before).wait()


def lines(path: Path) -> list[dict[str, Any]]:
    """Of a JSON lines file, as strictly as its documentation says: objects, each ended by a line feed."""
    text = path.read_text("utf-8")
    assert not text or text.endswith("\n"), f"{path} ends in the middle of a line"
    return [json.loads(line) for line in text.split("\n")[:-1]]
