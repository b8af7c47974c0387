"""Rewards for code: the share of tests that an answer passes in the sandbox, and its form.

The columns of a row say how it is tested:

    test, entry_point           as HumanEval has them (arXiv 2107.03374): check(candidate) with asserts
    test_list[, test_imports]   as MBPP has them (arXiv 2108.07732): assert statements
    inputs, outputs             texts for standard input, and what standard output should be
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from groupwise.rewards.ahead import Kept
from groupwise.rewards.scoring import Failed, Reward, Value
from groupwise.rewards.texts import Completion, text_of
from groupwise.sandbox import Calls, Job, Parse, Program, Reason, Sandbox, Verdict

Row = Mapping[str, Any]

COLUMNS = ("given", "test", "entry_point", "test_list", "test_imports", "inputs", "outputs")
LONGEST = 50_000
"""Characters of code that are run; a longer answer fails."""

_LANGUAGE = re.compile(r"[\w+.-]*")


def code_rewards(
    sandbox: Sandbox, all_or_nothing: bool = False, format_weight: float = 0.1
) -> tuple[Reward, ...]:
    """The parts `tests` and `format` of a task whose answers are code."""
    return (
        Reward("tests", passing(sandbox, all_or_nothing)),
        Reward("format", well_formed(sandbox), format_weight),
    )


class passing:  # noqa: N801 - reads as the function that it makes
    """A reward: the share of its tests that an answer passes, 0 to 1; or 1 for all of them, else 0.

    None where a row has none of the columns above. What breaks the tests earns nothing for the tests left.
    Where the sandbox itself has failed, on a new server too, nothing is known: Failed("sandbox: ...").
    Shares of the reasons are logged as `code/REASON`, each verdict as the column `verdict`.
    Begins with a group while other groups are being written (ahead.py), unless `ahead` is set to False.
    """

    def __init__(self, sandbox: Sandbox, all_or_nothing: bool = False) -> None:
        self.all_or_nothing, self.ahead = all_or_nothing, True
        self._runs = _Runs(sandbox, lambda row, text: _job(row, code_of(text)))
        self.begin = self._runs.begin

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any
    ) -> list[Value]:
        verdicts = self._runs.verdicts(prompts, completions, columns)
        _log(columns, verdicts)
        return [_share(v, self.all_or_nothing) for v in verdicts]


class well_formed:  # noqa: N801 - reads as the function that it makes
    """A reward: 1 for an answer with a fenced block that is Python, else 0. Nothing of it is run. Failed as
    for passing.

    A parser that is fed hostile text can crash its process, so this one has a process to lose. `ahead`: as
    of passing.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.ahead = True
        self._runs = _Runs(sandbox, _parsing)
        self.begin = self._runs.begin

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any
    ) -> list[Value]:
        verdicts = self._runs.verdicts(prompts, completions, columns)
        return [_of_the_sandbox(v) or float(v is not None and v.reason is Reason.PASSED) for v in verdicts]


class _Runs:
    """Runs what `job` makes of a row and an answer's text, and keeps what it has run before it was asked."""

    def __init__(self, sandbox: Sandbox, job: Callable[[Row, str], Job | None]) -> None:
        self._sandbox, self._job = sandbox, job
        self._kept = Kept[Job, Job, Verdict]()

    def begin(self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> None:
        known = {job: job for job in self._jobs(prompts, completions, columns) if job is not None}
        self._kept.begin(known, self._sandbox.run, _sure)

    def verdicts(
        self, prompts: Sequence[Any], completions: Sequence[Completion], columns: Mapping[str, Any]
    ) -> list[Verdict | None]:
        """None where there is no job."""
        jobs = self._jobs(prompts, completions, columns)
        known = [job for job in jobs if job is not None]
        done = iter(self._kept.taken(known, known, self._sandbox.run))
        return [None if job is None else next(done) for job in jobs]

    def _jobs(
        self, prompts: Sequence[Any], completions: Sequence[Completion], columns: Mapping[str, Any]
    ) -> list[Job | None]:
        rows = _rows(prompts, completions, columns)
        return [self._job(row, text_of(c)) for row, c in zip(rows, completions, strict=True)]


def _sure(verdict: Verdict) -> bool:
    """Whether a machine that is less busy would say the same."""
    return verdict.reason not in (Reason.TIMEOUT, Reason.SANDBOX)


def code_of(text: str) -> str:
    """The longest fenced block, else the whole text.

    >>> code_of("Here:\\n```python\\nx = 1\\n```\\nDone.")
    'x = 1\\n'
    """
    block = _fenced(text)
    return text if block is None else block


def program_of(row: Row, code: str) -> str:
    """What is run: the answer, joined to the beginning it was given, if it was given one.

    An answer that defines the function itself is put after that beginning, whose imports and helpers it may
    use; any other is the rest of the function's body, up to the first line that is not indented.
    """
    given, name = row.get("given"), row.get("entry_point")
    if not given or not name:
        return code
    if re.search(
        rf"^(async[ \t]+)?def[ \t]+{re.escape(name)}\b|^{re.escape(name)}[ \t]*=", code, re.MULTILINE
    ):
        return f"{_stub(given)}\n{code}"
    lines = code.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if first and not first[0].isspace():
        lines = [f"    {line}" for line in lines]
    body = []
    for line in lines:
        if line.strip() and not line[0].isspace():
            break
        body.append(line)
    return given.rstrip("\n") + "\n" + "\n".join(body) + "\n"


def job_of(row: Row, code: str) -> Calls | Program | None:
    """How an answer is tested; None where the row does not say."""
    program = program_of(row, code)
    if row.get("test") is not None and row.get("entry_point"):
        name = row["entry_point"]
        return Calls(program, f"{row['test']}\n\ncheck({name})\n", _stub(row.get("given") or ""), (name,))
    if row.get("test_list"):
        imports = row.get("test_imports") or []
        return Calls(program, "\n".join(row["test_list"]), "\n".join(imports))
    if row.get("inputs") is not None:
        return Program(program, tuple(row["inputs"]), tuple(row["outputs"]))
    return None


def _parsing(row: Row, text: str) -> Parse | None:
    block = _fenced(text)
    return None if block is None else Parse(program_of(row, block))


def _job(row: Row, code: str) -> Calls | Program | None:
    return job_of(row, code if len(code) <= LONGEST else f"# {len(code)} characters are too many\n")


def _stub(given: str) -> str:
    """The beginning made whole: a function whose body is still to come does nothing."""
    return given.rstrip() + "\n    pass\n" if given.strip() else ""


def _fenced(text: str) -> str | None:
    """The longest fenced block. Line by line: a thousand fences that nothing closes are read once."""
    blocks: list[str] = []
    block: list[str] | None = None
    for line in text.split("\n"):
        mark = line.strip(" \t")
        language = mark[3:].lstrip(" \t") if mark.startswith("```") else None
        if block is None:
            block = [] if language is not None and _LANGUAGE.fullmatch(language) else None
        elif language == "":
            blocks.append("".join(f"{each}\n" for each in block))
            block = None
        else:
            block.append(line)
    return max(blocks, key=len) if blocks else None


def _rows(prompts: Sequence[Any], completions: Sequence[Completion], columns: Mapping[str, Any]) -> list[Row]:
    """Row by row; a prompt that is text is itself the beginning of the code, as in HumanEval."""
    rows: list[Row] = []
    for i in range(len(completions)):
        row: dict[str, Any] = {name: columns[name][i] for name in COLUMNS if name in columns}
        if row.get("given") is None and isinstance(prompts[i], str) and row.get("entry_point"):
            row["given"] = prompts[i]
        rows.append(row)
    return rows


def _share(verdict: Verdict | None, all_or_nothing: bool) -> Value:
    if verdict is None:
        return None
    share = float(verdict.share == 1.0) if all_or_nothing else verdict.share
    return _of_the_sandbox(verdict) or share


def _of_the_sandbox(verdict: Verdict | None) -> Failed | None:
    """The world's failure, which is no verdict on the answer."""
    if verdict is None or verdict.reason is not Reason.SANDBOX:
        return None
    return Failed(f"sandbox: {verdict.detail}")


def _log(columns: Mapping[str, Any], verdicts: Sequence[Verdict | None]) -> None:
    known = [v for v in verdicts if v is not None]
    if (metric := columns.get("log_metric")) and known:
        for reason, n in Counter(v.reason for v in known).items():
            metric(f"code/{reason.lower().replace(' ', '_')}", n / len(known))
    if extra := columns.get("log_extra"):
        extra("verdict", ["" if v is None else f"{v.passed}/{v.total} {v.reason}" for v in verdicts])
