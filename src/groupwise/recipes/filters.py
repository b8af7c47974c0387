"""Which answers a step learns from. Those left out still count in their group's baseline."""

from __future__ import annotations

from collections.abc import Callable

from groupwise.trajectory import StopReason, Trajectory

Keep = Callable[[Trajectory], bool]
"""trajectory -> whether it is in the loss."""


def finished(trajectory: Trajectory) -> bool:
    """Leaves out what a limit cut off: its reward is a guess. (Overlong filtering, DAPO, arXiv 2503.14476)"""
    return trajectory.stopped != StopReason.LENGTH
