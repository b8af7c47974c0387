"""A failure in the middle of a step costs no finished step: the state after the last one is saved.

Linux may also end a process by SIGKILL when memory is gone, which no program can catch: then the run goes
on from its last checkpoint (`--save-every`).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from groupwise.checkpoints import Checkpoints, SaveError, State
from groupwise.hardware import ran_out
from groupwise.learner import Learner

RESERVE = 2**24
"""Bytes kept back for the end: writing a checkpoint takes some, and its library aborts without them."""


class OutOfMemoryError(RuntimeError):
    """Memory was refused in a phase of a step; the message says what was saved."""

    def __init__(self, phase: str, message: str) -> None:
        super().__init__(message)
        self.phase = phase


class Rescue:
    """Guards the phases of a run's steps: rewards that break, worlds that cannot be played, memory refused.

    What is saved is the state handed to `hold`, for as long as no weight has moved since.
    """

    def __init__(self, learner: Learner, checkpoints: Checkpoints) -> None:
        self._learner, self._checkpoints = learner, checkpoints
        self._held: State | None = None
        self._reserve: torch.Tensor | None = torch.empty(RESERVE, dtype=torch.uint8)
        # from the moment the optimizer begins, weights may be half moved
        learner.optimizer.register_step_pre_hook(lambda *_: self._let_go())

    def hold(self, state: State) -> None:
        """The weights are those of this state."""
        self._held = state

    def _let_go(self) -> None:
        self._held = None

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Raises what the phase raised, or OutOfMemoryError where memory was refused to it."""
        try:
            yield
        except Exception as error:
            if not ran_out(error):
                self._save()  # its own message is the one to tell
                error.add_note(f"It came up while {phase}.")
                raise
            self._free(error)
            raise OutOfMemoryError(phase, self._told(phase, error)) from None

    def _told(self, phase: str, error: Exception) -> str:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if self._save():
            assert self._held is not None
            kept = f"the {self._held.step} steps before are saved"
        elif steps := self._checkpoints.steps():
            kept = f"the last checkpoint, of step {steps[-1]}, stands"
        else:
            kept = "there is no checkpoint yet"
        return f"memory ran out while {phase} ({reason}); {kept}."

    def _save(self) -> bool:
        """Whether the held state is on disk."""
        if self._held is None:
            return False
        with suppress(SaveError, MemoryError, RuntimeError):
            self._checkpoints.save(self._learner, self._held)
            return True
        return False

    def _free(self, error: BaseException) -> None:
        """Let go of activations, gradients and the reserve: saving needs memory too."""
        self._reserve = None
        traceback.clear_frames(error.__traceback__)  # the frames it passed through hold them
        self._learner.optimizer.zero_grad(set_to_none=True)
        self._learner.policy.module.zero_grad(set_to_none=True)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
