"""What is asked of the sandbox, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one execution."""

    seconds: float = 5.0
    """On the clock, from the first line to the last test."""
    memory_mb: int = 512
    """Address space of each process."""
    output_bytes: int = 1 << 20
    """That standard output may have, and standard error too."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Code that defines functions, and tests that call them. Each assert of the tests counts as one."""

    code: str
    tests: str
    setup: str = ""
    """Run before the tests, beside them: imports and helpers. The answer does not see it."""
    functions: tuple[str, ...] = ()
    """Taken from the answer even where the set-up defines them. Names that nothing defines always are."""


@dataclass(frozen=True, slots=True)
class Program:
    """Code that reads standard input and writes standard output; each pair of texts is one test."""

    code: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parse:
    """Code that is only compiled: one test, passed if it is Python."""

    code: str


Job = Calls | Program | Parse


class Reason(StrEnum):
    """Why a verdict is what it is; the first that applies."""

    PASSED = "passed"
    TIMEOUT = "timeout"
    REFUSED = "refused system call"
    MEMORY = "out of memory"
    OUTPUT = "too much output"
    SYNTAX = "not Python"
    CRASH = "crash"
    EXITED = "ended early"
    RAISED = "raised before the tests"
    UNPARSABLE = "result that cannot be read"
    FAILED = "failed tests"
    TESTS = "the tests themselves failed"
    SANDBOX = "the sandbox failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Tests passed of all, and why not all of them.

    The numbers are counted outside the answer's process; `detail` may hold its own words.
    """

    passed: int
    total: int
    reason: Reason
    detail: str = ""
    stdout_tail: str = ""
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """Of tests passed, 0 to 1."""
        return self.passed / self.total if self.total else 0.0
