"""Which backend a machine gets: the safest that was seen to work."""

from __future__ import annotations

import warnings
from typing import Any

from groupwise.sandbox.client import Server, ServerError
from groupwise.sandbox.wrappers import Backend, bare, bubblewrapped, unsafe


class UnsafeError(ValueError):
    """This machine cannot keep an answer apart. Says what is missing and the way out."""


def chosen(backend: Backend | None, allow_unsafe: bool) -> tuple[Backend, Server]:
    """The first way to start a server whose trial shows it to be sound, and that server.

    Raises:
        UnsafeError: there is none, and `allow_unsafe` is not set.
    """
    faults = []
    for candidate in [backend] if backend is not None else [*bubblewrapped(), bare()]:
        try:
            server = Server(candidate)
        except ServerError as error:
            faults.append(str(error))
            continue
        fault = _fault(candidate, server.report)
        if not fault:
            return candidate, server
        server.close()
        faults.append(f"{candidate.name}: {fault}")
    if not bubblewrapped():
        faults.append("bubblewrap is not installed (apt install bubblewrap)")
    missing = "; ".join(faults)
    if not allow_unsafe:
        raise UnsafeError(
            f"code that a model wrote cannot be run safely here: {missing}. On a machine that holds nothing "
            "of value, --allow-unsafe-code runs it with limits of time and memory alone."
        )
    warnings.warn(
        f"code that a model wrote runs UNSAFELY: it can read and write files and use the network ({missing})",
        stacklevel=4,
    )
    return unsafe(), Server(unsafe())


def _fault(backend: Backend, report: dict[str, Any]) -> str:
    """What a trial showed not to be kept apart; empty where it is sound."""
    if "failed" in report:
        return str(report["failed"])
    if not backend.strict:
        return ""
    if still := [name for name in report["open"] if name not in backend.allows]:
        lacks = "; ".join(report["lacks"].values())
        return f"still open: {', '.join(still)}{f' ({lacks})' if lacks else ''}"
    return ""
