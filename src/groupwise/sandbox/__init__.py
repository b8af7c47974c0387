"""Runs code that a model wrote, apart from everything else, and counts the tests that it passes."""

from groupwise.sandbox.choice import UnsafeError
from groupwise.sandbox.jobs import Calls, Job, Limits, Parse, Program, Reason, Verdict
from groupwise.sandbox.pool import Sandbox

__all__ = ["Calls", "Job", "Limits", "Parse", "Program", "Reason", "Sandbox", "UnsafeError", "Verdict"]
