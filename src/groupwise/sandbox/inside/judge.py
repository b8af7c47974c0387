"""The tests' own process: it holds what is expected and asks the answer's process for one call at a time.

Every assert is a test of its own. Values arrive as exact builtins: `==` here is Python's, not the answer's.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import os
import struct
from collections.abc import Callable
from typing import Any

from . import codec

TALLY = struct.Struct("<III")
"""Passed, run, written in the text; at the start of the verdict's file, rewritten after each test."""
KINDS_AT = TALLY.size
"""After it, the first failure: its kind, a colon, and what was seen."""


class CandidateError(RuntimeError):
    """The answer raised something that is no builtin exception."""


class LostError(RuntimeError):
    """The answer's process is gone, or what it sent is no value."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Over(BaseException):
    """The answer's process is gone: nothing is left to test, and no `except Exception` is to go on."""


class Tally:
    """Tests passed so far, kept where the parent can read it even if this process is killed."""

    def __init__(self, fd: int, written: int) -> None:
        self.fd, self.written = fd, written
        self.passed = self.run = 0
        self.noted = False
        self._write()

    def case(self, error: BaseException | None, text: str = "") -> None:
        self.run += 1
        self.passed += error is None
        if error is not None and not self.noted:
            self.noted = True
            kind = error.kind if isinstance(error, LostError) else "failed"
            seen = "" if isinstance(error, AssertionError) and not error.args else f" ({_described(error)})"
            os.pwrite(self.fd, f"{kind}:{text}{seen}"[:600].encode("utf-8", "backslashreplace"), KINDS_AT)
        self._write()
        if isinstance(error, LostError) and error.kind == "gone":
            raise Over  # so that a loop over tests counts the same, whichever of its limits an answer meets

    def _write(self) -> None:
        os.pwrite(self.fd, TALLY.pack(self.passed, self.run, self.written), 0)


class Answer:
    """The answer's process as seen from here."""

    def __init__(self, link: int) -> None:
        self.link = link
        self.number = 0
        self.lost: LostError | None = None
        self.ready = False

    def function(self, name: str) -> Callable[..., Any]:
        def candidate(*args: Any, **kwargs: Any) -> Any:
            return self.call(name, args, kwargs)

        candidate.__name__ = candidate.__qualname__ = name
        return candidate

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.wait()
        self.number += 1
        request = codec.encode((self.number, name, args, kwargs))  # raises: a test that cannot be sent
        kind, *rest = self._exchange(request)
        if kind == "returned" and len(rest) == 2:
            _put_back(args, kwargs, rest[1])
            return rest[0]
        if kind == "raised" and len(rest) == 2:
            raise _exception(*map(str, rest))
        raise LostError("unsendable", str(rest[0] if rest else kind)[:300])

    def wait(self) -> None:
        """Until the answer's code has run, so that its own exceptions are not taken for a test's."""
        if self.lost is not None:
            raise self.lost
        if not self.ready:
            self._receive()
            self.ready = True

    def _exchange(self, request: bytes) -> tuple[Any, ...]:
        try:
            codec.send(self.link, request)
        except codec.GoneError as error:
            raise self._lose("gone", str(error)) from None
        reply = self._receive()
        if type(reply) is not tuple or len(reply) < 3 or reply[0] != self.number:
            raise self._lose("unsendable", "a reply to no question")
        return reply[1:]

    def _receive(self) -> Any:
        try:
            return codec.decode(codec.receive(self.link))
        except codec.GoneError as error:
            raise self._lose("gone", str(error)) from None
        except codec.UnsendableError as error:
            raise self._lose("unsendable", str(error)) from None

    def _lose(self, kind: str, text: str) -> LostError:
        self.lost = LostError(kind, text)
        return self.lost


def judge(job: dict[str, Any], verdict: int, link: int) -> int:
    """Run the tests of a job; the tally goes to the file `verdict`."""
    tree = ast.parse(job["tests"])
    tally = Tally(verdict, sum(isinstance(node, ast.Assert) for node in ast.walk(tree)))
    answer = Answer(link)
    counted = _Counted(tally)
    names: dict[str, Any] = {"__name__": "tests", "_case_": counted.case}
    _set_up(job["setup"], names)
    for name in _asked_of_the_answer(tree, names) | set(job["functions"]):
        names[name] = answer.function(name)
    tree = ast.fix_missing_locations(counted.visit(tree))
    try:
        answer.wait()
        exec(compile(tree, "<tests>", "exec"), names)
        if not tally.run and not tally.written:
            tally.case(None)  # tests without an assert: that they ran is the test
    except Over:
        return 0
    except Exception as error:
        with contextlib.suppress(Over):
            tally.case(error, "the tests ended early")
    return 0


def _set_up(setup: str, names: dict[str, Any]) -> None:
    """Imports and helpers that the tests may use. What fails here would be seen as a missing name."""
    try:
        exec(compile(setup, "<setup>", "exec"), names)
    except Exception:
        return


def _asked_of_the_answer(tree: ast.AST, known: dict[str, Any]) -> set[str]:
    """Names that the tests call and that neither they, the set-up nor Python define."""
    called: set[str] = set()
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (called if isinstance(node.ctx, ast.Load) else own).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.alias):
            own.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            own.add(node.name)
    return {name for name in called - own if name not in known and not hasattr(builtins, name)}


class _Counted(ast.NodeTransformer):
    """assert X  ->  try: assert X; except Exception as e: _case_(e, NUMBER); else: _case_(None)."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.asserts: list[ast.Assert] = []

    def case(self, error: BaseException | None, number: int = 0) -> None:
        """What the rewritten tests call; the text of an assert is made only where it failed."""
        self.tally.case(error, "" if error is None else ast.unparse(self.asserts[number])[:200])

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        number = ast.Constant(len(self.asserts))
        self.asserts.append(node)
        error = ast.Name("_error_", ast.Load())
        failed = ast.Expr(ast.Call(ast.Name("_case_", ast.Load()), [error, number], []))
        passed = ast.Expr(ast.Call(ast.Name("_case_", ast.Load()), [ast.Constant(None)], []))
        handler = ast.ExceptHandler(ast.Name("Exception", ast.Load()), "_error_", [failed])
        return ast.copy_location(ast.Try([node], [handler], [passed], []), node)


def _exception(name: str, text: str) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except Exception:  # UnicodeDecodeError and others take more than a text
            pass
    return CandidateError(f"{name}: {text}")


def _put_back(args: tuple[Any, ...], kwargs: dict[str, Any], changes: Any) -> None:
    """What the call changed in place, changed here too."""
    if changes is None:
        return
    try:
        new_args, new_kwargs = changes
        pairs = [*zip(args, new_args, strict=True), *((kwargs[k], new_kwargs[k]) for k in kwargs)]
    except (TypeError, ValueError, KeyError) as error:
        raise LostError("unsendable", "arguments of another shape came back") from error
    for old, new in pairs:
        if type(old) is not type(new):
            continue
        if isinstance(old, list):
            old[:] = new
        elif isinstance(old, dict | set):
            old.clear()
            old.update(new)


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
