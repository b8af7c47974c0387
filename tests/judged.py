"""An answer as it comes to the rewards."""

import numpy as np

from groupwise.trajectory import PolicyTag, StopReason, Trajectory, Turn


def answer(text: str) -> Trajectory:
    turn = Turn(np.array([0]), np.array([1]), np.zeros(1, dtype=np.float32))
    return Trajectory((turn,), PolicyTag(), StopReason.FINISHED, text=text)
