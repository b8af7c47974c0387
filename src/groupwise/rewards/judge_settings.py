"""The settings of a judge, and their file."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GENERAL = "The better answer is right, does what is asked, and is clear and no longer than it needs to be."
MODES = ("rubric", "pairwise", "listwise")


class JudgeError(ValueError):
    """A judge's settings that cannot be: names the file, the setting and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """The settings of a judge."""

    endpoint: str | None = None
    """The address of an OpenAI-compatible server, without /chat/completions."""
    model: str | None = None
    """The name under which the server has the model."""
    api_key_variable: str | None = None
    """The environment variable that holds the key. Never the key: this file may be shown around."""
    local: str | None = None
    """In place of an endpoint: a model that is loaded beside the one in training. It answers greedily."""
    mode: str = "rubric"
    """rubric: each answer alone; pairwise: two at a time; listwise: all siblings at once."""
    rubric: str = GENERAL
    """What a good answer is."""
    scale: tuple[float, float] = (1.0, 10.0)
    """The worst and the best score of a rubric."""
    opponents: int | None = None
    """Of a pairwise judge: how many siblings an answer is compared with; all of them unless given."""
    max_characters: int = 8000
    """Of the prompt and of each answer that are shown."""
    max_new_tokens: int = 512
    """Of a reply."""
    timeout: float = 60.0
    retries: int = 2
    concurrency: int = 8
    """Of an endpoint: see endpoint.Endpoint."""
    request: dict[str, Any] = field(default_factory=dict)
    """Of an endpoint: fields of each request in place of temperature = 0 and max_tokens = max_new_tokens."""

    def __post_init__(self) -> None:
        if (self.endpoint is None) == (self.local is None):
            raise JudgeError("give either endpoint (an address) or local (a model), not both and not neither")
        if self.endpoint is not None and not re.match(r"https?://[^/]", self.endpoint):
            raise JudgeError(f"endpoint {self.endpoint!r}: an address such as http://localhost:8000/v1")
        if self.endpoint is not None and not self.model:
            raise JudgeError("model: the name under which the endpoint has the model")
        if self.api_key_variable and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_variable):
            raise JudgeError("api_key_variable is the NAME of an environment variable, not the key itself")
        if self.mode not in MODES:
            raise JudgeError(f"mode {self.mode!r}: one of {', '.join(MODES)}")
        if not self.scale[0] < self.scale[1]:
            raise JudgeError(f"scale {list(self.scale)}: the worst score and then a higher one, the best")
        numbers = (self.max_characters, self.max_new_tokens, self.concurrency, self.opponents or 1)
        if min(numbers) < 1 or self.opponents == 0 or self.timeout <= 0 or self.retries < 0:
            raise JudgeError(
                "opponents, max_characters, max_new_tokens and concurrency are at least 1, timeout is more "
                "than 0 and retries at least 0"
            )


def read(settings: str) -> Judge:
    """The settings in a TOML file.

    Raises:
        JudgeError: naming the file, the setting and the way out; values of keys are not repeated.
    """
    if not settings:
        raise JudgeError("name the judge's file of settings, as in --reward judge:judge.toml")
    path = Path(settings).expanduser()
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise JudgeError(f"cannot read the judge's settings {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise JudgeError(f"{path} is not valid TOML: {error}") from error
    try:
        return Judge(**_typed(values))
    except JudgeError as error:
        raise JudgeError(f"{path}: {error}.") from error


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    known = {f.name: str(f.type) for f in dataclasses.fields(Judge)}
    ready = dict(values)
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f". There are: {', '.join(known)}"
            raise JudgeError(f"unknown setting {name!r}{hint}")
        kind = known[name]
        if kind.startswith("tuple"):
            right = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
            ready[name] = tuple(value) if right else value
        elif kind.startswith("dict"):
            right = isinstance(value, dict)
        elif kind.startswith("float"):
            right = _is_number(value)
        else:
            right = type(value) is (int if kind.startswith("int") else str)
        if not right:
            wanted = "two numbers" if kind.startswith("tuple") else kind.partition(" ")[0].partition("[")[0]
            raise JudgeError(f"{name} has a value of another type than {wanted}")
    return ready


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
