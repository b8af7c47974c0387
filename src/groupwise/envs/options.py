"""Options after a task's colon: `digits=3,ops=+-`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def read(kind: type[T], text: str, task: str) -> T:
    """A dataclass of whole numbers and texts from `name=value,...`.

    Raises:
        ValueError: naming the task, the option and what there is.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or name not in known:
            example = ", ".join(f"{f.name}={f.default}" for f in known.values())
            raise ValueError(f"{task} has no option {part!r}. There are, with their defaults: {example}")
        if known[name].type == "int" and not value.isdecimal():
            raise ValueError(f"{task}: {name}={value} has to be a whole number")
        values[name] = int(value) if known[name].type == "int" else value
    return kind(**values)
