"""Calls into a world that do not come back."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import gymnasium

PATIENCE = 30.0
"""Seconds between two looks. A call is given up between once and twice this."""

HASTE = 10
"""By how much the patience is divided once a call was given up: siblings may hang in the same place."""
LEAST = 1.0
"""Seconds of patience that are left then."""


class HangWarning(UserWarning):
    """A world that hung for the first time."""


class HungError(RuntimeError):
    """A world did not come back from a call."""


class Watch:
    """Raises HungError inside a call that is still under way at a second look.

    It costs a call nothing: a timer's signal looks now and then. So it works in the main thread of a system
    with SIGALRM, and ends what Python executes or what a signal interrupts, such as sleeping; code in C that
    never returns to Python cannot be ended from its own process, and a run in it has to be killed.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.calls = 0
        """Calls so far; whoever calls adds one."""
        self.inside = False
        """Whether one is under way."""
        self._patience = patience
        self._seen, self._hung = -1, False

    def __deepcopy__(self, memo: Any) -> Watch:
        return self  # the copy of a world that is watched is watched too

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look while the block runs."""
        main = threading.current_thread() is threading.main_thread()
        if not main or not hasattr(signal, "setitimer") or signal.getitimer(signal.ITIMER_REAL)[0]:
            yield  # somebody else's timer is left alone
            return
        before = signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, self._patience, self._patience)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @contextmanager
    def call(self) -> Iterator[None]:
        """The block is a call into the world."""
        self.calls += 1
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def _look(self, number: int, frame: FrameType | None) -> None:
        if self.inside and self.calls == self._seen:
            waited = self._patience
            if not self._hung:
                self._hung = True
                self._patience = min(waited, max(waited / HASTE, LEAST))
                signal.setitimer(signal.ITIMER_REAL, self._patience, self._patience)
                warnings.warn(
                    f"a call into the environment hung: it did not come back within {waited:g} seconds, and "
                    f"its episode is given up. From now on a call has {self._patience:g} seconds.",
                    HangWarning,
                    stacklevel=2,
                )
            raise HungError(f"it did not come back within {waited:g} seconds")
        self._seen = self.calls


class Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose calls are watched, and that does not end the program."""

    def __init__(self, env: gymnasium.Env[Any, Any], watch: Watch) -> None:
        super().__init__(env)
        self._watch = watch

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        with self._called():
            return self.env.reset(**options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        with self._called():
            return self.env.step(action)

    @contextmanager
    def _called(self) -> Iterator[None]:
        try:
            with self._watch.call():
                yield
        except SystemExit as error:
            raise RuntimeError("it wanted to exit") from error
