"""Which ways of keeping answers apart there are, who may use them, and what is said where there is none."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import replace

import pytest

from groupwise.sandbox import Calls, Limits, Reason, Sandbox, UnsafeError, choice, pool, wrappers
from groupwise.sandbox.inside import landlock, seccomp
from groupwise.sandbox.wrappers import Backend, bare, bubblewrapped

HONEST = Calls("def f(x):\n    return x * 2", "assert f(21) == 42")
PLAIN = "/usr/bin/python3"


def working(*ways: Backend) -> Backend:
    for way in ways:
        try:
            Sandbox(workers=1, backend=way).close()
            return way
        except UnsafeError as error:
            fault = str(error)
    pytest.skip(fault if ways else "bubblewrap is not installed")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root to become another")
@pytest.mark.parametrize("kind", ["bubblewrap", "fork server"])
def test_an_ordinary_user_has_the_same_walls(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would catch a backend that works by root's rights."""
    probe = [
        PLAIN,
        "-c",
        "import sys, sysconfig; print(sys.version_info >= (3, 11), sysconfig.get_path('stdlib'))",
    ]
    try:
        new, library = subprocess.run(probe, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no {PLAIN} that every user may run")
    if new != "True":
        pytest.skip(f"{PLAIN} is older than 3.11")
    monkeypatch.setattr(wrappers, "_interpreter", lambda: os.path.realpath(PLAIN))
    monkeypatch.setattr(wrappers, "_library", lambda: [library])
    lowered = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    ways = bubblewrapped()[-1:] if kind == "bubblewrap" else [bare()]
    way = working(*(replace(way, prefix=(*lowered, *way.prefix)) for way in ways))
    with Sandbox(workers=1, backend=way) as sandbox:
        assert sandbox.report["open"] == []
        assert sandbox.run([HONEST])[0].reason is Reason.PASSED
        hostile = Calls("import os\ndef f(x): return os.fork()", "assert f(1) == 42")
        assert "PermissionError" in sandbox.run([hostile])[0].detail


def test_root_in_bubblewrap_computes_as_nobody() -> None:
    """Even where Python lies below /root, which others may not enter."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Sandbox(workers=1, backend=working(*bubblewrapped())) as sandbox:
        if not sandbox.report["nobody"]:
            pytest.skip("root may not become another user here")
        verdict = sandbox.run([Calls("import os\ndef f(): return os.getuid()", "assert f() == 65534")])[0]
        assert verdict.reason is Reason.PASSED


def test_a_server_that_is_killed_costs_nothing(sandbox: Sandbox) -> None:
    """Would catch a client that waits for a dead server, or blames the answer."""
    server = next(iter(sandbox._servers))
    os.killpg(server.process.pid, signal.SIGKILL)
    assert sandbox.run([HONEST])[0].reason is Reason.PASSED
    assert server not in sandbox._servers


@pytest.mark.parametrize("end", ["killed", "deserted"])
def test_a_server_that_ends_in_an_execution_takes_its_children_along(end: str, sandbox: Sandbox) -> None:
    """Would catch an answer that goes on computing when nobody waits for it."""
    with Sandbox(Limits(seconds=60.0), workers=1, backend=sandbox.backend) as other:
        (server,) = other._servers
        files = [pool.file_of(text) for text in (b'{"code": "while True: pass"}', b"", b"", b"")]
        order = {"kind": "program", "wall": 60.0, "limits": {"seconds": 60, "memory": 1 << 29, "output": 99}}

        socket.send_fds(server._channel, [json.dumps(order).encode()], files)
        deadline = time.monotonic() + 30
        while not (family := descendants(server.process.pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if end == "killed":
            server.close()
        else:  # as when the trainer is killed
            server._channel.close()
            server.process.wait(20)
        while any(alive(pid) for pid in family) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert family
        assert not any(alive(pid) for pid in family)
        for fd in files:
            os.close(fd)


def descendants(pid: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and parent_of(int(entry)) == pid:
            found += [int(entry), *descendants(int(entry))]
    return found


def parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return -1


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_executions_run_side_by_side_and_keep_their_order(sandbox: Sandbox) -> None:
    slow = "import time\ndef f(n):\n    time.sleep(0.3 if n == 0 else 0)\n    return n"
    with Sandbox(workers=2, backend=sandbox.backend) as two:
        verdicts = two.run([Calls(slow, f"assert f({n % 2}) == {n}") for n in range(4)])
        assert [v.passed for v in verdicts] == [1, 1, 0, 0]
        assert len(two._servers) == 2
        servers = set(two._servers)
        assert [v.passed for v in two.run([HONEST] * 4)] == [1] * 4
        assert two._servers == servers  # none ended with a thread of the first run


def test_the_safest_backend_that_works_is_taken() -> None:
    with Sandbox(workers=1) as sandbox:
        expected = "bubblewrap" if shutil.which("bwrap") else "fork server"
        assert sandbox.backend.name in (expected, "fork server")
        assert sandbox.report["open"] == []


# ---------------------------------------------------------------------------- machines that lack something


def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(bare(), prefix=("/no/such/program",))
    monkeypatch.setattr(choice, "bubblewrapped", list)
    monkeypatch.setattr(choice, "bare", lambda: broken)


def test_where_nothing_works_it_refuses_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_works(monkeypatch)
    with pytest.raises(
        UnsafeError, match=r"fork server did not start.*bubblewrap is not.*--allow-unsafe-code"
    ):
        Sandbox(workers=1)


def test_the_flag_runs_answers_with_limits_alone_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_works(monkeypatch)
    with pytest.warns(UserWarning, match="UNSAFELY"):
        sandbox = Sandbox(Limits(seconds=1.0), workers=1, allow_unsafe=True)
    with sandbox:
        assert sandbox.backend.name == "resource limits only"
        endless = Calls("def f(x):\n    while True: pass", "assert f(1) == 1")
        assert [v.reason for v in sandbox.run([HONEST, endless])] == [Reason.PASSED, Reason.TIMEOUT]


def test_a_trial_that_finds_a_gap_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes the filter and does not enforce it would be found by trying."""
    monkeypatch.setattr(choice, "bubblewrapped", list)
    hollow = replace(bare(), strict=False)
    report = choice.Server(hollow)
    fault = choice._fault(bare(), report.report)
    report.close()
    assert fault.startswith("still open: files, writing, network")


def test_an_architecture_without_a_table_is_refused_by_name() -> None:
    with pytest.raises(OSError, match="no table of system calls for riscv64"):
        seccomp.Filter("riscv64")


def test_both_architectures_have_programs_that_the_kernel_could_take() -> None:
    """At most 4096 steps, jumps inside the program, and a return at the end."""
    for machine in ("x86_64", "aarch64"):
        program = seccomp.Filter(machine).program
        steps = [program[i : i + 8] for i in range(0, len(program), 8)]
        assert len(steps) <= 4096
        assert steps[-1] == seccomp._step(seccomp._RETURN, seccomp._REFUSE)
        for i, step in enumerate(steps):
            assert i + 1 + max(step[2], step[3]) <= len(steps) - (step[0] != seccomp._RETURN)


def test_an_older_kernel_is_asked_for_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 1 of Landlock takes 8 bytes and 13 rights; more would be an error of the call."""
    asked = []

    class Old:
        def syscall(self, number: int, *rest: object) -> int:
            asked.append((number, rest))
            return 1 if number == 444 and rest[-1] == 1 else os.open("/", os.O_RDONLY)

    landlock.Ruleset(Old(), [])  # type: ignore[arg-type]
    assert asked[1][1][0] == ((1 << 13) - 1).to_bytes(8, "little")
