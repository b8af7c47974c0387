"""What the tests of honest answers see, and how much of them is counted."""

import pytest

from groupwise.sandbox import Calls, Limits, Parse, Program, Reason, Sandbox, Verdict


def verdict(sandbox: Sandbox, code: str, tests: str, **more: object) -> Verdict:
    return sandbox.run([Calls(code, tests, **more)])[0]  # type: ignore[arg-type]


PASSES = {
    "compare values of every builtin kind": (
        "def f(x): return x",
        "for x in (None, True, -1, 2**70, 0.1, 1e400, 'é\\ud800', b'a', 2j, (1, [2]), {1, 2}, {'a': (1,)}, "
        "frozenset([1]), range(3)):\n    assert f(x) == x and type(f(x)) is type(x)",
    ),
    "tell a tuple from a list": ("def f(): return (1, 2)", "assert f() != [1, 2]\nassert f() == (1, 2)"),
    "tell an empty set from an empty dict": ("def f(): return set()", "assert f() == set() != {}"),
    "take counters and named tuples for what they are based on": (
        "import collections\ndef f(): return collections.Counter('aab')\n"
        "P = collections.namedtuple('P', 'x y')\ndef g(): return P(1, 2)",
        "assert f() == {'a': 2, 'b': 1}\nassert g() == (1, 2)",
    ),
    "be near a number": ("def f(): return 0.1 + 0.2", "assert abs(f() - 0.3) < 1e-9"),
    "see what was changed in place": (
        "def f(a, d, s): a.sort(); d['x'] = 1; s.clear()",
        "a, d, s = [3, 1], {}, {1}\nassert f(a, d, s) is None\nassert (a, d, s) == ([1, 3], {'x': 1}, set())",
    ),
    "expect an exception": (
        "def f(x):\n    raise ValueError('no')",
        "try:\n    f(1)\n    ok = False\nexcept ValueError as error:\n    ok = str(error) == 'no'\nassert ok",
    ),
    "read a generator": ("def f():\n    yield from 'ab'", "assert list(f()) == ['a', 'b']"),
    "give arguments by name": ("def f(a, *, b=1): return a - b", "assert f(3, b=1) == 2 == f(a=3)"),
    "call several functions that share state": (
        "n = []\ndef put(x): n.append(x)\ndef get(): return n",
        "put(1)\nput(2)\nassert get() == [1, 2]",
    ),
    "compare with a reference in a loop": (
        "def f(n): return n * (n + 1) // 2",
        "import random\ndef check(candidate):\n    for _ in range(20):\n        n = random.randint(0, 99)\n"
        "        assert candidate(n) == sum(range(n + 1))\ncheck(f)",
    ),
    "pass without an assert if nothing is raised": ("def f(): pass", "f()"),
    "ask a recursive function": (
        "def f(n): return 1 if n < 2 else n * f(n - 1)",
        "assert f(20) == 2432902008176640000",
    ),
}


@pytest.mark.parametrize("case", PASSES, ids=str)
def test_tests_can(case: str, sandbox: Sandbox) -> None:
    code, tests = PASSES[case]
    got = verdict(sandbox, code, tests)
    assert got.reason is Reason.PASSED, got
    assert got.share == 1.0


def test_every_assert_counts_and_the_first_failure_is_told(sandbox: Sandbox) -> None:
    got = verdict(
        sandbox, "def f(x):\n    return [0, 1, 2][x]", "\n".join(f"assert f({n}) == {n}" for n in range(5))
    )
    assert (got.passed, got.total, got.reason) == (3, 5, Reason.FAILED)
    assert got.detail == "assert f(3) == 3 (IndexError: list index out of range)"


def test_a_process_that_ends_keeps_the_tests_before(sandbox: Sandbox) -> None:
    got = verdict(
        sandbox,
        "import os\ndef f(x): return x if x else os._exit(0)",
        "assert f(1) == 1\n" * 2 + "assert f(0) == 0\nassert f(1) == 1",
    )
    assert (got.passed, got.total, got.reason) == (2, 4, Reason.EXITED)


def test_a_loop_that_never_ends_is_not_passed_by_its_first_rounds(sandbox: Sandbox) -> None:
    """One assert is written, five are passed: the sixth hangs, so it is not all of them."""
    code = "def f(n):\n    while n >= 5: pass\n    return n"
    got = verdict(sandbox, code, "for n in range(10):\n    assert f(n) == n")
    assert (got.passed, got.total, got.reason) == (5, 6, Reason.TIMEOUT)


def test_an_answer_that_is_gone_counts_like_one_that_hangs(sandbox: Sandbox) -> None:
    """Which limit ends a loop first, the processor's or the clock's, must not change the count."""
    code = "import os\ndef f(n):\n    return n if n < 5 else os._exit(0)"
    got = verdict(sandbox, code, "for n in range(10):\n    assert f(n) == n")
    assert (got.passed, got.total) == (5, 6)


def test_asserts_that_were_never_reached_are_not_passed(sandbox: Sandbox) -> None:
    got = verdict(sandbox, "def f(): return []", "for x in f():\n    assert x > 0")
    assert (got.passed, got.total) == (0, 1)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def f(:", Reason.SYNTAX),
        ("def g(): return 1", Reason.FAILED),
        ("1 / 0", Reason.RAISED),
        ("", Reason.FAILED),
        ("def f(): return object()", Reason.UNPARSABLE),
    ],
)
def test_the_reason_is_told(code: str, reason: Reason, sandbox: Sandbox) -> None:
    got = verdict(sandbox, code, "assert f() == 1")
    assert (got.passed, got.total, got.reason) == (0, 1, reason), got
    assert got.detail


def test_the_set_up_belongs_to_the_tests_and_the_named_function_to_the_answer(sandbox: Sandbox) -> None:
    setup = "import math\ndef helper(x): return x + 1\ndef f(x): return 'of the set-up'"
    got = verdict(
        sandbox,
        "def f(x): return x * 2\ndef helper(x): return 0",
        "assert helper(f(2)) == 5 == math.floor(5.5)",
        setup=setup,
        functions=("f",),
    )
    assert got.reason is Reason.PASSED, got


def test_verdicts_do_not_depend_on_chance(sandbox: Sandbox) -> None:
    """The order of a set and random numbers are the same in every execution and on every server."""
    code = "import random\ndef f(): return [random.random(), list({'a', 'b', 'c', 'd'}), hash('x')]"
    seen = {verdict(sandbox, code, "assert False, f()").detail for _ in range(3)}
    with Sandbox(workers=1, backend=sandbox.backend) as other:
        seen.add(verdict(other, code, "assert False, f()").detail)
    assert len(seen) == 1


def test_an_execution_leaves_nothing_for_the_next(sandbox: Sandbox) -> None:
    verdict(
        sandbox, "import builtins, math\nbuiltins.left = math.left = 1\ndef f(): return 1", "assert f() == 1"
    )
    got = verdict(
        sandbox,
        "import builtins, math\ndef f(): return hasattr(builtins, 'left') or hasattr(math, 'left')",
        "assert f() is False",
    )
    assert got.reason is Reason.PASSED


def test_output_is_kept_by_its_end(sandbox: Sandbox) -> None:
    got = verdict(sandbox, "def f():\n    print('x' * 5000 + 'end')\n    return 1", "assert f() == 1")
    assert got.stdout_tail.endswith("xxend\n")
    assert len(got.stdout_tail) == 2000


def test_what_tests_print_is_not_taken_for_their_tally(sandbox: Sandbox) -> None:
    got = verdict(
        sandbox, "def f(): return 1", "print('\\1\\0\\0\\0' * 100)\nassert f() == 2\nprint('x' * 100)"
    )
    assert (got.passed, got.total) == (0, 1)


# ---------------------------------------------------------------------------- programs


def test_a_program_is_run_once_for_each_input(sandbox: Sandbox) -> None:
    code = "a, b = map(int, input().split())\nif __name__ == '__main__':\n    print(a + b)"
    got = sandbox.run([Program(code, ("1 2\n", "3 4\n", "5 5"), ("3\n", "8", "10  \n\n"))])[0]
    assert (got.passed, got.total, got.reason) == (2, 3, Reason.FAILED)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print(1)\nraise SystemExit(2)", Reason.RAISED),
        ("print(1)\n1/0", Reason.RAISED),
        ("import os\nprint(1, flush=True)\nos._exit(9)", Reason.EXITED),
        ("print(1)\nwhile True: pass", Reason.TIMEOUT),
        ("while True: print('1' * 4096)", Reason.OUTPUT),
        ("print(", Reason.SYNTAX),
        ("a = []\nwhile True: a.append(bytes(1 << 20))", Reason.MEMORY),
        ("print('passed')", Reason.FAILED),
    ],
)
def test_a_program_that_fails_says_why(code: str, reason: Reason, sandbox: Sandbox) -> None:
    got = sandbox.run([Program(code, ("",), ("1",))])[0]
    assert (got.passed, got.total, got.reason) == (0, 1, reason), got


def test_all_inputs_of_a_program_share_its_time(sandbox: Sandbox) -> None:
    got = sandbox.run([Program("while True: pass", ("",) * 50, ("",) * 50)])[0]
    assert (got.total, got.reason) == (50, Reason.TIMEOUT)
    assert got.seconds < 3


def test_a_program_may_end_by_sys_exit(sandbox: Sandbox) -> None:
    got = sandbox.run([Program("import sys\nprint(sys.stdin.read())\nsys.exit()", ("a\nb",), ("a\nb",))])[0]
    assert got.reason is Reason.PASSED


def test_parsing_runs_nothing(sandbox: Sandbox) -> None:
    got = sandbox.run([Parse("while True: pass"), Parse("x ="), Parse("(" * 3000)])
    assert [v.reason for v in got] == [Reason.PASSED, Reason.SYNTAX, Reason.SYNTAX]


def test_limits_are_the_callers(sandbox: Sandbox) -> None:
    code = "def f(): return len(bytearray(300 << 20))"
    with Sandbox(Limits(memory_mb=600), workers=1, backend=sandbox.backend) as roomy:
        assert verdict(roomy, code, "assert f() > 0").reason is Reason.PASSED
    assert verdict(sandbox, code, "assert f() > 0").reason is Reason.MEMORY
