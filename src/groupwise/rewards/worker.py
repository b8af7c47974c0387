"""What a worker of a pool runs: `python -P worker.py FD`. Calls one function, one answer at a time.

A script, not a module of the package: it begins with the standard library alone, and the package's own
`__init__`, which brings torch, runs only if the function asks for something that is in it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import json
import os
import pickle
import platform
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
LENGTH = struct.Struct(">I")


def main(channel: socket.socket, parent: int) -> None:
    die_with(parent)
    order = pickle.loads(_received(channel))
    sys.path[:] = order["path"]
    try:
        function = function_of(order["place"])
    except Exception as error:
        _send(channel, ["unusable", f"{type(error).__name__}: {error}"])
        return
    if order["memory"]:
        resource.setrlimit(resource.RLIMIT_AS, (order["memory"], order["memory"]))
    if order["locked"]:
        try:
            lock()
        except OSError as error:
            why = f"it evaluates answers, and nothing keeps them apart here: {error}"
            _send(channel, ["unusable", f"{why}. --allow-unsafe-code goes without"])
            return
    _send(channel, ["ready", _reads(function)])
    while True:
        _send(channel, _outcome(function, pickle.loads(_received(channel))))


def die_with(parent: int) -> None:
    """Ask the kernel to end this process with its parent, even while it hangs in C code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we asked
            os._exit(0)


def lock() -> None:
    """From here on no file can be written, no socket and no process made: the sandbox's system calls alone.

    Raises:
        OSError: the kernel or the processor has no such filter.
    """
    from groupwise.sandbox.inside.seccomp import Filter

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError("no_new_privs was refused")
    Filter(platform.machine()).apply(libc)


def function_of(place: str) -> Callable[..., Any]:
    """`file.py:function` or `package.module:function`."""
    _package_without_its_init()
    from groupwise.user_code import module_of

    module, _, name = place.rpartition(":")
    return getattr(module_of(module), name)


def _package_without_its_init() -> None:
    spec = importlib.util.find_spec("groupwise")
    assert spec is not None
    assert spec.loader is not None
    module, run = importlib.util.module_from_spec(spec), spec.loader.exec_module

    def __getattr__(name: str) -> Any:  # noqa: N807 - asked by Python for what the module lacks
        if vars(module).pop("__getattr__", None) is None:
            raise AttributeError(f"module 'groupwise' has no attribute {name!r}")
        run(module)
        return getattr(module, name)

    vars(module)["__getattr__"] = __getattr__
    sys.modules["groupwise"] = module


def _reads(function: Callable[..., Any]) -> list[str] | None:
    """The names of its arguments; None where it takes any."""
    parameters = inspect.signature(function).parameters
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else list(parameters)


def _outcome(function: Callable[..., Any], call: dict[str, Any]) -> list[Any]:
    try:
        value = function(**call)
    except Exception as error:
        return ["failed", f"raised {type(error).__name__}: {str(error)[:200]}"]
    if value is None:
        return ["value", None]
    try:
        return ["value", float("text" if isinstance(value, str) else value)]
    except (TypeError, ValueError):
        return ["failed", f"returned no number: {type(value).__name__}"]


def _received(channel: socket.socket) -> bytes:
    """One message; at the end of the channel this process ends."""
    (n,) = LENGTH.unpack(_exactly(channel, LENGTH.size))
    return _exactly(channel, n)


def _exactly(channel: socket.socket, n: int) -> bytes:
    data = bytearray()
    while len(data) < n:
        piece = os.read(channel.fileno(), n - len(data))  # not recv, which a locked worker may not call
        if not piece:
            os._exit(0)
        data += piece
    return bytes(data)


def _send(channel: socket.socket, message: list[Any]) -> None:
    data = json.dumps(message).encode()
    rest = memoryview(LENGTH.pack(len(data)) + data)
    while rest:
        rest = rest[os.write(channel.fileno(), rest) :]


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
