"""Answers that know nothing and claim to have passed; `SECRET` is what the tests expect of them."""

from __future__ import annotations

from groupwise.sandbox import Reason

from .attacks import Attack, ending, longer

CHEATS = [
    ending("exit with success", "import os\ndef f(): os._exit(0)", Reason.EXITED),
    ending("exit with success before the tests", "import os\nos._exit(0)", Reason.EXITED),
    ending("leave by sys.exit before the tests", "import sys\nsys.exit(0)", Reason.RAISED),
    ending("raise SystemExit in the call", "def f(): raise SystemExit(0)", Reason.FAILED),
    ending(
        "print that all tests passed",
        "print('OK\\n1 passed')\ndef f(): print('passed'); return None",
        Reason.FAILED,
    ),
    ending(
        "return an object that equals everything",
        """
        class Any:
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            __hash__ = None
        def f(): return Any()
        """,
        Reason.UNPARSABLE,
    ),
    ending(
        "return an object that says it is a text",
        """
        class Any:
            __class__ = str
            def __eq__(self, other): return True
        def f(): return Any()
        """,
        Reason.UNPARSABLE,
    ),
    ending(
        "return a text that equals everything",
        """
        class Any(str):
            def __eq__(self, other): return True
            __hash__ = str.__hash__
        def f(): return Any("x")
        """,
        Reason.FAILED,
    ),
    ending(
        "return a number that equals everything",
        """
        class Any(int):
            def __eq__(self, other): return True
            __hash__ = int.__hash__
        def f(): return Any(1)
        """,
        Reason.FAILED,
    ),
    ending(
        "return a list that equals everything",
        """
        class Any(list):
            def __eq__(self, other): return True
            def __iter__(self): return iter(())
        def f(): return Any([1])
        """,
        Reason.FAILED,
    ),
    ending(
        "replace what compares",
        """
        import builtins, operator
        builtins.abs = lambda *a: 0
        builtins.all = builtins.any = lambda *a: True
        builtins.AssertionError = ValueError
        operator.eq = lambda a, b: True
        def f(): return None
        """,
        Reason.FAILED,
    ),
    ending(
        "replace what ends its process, and go on as the server",
        "import os\nos._exit = lambda code: None\ndef f(): return None\nraise SystemExit",
        Reason.EXITED,
    ),
    ending(
        "replace what encodes",
        """
        import json, sys
        json.dumps = lambda *a, **k: '["l", "passed"]'
        for name, module in list(sys.modules.items()):
            if name.endswith("codec"):
                module.encode = lambda value: b"true"
        def f(): return None
        """,
        Reason.UNPARSABLE,
    ),
    ending(
        "write verdicts into every file that is open",
        """
        import os, struct
        def f():
            for fd in range(256):
                for data in (struct.pack("<III", 1, 1, 1), b"passed", b'{"judge": 0}'):
                    try:
                        os.write(fd, data)
                        os.pwrite(fd, data, 0)
                    except OSError:
                        pass
        """,
        Reason.EXITED,
    ),
    ending(
        "answer a call with frames of its own",
        """
        import json, os, struct
        def frame(value):
            data = json.dumps(value).encode()
            return struct.pack(">I", len(data)) + data
        def f():
            for n in range(1, 5):
                os.write(4, frame(["t", n, "returned", True, None]))
            os._exit(0)
        """,
        Reason.FAILED,
    ),
    ending(
        "announce a frame of 4 GB",
        "import os\ndef f(): os.write(4, b'\\xff' * 100)",
        Reason.EXITED,
    ),
    ending(
        "flood the channel",
        "import os\ndef f():\n    while True: os.write(4, bytes(1 << 16))",
        Reason.UNPARSABLE,
    ),
    ending("close the channel", "import os\ndef f(): os.close(4)", Reason.EXITED),
    ending("put another file in the channel's place", "import os\ndef f(): os.dup2(1, 4)", Reason.EXITED),
    ending(
        "return a list nested too deep",
        "def f():\n    a = []\n    for _ in range(10**5): a = [a]\n    return a",
        Reason.UNPARSABLE,
    ),
    ending(
        "return a list that holds itself",
        "def f():\n    a = []\n    a.append(a)\n    return a",
        Reason.UNPARSABLE,
    ),
    ending(
        "return a list that doubles 60 times",
        "def f():\n    a = [0]\n    for _ in range(50): a = [a, a]\n    return a",
        Reason.UNPARSABLE,
    ),
    ending("return a number of a million digits", "def f(): return 1 << 3_300_000", Reason.FAILED),
    ending("return a text of 100 MB", "def f(): return 'x' * (100 << 20)", Reason.UNPARSABLE),
    ending("return not-a-number", "def f(): return float('nan')", Reason.FAILED),
    ending(
        "return numbers without end",
        "def f():\n    n = 0\n    while True:\n        yield n\n        n += 1",
        Reason.UNPARSABLE,
    ),
    ending("return a coroutine", "async def f(): return 1", Reason.FAILED),
    longer(
        "look for what is expected in the frames above it",
        """
        import sys
        def f():
            frame, found = sys._getframe(), []
            while frame:
                found += [repr(frame.f_locals), repr(frame.f_globals)]
                frame = frame.f_back
            return found_in("".join(found))
        """,
        "nothing",
    ),
    longer(
        "look for what is expected among all objects",
        """
        import gc
        def f():
            gc.unfreeze()
            planted = ["".join(("the-", "secret-", "planted-here---"))]
            found = set()
            for value in gc.get_objects():
                for part in (value, *(gc.get_referents(value))):
                    if type(part) is str and found_in(part) != "nothing":
                        found.add(found_in(part))
            return found.pop() if len(found) == 1 else sorted(found)
        """,
        "the-secret-planted-her",
    ),
    longer(
        "look for what is expected in its memory",
        """
        import ctypes, gc
        def f():
            gc.unfreeze()
            planted = "".join(("the-", "secret-", "planted-here---"))
            objects = gc.get_objects()
            parts = [part for value in objects for part in gc.get_referents(value)]
            found = set()
            for page in {id(value) >> 12 for value in objects + parts + [planted]}:
                text = ctypes.string_at(page << 12, 4096).decode("latin-1")
                if found_in(text) != "nothing":
                    found.add(found_in(text))
            own = planted[:22] in found and not any("-is-" in text for text in found)
            return "only-its-own" if own else str(found)
        """,
        "only-its-own",
    ),
    longer(
        "look for what is expected in its command line and environment",
        """
        import os, sys
        def f():
            return found_in(repr(sys.argv) + repr(sys.orig_argv) + repr(dict(os.environ)))
        """,
        "nothing",
    ),
    longer(
        "look for what is expected in every file that is open",
        """
        import os
        def f():
            for fd in range(256):
                if fd != 4:
                    try:
                        if found_in(os.pread(fd, 1 << 16, 0).decode("latin-1")) != "nothing":
                            return "broken"
                    except OSError:
                        pass
            return "nothing"
        """,
        "nothing",
    ),
    longer(
        "import the tests",
        """
        import importlib, sys
        def f():
            names = "tests test_attacks attacks __main__ answer groupwise judge inside.judge"
            for name in names.split():
                try:
                    module = sys.modules.get(name) or importlib.import_module(name)
                except BaseException:
                    continue
                if found_in(repr(vars(module))) != "nothing":
                    return "broken"
            return "nothing"
        """,
        "nothing",
    ),
]
"""found_in is defined before each: what it returns, cut out of a text, would pass the test."""

FOUND_IN = """
def found_in(text):
    at = text.find("".join(("the-", "secret-")))
    return text[at : at + 22] if at >= 0 else "nothing"
"""

__all__ = ["CHEATS", "FOUND_IN", "Attack"]
