"""Functions that the tests of the pool run in workers: good ones, and ones that misbehave."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def judge(prompt: str, completion: str, answer: str = "") -> float | None:
    if completion == "hang":
        while True:
            pass
    if completion == "deaf":  # in C code, holding the interpreter's lock, deaf to signals Python handles
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return float(len(str(7 ** (7**9))))
    if completion == "sleep":
        time.sleep(60)
    if completion == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if completion == "exit":
        os._exit(0)
    if completion == "raise":
        raise ValueError("no such shape")
    if completion == "print":
        print("x" * 1_000_000, file=sys.stderr)
        print("x" * 1_000_000)
    if completion[:1] in ("5", "["):  # a message of its own in the place of the worker's
        data = completion.encode()
        os.write(int(sys.argv[1]), len(data).to_bytes(4, "big") + data)
        time.sleep(60)
    special: dict[str, Any] = {"nan": float("nan"), "none": None, "words": "0.5"}
    return special.get(completion, float(completion == answer))


def counted(completion: str, folder: str) -> float:
    """Leaves a file for each call."""
    with (Path(folder) / "calls").open("a") as file:
        file.write(completion + "\n")
    return float(len(completion))


def length(completion: str) -> float:
    return float(len(completion))


def imports(completion: str) -> float:
    """1 where a module is loaded in the worker."""
    return float(completion in sys.modules)


def imports_after_the_rewards(completion: str) -> float:
    """What a user's file that makes its own pool imports on the way."""
    import groupwise.rewards.maths
    import groupwise.rewards.siblings  # noqa: F401

    return float(completion in sys.modules)


def asks_the_package(completion: str) -> float:
    import groupwise

    return float(hasattr(groupwise, completion))


def hungry(completion: str) -> float:
    return float(len(bytearray(int(completion))))


def child(completion: str) -> float:
    """Starts a process and hangs; leaves both numbers in a file."""
    process = subprocess.Popen(["sleep", "60"])
    Path(completion).write_text(f"{os.getpid()} {process.pid}")
    time.sleep(60)
    return 0.0


def ends_early(completion: str) -> float:
    raise SystemExit(3)


def evaluates(completion: str) -> float:
    """As some rules of puzzles do."""
    return float(eval(completion) is not None)
