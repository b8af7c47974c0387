"""A sandbox for each backend that this machine has."""

from collections.abc import Iterator

import pytest

from groupwise.sandbox import Limits, Sandbox, UnsafeError
from groupwise.sandbox.wrappers import bare, bubblewrapped

LIMITS = Limits(seconds=1.0, memory_mb=256)


@pytest.fixture(scope="session", params=["bubblewrap", "fork server"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    ways = bubblewrapped() if request.param == "bubblewrap" else [bare()]
    reasons = ["it is not installed"]
    for way in ways:
        try:
            made = Sandbox(LIMITS, workers=1, backend=way)
        except UnsafeError as error:
            reasons = [str(error)]
            continue
        with made:
            yield made
        return
    pytest.skip(f"no {request.param} here: {reasons[-1]}")
