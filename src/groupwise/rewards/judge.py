"""A language model as judge, by a file of settings: `--reward judge:judge.toml`.

    endpoint = "http://localhost:8000/v1"    # or: local = "FOLDER, HUB ID or pip:PACKAGE"
    model = "Qwen/Qwen2.5-7B-Instruct"
    mode = "pairwise"                         # rubric (unless given), pairwise, listwise
    rubric = "The better answer is right, and says why in few words."

Every other setting is a field of `Judge`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groupwise.rewards.diversity import siblings
from groupwise.rewards.endpoint import Endpoint, Reply
from groupwise.rewards.frozen import frozen, named, prompt_tokens
from groupwise.rewards.judging import MARKS, Case, Mode, listwise, pairwise, rubric, shown
from groupwise.rewards.scoring import Failed, Value
from groupwise.rewards.words import Completion, text_of

GENERAL = "The better answer is right, does what is asked, and is clear and no longer than it needs to be."
MODES = ("rubric", "pairwise", "listwise")
ROWS = 16
"""Replies that a local judge writes at the same time; changes memory and speed, not results."""


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


def judge(settings: str = "") -> Callable[..., Any]:
    """A reward by a judge; `settings` is the path of its TOML file.

    Values are in [0, 1]: see `judging` for each mode. An answer without a visible character is worth 0 and
    no question. Failed("unparsable: ...") where a reply has not the form asked for, Failed("endpoint: ...")
    where none came; neither ends the run. An endpoint is asked one question at once, so that a wrong
    address, key or model is told before a run begins.

    Logs `judge/calls` (requests sent, with second tries), `judge/unparsed` (share of the replies) and, where
    answers are compared, `judge/position_bias`: the share of compared pairs in which the same place won in
    both orders, 0 for a judge that reads and 1 for one that looks at the place only.

    Raises:
        JudgeError: the file cannot be read, or a setting cannot be.
        EndpointError, ModelError: the judge is not there.
    """
    s = read(settings)
    mode = _mode(s)
    if s.local is not None:
        return _local_judge(s, mode, named(s.local))
    asked = {"temperature": 0, "max_tokens": s.max_new_tokens}
    endpoint = Endpoint(
        s.endpoint or "",
        s.model or "",
        s.api_key_variable,
        s.timeout,
        s.retries,
        s.concurrency,
        s.request or asked,
    )
    endpoint.check()

    async def judged(
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        group_ids: Sequence[int] | None = None,
        **columns: Any,
    ) -> list[Value]:
        hearing = _Hearing.of(mode, prompts, completions, group_ids, s.max_characters, MARKS)
        return hearing.close(*await endpoint.ask(hearing.questions), columns.get("log_metric"))

    return judged


def _mode(s: Judge) -> Mode:
    if s.mode == "pairwise":
        return pairwise(s.rubric, s.opponents)
    return listwise(s.rubric) if s.mode == "listwise" else rubric(s.rubric, *s.scale)


@dataclass(frozen=True, slots=True)
class _Hearing:
    """The groups of one cohort: the rows of each, and what is asked about it."""

    groups: list[tuple[list[int], Case]]

    @classmethod
    def of(
        cls,
        mode: Mode,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        group_ids: Sequence[int] | None,
        most: int,
        marks: Sequence[str],
    ) -> _Hearing:
        groups = []
        for rows in siblings(prompts, group_ids):
            answers = [shown(text_of(completions[i]), most, marks) for i in rows]
            groups.append((rows, mode(shown(_conversation(prompts[rows[0]]), most, marks), answers)))
        return cls(groups)

    @property
    def questions(self) -> list[str]:
        return [question for _, case in self.groups for question in case.questions]

    def close(
        self, replies: Sequence[Reply], calls: int, log: Callable[[str, float], None] | None
    ) -> list[Value]:
        values: list[Value] = [None] * sum(len(rows) for rows, _ in self.groups)
        at = unparsed = compared = flips = 0
        for rows, case in self.groups:
            found = case.read(replies[at : at + len(case.questions)])
            at += len(case.questions)
            unparsed += found.unparsed
            compared += found.compared
            flips += found.flips
            for i, value in zip(rows, found.values, strict=True):
                values[i] = value
        if log is not None:
            log("judge/calls", calls)
            if replies:
                log("judge/unparsed", unparsed / len(replies))
            if compared:
                log("judge/position_bias", flips / compared)
        return values


def _conversation(prompt: Completion) -> str:
    """One message as it is, several under the names of who spoke."""
    if isinstance(prompt, str) or len(prompt) == 1:
        return text_of(prompt)
    return "\n\n".join(f"{message['role']}: {text_of([message])}" for message in prompt)


# ---------------------------------------------------------------- a model of our own


def _local_judge(s: Judge, mode: Mode, name: str) -> Callable[..., list[Value]]:
    def judged(
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        group_ids: Sequence[int] | None = None,
        **columns: Any,
    ) -> list[Value]:
        special = [mark for mark in frozen(name).tokenizer.all_special_tokens if len(mark) > 1]
        hearing = _Hearing.of(mode, prompts, completions, group_ids, s.max_characters, [*MARKS, *special])
        replies, calls = written(name, hearing.questions, s.max_new_tokens)
        return hearing.close(replies, calls, columns.get("log_metric"))

    return judged


def written(name: str, questions: Sequence[str], max_new_tokens: int) -> tuple[list[Reply], int]:
    """Greedy replies of a local model, and how many it wrote. Equal questions are asked once.

    Failed("too long: ...") for a question that the model's context does not hold beside its reply.
    """
    from groupwise.engine.generate import generate
    from groupwise.engine.model import eos_ids
    from groupwise.engine.sampling import Sampling
    from groupwise.engine.scheduler import Request

    model, tokenizer = frozen(name).model, frozen(name).tokenizer
    different = list(dict.fromkeys(questions))
    tokens = [prompt_tokens(tokenizer, [{"role": "user", "content": question}]) for question in different]
    room = model.context - max_new_tokens
    replies: dict[str, Reply] = {
        q: Failed(f"too long: {len(t)} tokens, and {name} has room for {room}")
        for q, t in zip(different, tokens, strict=True)
        if len(t) > room
    }
    fitting = [(q, t) for q, t in zip(different, tokens, strict=True) if q not in replies]
    requests = [Request(tuple(t), 1, i) for i, (_, t) in enumerate(fitting)]
    sampling = Sampling(max_new_tokens, temperature=0.0, max_rows=ROWS)
    found = generate(model, requests, sampling, eos=eos_ids(model.model, tokenizer))
    for (question, _), (completion,) in zip(fitting, found, strict=True):
        replies[question] = tokenizer.decode(completion.tokens, skip_special_tokens=True)
    return [replies[question] for question in questions], len(fitting)


# ---------------------------------------------------------------- its file


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
