"""A language model as judge, by a file of settings: `--reward judge:judge.toml`.

    endpoint = "http://localhost:8000/v1"    # or: local = "FOLDER, HUB ID or pip:PACKAGE"
    model = "Qwen/Qwen2.5-7B-Instruct"
    mode = "pairwise"                         # rubric (unless given), pairwise, listwise
    rubric = "The better answer is right, and says why in few words."

Every other setting is a field of `judge_settings.Judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groupwise.rewards.diversity import siblings
from groupwise.rewards.endpoint import Endpoint, Reply
from groupwise.rewards.frozen import frozen, named, written
from groupwise.rewards.judge_settings import Judge, read
from groupwise.rewards.judging import MARKS, Case, Mode, listwise, pairwise, rubric, shown
from groupwise.rewards.scoring import Value
from groupwise.rewards.texts import Completion, content_of, text_of

if TYPE_CHECKING:
    import torch


def judge(settings: str = "", device: torch.device | None = None) -> Callable[..., Any]:
    """A reward by a judge; `settings` is the path of its TOML file. A local one is on `device`, the best one
    unless given.

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
        return _local_judge(s, mode, named(s.local), device)
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
        return prompt if isinstance(prompt, str) else content_of(prompt[0])
    return "\n\n".join(f"{message['role']}: {content_of(message)}" for message in prompt)


# ---------------------------------------------------------------- a model of our own


def _local_judge(s: Judge, mode: Mode, name: str, device: torch.device | None) -> Callable[..., list[Value]]:
    def judged(
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        group_ids: Sequence[int] | None = None,
        **columns: Any,
    ) -> list[Value]:
        special = [mark for mark in frozen(name, device).tokenizer.all_special_tokens if len(mark) > 1]
        hearing = _Hearing.of(mode, prompts, completions, group_ids, s.max_characters, [*MARKS, *special])
        replies, calls = written(name, hearing.questions, s.max_new_tokens, device)
        return hearing.close(replies, calls, columns.get("log_metric"))

    return judged
