"""Every attack is seen to fail, in the way it should, and the next honest answer to pass."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from groupwise.sandbox import Calls, Reason, Sandbox
from groupwise.sandbox.inside import seccomp

from .attacks import FILES, KERNEL, NETWORK, OTHERS, PRELUDE, PROCESSES, RESOURCES, SECRET, Attack
from .cheats import CHEATS, FOUND_IN

HONEST = Calls("def f(x):\n    return x * 2", "assert f(21) == 42")
ALL = [*NETWORK, *FILES, *OTHERS, *PROCESSES, *KERNEL, *RESOURCES, *CHEATS]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """What an attack would reach if it could: listeners, a file that anybody may read, this process."""
    folder = tmp_path_factory.mktemp("world")
    secret = folder / "secret"
    secret.write_text(SECRET)
    for path in (secret, *list(secret.parents)[:-2]):
        path.chmod(0o755)
    abstract = f"\0groupwise-{os.getpid()}"
    column = seccomp._ARCHITECTURES[os.uname().machine][0]
    numbers = {name: pair[column] for name, pair in seccomp._FATAL.items()}
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for address in (str(folder / "socket"), abstract):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
        yield {
            "port": tcp.getsockname()[1],
            "unix": str(folder / "socket"),
            "abstract": abstract,
            "secret": str(secret),
            "home": os.path.expanduser("~"),
            "tests": __file__,
            "pid": os.getpid(),
            "numbers": numbers,
        }
    assert secret.read_text() == SECRET
    assert sorted(p.name for p in folder.iterdir()) == ["secret", "socket"]
    assert not list(Path("/tmp").glob("*-an-answer"))


@pytest.mark.parametrize("attack", ALL, ids=lambda attack: attack.sentence)
def test_an_answer_cannot(attack: Attack, sandbox: Sandbox, world: dict[str, object]) -> None:
    code = attack.code if attack in CHEATS else attack.code.format(**world)
    verdict = sandbox.run([Calls(PRELUDE + FOUND_IN + code, f"assert f() == {SECRET!r}")])[0]
    assert (verdict.passed, verdict.total) == (0, 1)
    if isinstance(attack.seen, Reason):
        assert verdict.reason is attack.seen, verdict
    else:
        assert verdict.reason is Reason.FAILED, verdict
        seen = sandbox.run([Calls(PRELUDE + FOUND_IN + code, f"assert f() in {attack.seen!r}, f()")])[0]
        assert seen.passed == 1, seen
    assert sandbox.run([HONEST])[0].passed == 1


def test_there_are_at_least_thirty_attacks_and_no_two_alike() -> None:
    assert len({attack.sentence for attack in ALL}) == len(ALL) >= 30
