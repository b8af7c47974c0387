"""Looks at every step of a run for signs that its reward is being hacked."""

from groupwise.rewards.guard.alarms import Alarm, Detector
from groupwise.rewards.guard.guard import DROPPED, Action, Guard, Verdict, Watch
from groupwise.rewards.guard.options import guard_of

__all__ = ["DROPPED", "Action", "Alarm", "Detector", "Guard", "Verdict", "Watch", "guard_of"]
