"""The answer's own process. It sees its code and the arguments of one call after another, nothing else.

Nothing that is written here is believed: a result is a value that the judge compares in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import types
from typing import Any

from . import codec

PARSES_NOT, RAISED = 3, 4
"""How the process ends where the code is no Python, and where a program raised."""


def parse(job: dict[str, Any]) -> int:
    """Only compiles."""
    return 0 if _compiled(job["code"]) is not None else PARSES_NOT


def program(job: dict[str, Any]) -> int:
    """The answer as a program of its own, with standard input and output."""
    code = _compiled(job["code"])
    if code is None:
        return PARSES_NOT
    try:
        exec(code, _module("__main__"))
    except SystemExit as error:
        return 0 if error.code in (None, 0) else RAISED
    except BaseException as error:
        _say(_described(error))
        return RAISED
    finally:
        _flush()
    return 0


def serve(job: dict[str, Any], link: int) -> int:
    """The answer's functions, called from outside: [number, name, args, kwargs] -> [number, kind, ...]."""
    code = _compiled(job["code"])
    if code is None:
        return PARSES_NOT
    names = _module("answer")
    try:
        exec(code, names)
    except BaseException as error:
        _say(_described(error))
        return RAISED
    _flush()
    codec.send(link, codec.encode("ready"))
    while True:
        try:
            request = codec.receive(link)
        except codec.GoneError:
            return 0
        reply = _reply(names, request)
        _flush()  # before the judge can have the last reply: with its verdict this process is ended
        codec.send(link, reply)


def _reply(names: dict[str, Any], request: bytes) -> bytes:
    number, name, args, kwargs = codec.decode(request)
    before = codec.encode((args, kwargs)) if _has_containers(args, kwargs) else b""
    try:
        result = names[name](*args, **kwargs) if name in names else _missing(name)
        if isinstance(result, types.CoroutineType):
            result.close()
            raise TypeError(f"{name} is a coroutine")
        return codec.encode((number, "returned", result, _changes(before, args, kwargs)))
    except codec.UnsendableError as error:
        return codec.encode((number, "unsendable", str(error)))
    except BaseException as error:
        return codec.encode((number, "raised", type(error).__name__, _text(error)))


def _changes(before: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Arguments that were changed in place, for a test that looks at them afterwards."""
    if not before:
        return None
    try:
        after = codec.encode((args, kwargs))
    except codec.UnsendableError:
        return None
    return None if after == before else (args, kwargs)


def _has_containers(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return any(type(value) in (list, dict, set) for value in (*args, *kwargs.values()))


def _missing(name: str) -> Any:
    raise NameError(f"the answer defines no {name}")


def _compiled(code: str) -> types.CodeType | None:
    try:
        return compile(code, "<answer>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        _say(_described(error))
        return None


def _module(name: str) -> dict[str, Any]:
    module = types.ModuleType(name)
    sys.modules[name] = module
    return vars(module)


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {_text(error)}"


def _text(error: BaseException) -> str:
    try:
        return str(error)[:300]
    except BaseException:
        return ""


def _say(text: str) -> None:
    """To standard error, past whatever the answer has put in the place of sys.stderr."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")


def _flush() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:  # full, closed, or replaced by the answer
        _say(_described(error))


def job_of(fd: int) -> dict[str, Any]:
    """What to do, read to the end; the file is closed."""
    with open(fd, "rb") as file:
        file.seek(0)
        job: dict[str, Any] = json.loads(file.read())
    return job
