"""Calls into an environment: in time, and with random numbers of its own.

Many environments draw from Python's or numpy's global generator (textarena's do), so that two of them stepped
in turn disturb each other. Here each has a state of the global generators to itself, put in place for the
time of a call.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import numpy as np

SECONDS = 10.0
"""That a call may take."""

T = TypeVar("T")


class OverdueError(RuntimeError):
    """A call that did not come back in time."""


class Guarded:
    """Calls functions one at a time, as if the global generators were theirs alone.

    What an environment draws depends on `seed` and its own calls. A call that is overdue is ended: waiting,
    sleeping and Python's own loops are covered; a C library that does not come back to Python is not.
    """

    def __init__(self, seed: int, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        with _kept():
            random.seed(seed)
            np.random.seed(seed % 2**32)
            self._state = _state()

    def __call__(self, function: Callable[..., T], *args: Any) -> T:
        """function(*args), or what it raises.

        Raises:
            OverdueError: after so many seconds.
        """
        with _kept():
            _restore(self._state)
            try:
                return within(self._seconds, function, *args)
            finally:
                self._state = _state()


def within(seconds: float, function: Callable[..., T], *args: Any) -> T:
    """function(*args), or what it raises; OverdueError after so many seconds.

    In the main thread a timer's signal ends it, and it may use signals itself, as tools with a limit of their
    own do. Elsewhere, and where somebody has set that timer, it runs in a thread that is left behind.
    """
    try:
        return (_timed if _timer_is_free() else _beside)(seconds, function, *args)
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:  # it is the environment that wants to end, and not the run
        kind = type(error).__name__
        raise RuntimeError("it wanted to exit" if kind == "SystemExit" else f"{kind}: {error}") from error


class _Overdue(BaseException):
    """Out of reach of an environment's `except Exception`."""


def _timer_is_free() -> bool:
    main = threading.current_thread() is threading.main_thread()
    return main and hasattr(signal, "setitimer") and not signal.getitimer(signal.ITIMER_REAL)[0]


def _timed(seconds: float, function: Callable[..., T], *args: Any) -> T:
    inside = True

    def ring(number: int, frame: FrameType | None) -> None:
        if inside:
            raise _Overdue

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)  # again, should it be caught on its way
        try:
            return function(*args)
        finally:
            inside = False
    except _Overdue:
        raise OverdueError(f"no answer within {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _beside(seconds: float, function: Callable[..., T], *args: Any) -> T:
    values: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            values.append(function(*args))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True, name="environment")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise OverdueError(f"no answer within {seconds:g} s")
    if errors:
        raise errors[0]
    return values[0]


def seed_of(row: Mapping[str, Any]) -> int:
    """A seed by what is in a row: the same for all siblings."""
    text = json.dumps(dict(row), sort_keys=True, default=str)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())


@contextmanager
def _kept() -> Iterator[None]:
    """The global generators are afterwards as they were."""
    before = _state()
    try:
        yield
    finally:
        _restore(before)


def _state() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state()


def _restore(state: tuple[Any, Any]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])
