"""What is told of worlds that do not behave, once a run each."""

from __future__ import annotations

from groupwise.envs.once import Once
from groupwise.envs.spaces import UnplayableError


class FailedEpisodesWarning(UserWarning):
    """Episodes that the world did not see through; they are left out."""


class UnequalStartsWarning(UserWarning):
    """Siblings that were to begin alike did not."""


class Faults:
    """Remembers what has been told."""

    def __init__(self) -> None:
        self._once = Once()

    def failed(self, n: int, total: int, reason: str) -> None:
        """Tell of n episodes of `total` that failed, the first of them for this reason.

        Raises:
            UnplayableError: that was all of them.
        """
        if n == total:
            raise UnplayableError(f"all {total} episodes failed; the first {reason}")
        self._once(
            FailedEpisodesWarning,
            f"{n} of {total} episodes failed, the first {reason}. They are left out; "
            "stopped/error in metrics.jsonl counts them, and samples.jsonl has their reasons.",
        )

    def unequal(self) -> None:
        """Tell of siblings that did not begin alike."""
        self._once(
            UnequalStartsWarning,
            "the environment ignores the seed it is reset with: the starts in a group are independent, so "
            "it compares starts as well as decisions, and the run cannot be repeated exactly. It trains all "
            "the same; larger groups help. groupwise doctor says more.",
        )
