"""How many answers the sandbox runs in a second, for each backend of this machine.

Answers that pass one trivial test, so that what is measured is the cost of keeping them apart: two processes
for each, forked, locked down, asked once, ended.

    python bench/sandbox.py --out bench/results/sandbox.json
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import time
from datetime import date
from pathlib import Path
from typing import Any

from groupwise.sandbox import Calls, Program, Reason, Sandbox, UnsafeError
from groupwise.sandbox.wrappers import Backend, bare, bubblewrapped

JOBS = {
    "calls": Calls("def f(x):\n    return x + 1\n", "assert f(1) == 2"),
    "program": Program("print(int(input()) + 1)", ("1\n",), ("2\n",)),
}
STARTS = 5


def rate(sandbox: Sandbox, kind: str, n: int, rounds: int) -> dict[str, Any]:
    """Executions a second: median, lowest and highest of the rounds."""
    jobs = [JOBS[kind]] * n
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        verdicts = sandbox.run(jobs)
        rates.append(n / (time.perf_counter() - began))
        assert {verdict.reason for verdict in verdicts} == {Reason.PASSED}
    numbers = {"median": statistics.median(rates), "lowest": min(rates), "highest": max(rates)}
    return {"executions": n * rounds, **{name: round(value, 1) for name, value in numbers.items()}}


def processor_ms(backend: Backend, n: int) -> float:
    """Processor time of an execution, all processes together, start of the server taken away."""

    def spent(executions: int) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
        with Sandbox(workers=1, backend=backend) as sandbox:
            sandbox.run([JOBS["calls"]] * executions)
        after = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
        children = sum(getattr(after[0], f) - getattr(before[0], f) for f in ("ru_utime", "ru_stime"))
        return children + after[1] - before[1]

    return round((spent(n) - spent(0)) / n * 1e3, 2)


def start_ms(backend: Backend) -> float:
    times = []
    for _ in range(STARTS):
        began = time.perf_counter()
        with Sandbox(workers=1, backend=backend):
            times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1e3, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--executions", type=int, default=200, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for backend in [*bubblewrapped(), bare()]:
        try:
            Sandbox(workers=1, backend=backend).close()
        except UnsafeError as error:
            print(error)
            continue
        if backend.name in found:
            continue
        figures: dict[str, Any] = {"start_ms": start_ms(backend)}
        for workers in given.workers:
            with Sandbox(workers=workers, backend=backend) as sandbox:
                sandbox.run([JOBS["calls"]] * 20)  # every server is started
                figures[f"per_second_{workers}_workers"] = {
                    kind: rate(sandbox, kind, given.executions, given.rounds) for kind in JOBS
                }
        # Beside bubblewrap, which reaps its own children, this could not be seen.
        if not backend.prefix:
            figures["processor_ms_per_execution"] = processor_ms(backend, given.executions)
        found[backend.name] = figures
        print(backend.name, json.dumps(figures, indent=1))
    about = {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    text = json.dumps({**about, "backends": found}, indent=1) + "\n"
    if given.out is not None:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
