"""Lets slow rewards begin with a group that is written while others are being written.

A reward that can begin has, beside its call,

    ahead                              True
    begin(prompts, completions, ...)   works out what the call will need for one group, and keeps it

The call comes when all answers are there, with the whole cohort, and works out whatever has not been kept.
So values, metrics and failures are those of the call alone: what begins early is only its waiting. What
fails, runs out of time or raises on a busy machine is not kept, and the call asks again.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from groupwise.rewards.scoring import Reward, TrainerState, accepted, arguments, judged
from groupwise.trajectory import Group, Prompt

PATIENCE = 5.0
"""Seconds that an interrupted step waits for a reward that has begun."""

Key = TypeVar("Key")
Job = TypeVar("Job")
Found = TypeVar("Found")


class Kept(Generic[Key, Job, Found]):
    """What was worked out before it was asked for, by key, until the next call takes it."""

    def __init__(self) -> None:
        self._found: dict[Key, Found] = {}

    def begin(
        self,
        jobs: Mapping[Key, Job],
        work: Callable[[list[Job]], Sequence[Found]],
        lasts: Callable[[Found], bool],
    ) -> None:
        """Do the jobs that are not done yet, all at once; keep of their results those that `lasts` says."""
        new = {key: job for key, job in jobs.items() if key not in self._found}
        results = work(list(new.values())) if new else ()
        self._found |= {key: found for key, found in zip(new, results, strict=True) if lasts(found)}

    def taken(
        self,
        keys: Sequence[Key | None],
        jobs: Sequence[Job],
        work: Callable[[list[Job]], Sequence[Found]],
    ) -> list[Found]:
        """The result of each job: what was kept under its key, else what `work` makes of all the rest.

        Nothing is kept after it. None: no key.
        """
        kept, self._found = self._found, {}
        rest = [job for key, job in zip(keys, jobs, strict=True) if key is None or key not in kept]
        now = iter(work(rest) if rest else ())
        return [next(now) if key is None or key not in kept else kept[key] for key in keys]


class Ahead:
    """Hands groups to the rewards that can begin, on one thread of its own, until somebody waits for it.

    Args:
        prompts: all that are being answered: rewards are given the columns of all of them.
        state: as the call will be given it.
    """

    def __init__(self, rewards: Sequence[Reward], prompts: Sequence[Prompt], state: TrainerState) -> None:
        able: list[Any] = [r.function for r in rewards if getattr(r.function, "ahead", False)]
        self._begins = [function.begin for function in able]
        self._columns = dict.fromkeys(name for prompt in prompts for name in prompt.columns)
        self._state = state
        self._groups = queue.SimpleQueue[Group | None]()
        self._thread: threading.Thread | None = None
        self._over = False
        self.seconds = 0.0
        """That rewards were at work so far."""

    def begin(self, group: Group) -> None:
        """Returns at once. Rewards get the group when they are done with those before it."""
        if not self._begins:
            return
        if self._thread is None:
            # a daemon, so that a reward that hangs cannot keep a process from ending
            self._thread = threading.Thread(target=self._work, name="rewards ahead", daemon=True)
            self._thread.start()
        self._groups.put(group)

    def wait(self, seconds: float | None = None) -> None:
        """Until the work under way is done; groups that nothing has begun with are left to the call."""
        self._over = True
        if self._thread is not None:
            self._groups.put(None)
            self._thread.join(seconds)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait(None if kind is None else PATIENCE)

    def _work(self) -> None:
        while (group := self._groups.get()) is not None and not self._over:
            began = time.perf_counter()
            if members := judged([group]):
                given = arguments(members, self._state, self._columns)
                for begin in self._begins:
                    if not self._over:
                        with contextlib.suppress(Exception):  # the call meets it again, and tells
                            begin(**accepted(begin, given))
            self.seconds += time.perf_counter() - began
