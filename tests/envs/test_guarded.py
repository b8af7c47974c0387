"""Environments are called in time, and with random numbers that nobody else draws."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from groupwise.envs.guarded import Guarded, OverdueError, seed_of, within


def draw() -> tuple[float, float]:
    return random.random(), float(np.random.random())


def test_two_with_the_same_seed_draw_alike_however_they_take_turns() -> None:
    """The trap: environments that share the global generator draw from each other's numbers."""
    one, two = Guarded(3), Guarded(3)
    alternately = [(one(draw), two(draw)) for _ in range(5)]
    assert all(a == b for a, b in alternately)
    assert len({a for a, _ in alternately}) == 5
    alone = Guarded(3)
    assert [alone(draw) for _ in range(5)] == [a for a, _ in alternately]
    assert Guarded(4)(draw) != alternately[0][0]


def test_the_global_generators_are_left_as_they_were() -> None:
    random.seed(1)
    np.random.seed(1)
    expected = draw()
    random.seed(1)
    np.random.seed(1)
    Guarded(7)(draw)
    with pytest.raises(ZeroDivisionError):
        Guarded(7)(lambda: draw() and 1 // 0)
    assert draw() == expected


def elsewhere(function: Callable[[], Any]) -> Any:
    """What it returns or raises in another thread than the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def here(function: Callable[[], Any]) -> Any:
    return function()


anywhere = pytest.mark.parametrize("where", [here, elsewhere])


@anywhere
def test_a_call_that_hangs_is_given_up(where: Any) -> None:
    forever = threading.Event()
    begin = time.monotonic()
    with pytest.raises(OverdueError, match=r"no answer within 0\.05 s"):
        where(lambda: Guarded(0, 0.05)(forever.wait))
    assert time.monotonic() - begin < 30
    forever.set()


def test_one_that_catches_what_ends_it_is_ended_all_the_same() -> None:
    """Environments that try again whatever happens are common."""

    def stubborn() -> None:
        for _ in range(10**9):
            with suppress(Exception):
                time.sleep(60)

    with pytest.raises(OverdueError):
        within(0.05, stubborn)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_tool_may_have_a_limit_of_its_own_by_the_same_signal() -> None:
    """As the tool of TRL's example with a data base has: signals are only for the main thread."""
    before = signal.getsignal(signal.SIGALRM)

    def rang(*_: Any) -> None:
        raise TimeoutError("rang")

    def limited() -> None:
        signal.signal(signal.SIGALRM, rang)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        time.sleep(60)

    with pytest.raises(TimeoutError, match="rang"):
        within(5.0, limited)
    assert signal.getsignal(signal.SIGALRM) is before
    assert within(5.0, time.sleep, 0.05) is None, "its timer is gone"


def test_somebody_elses_timer_is_left_alone() -> None:
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        with pytest.raises(OverdueError):
            within(0.05, time.sleep, 0.5)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@anywhere
@pytest.mark.parametrize("error", [ValueError("x"), MemoryError()])
def test_what_it_raises_is_raised(error: BaseException, where: Any) -> None:
    with pytest.raises(type(error)):
        where(lambda: within(5.0, raising(error)))


@anywhere
@pytest.mark.parametrize(
    ("error", "words"),
    [(SystemExit(3), "wanted to exit"), (asyncio.CancelledError("late"), "CancelledError")],
)
def test_one_that_wants_to_end_does_not_end_the_run(error: BaseException, words: str, where: Any) -> None:
    """A cancelled coroutine is no Exception either."""
    with pytest.raises(RuntimeError, match=words):
        where(lambda: within(5.0, raising(error)))


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


def test_a_rows_seed_is_of_what_is_in_it() -> None:
    assert seed_of({"a": 1, "b": [2]}) == seed_of({"b": [2], "a": 1})
    assert seed_of({"a": 1}) != seed_of({"a": 2})
