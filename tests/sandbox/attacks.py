"""Answers that try to earn, take or break what they should not.

`code` defines f; the test asks `f() == SECRET`, and f returns "broken" where the attack had its effect.
So that none fails by a slip of its own, `seen` is what it must end in: a text that f returns, or a reason.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from groupwise.sandbox import Reason

SECRET = "the-secret-is-7c1e5b0d"

PRELUDE = """
import os, sys
def tried(action):
    try:
        result = action()
    except BaseException as error:
        return type(error).__name__
    return "broken"
"""


@dataclass(frozen=True)
class Attack:
    sentence: str
    code: str
    seen: Reason | tuple[str, ...]


REFUSED = ("PermissionError",)
ABSENT = ("PermissionError", "FileNotFoundError")


def one_line(sentence: str, action: str, *seen: str) -> Attack:
    """f returns the name of the exception that stopped `action`."""
    return Attack(sentence, f"def f():\n    return tried(lambda: {action})", seen or REFUSED)


def longer(sentence: str, code: str, *seen: str) -> Attack:
    return Attack(sentence, textwrap.dedent(code), seen)


def ending(sentence: str, code: str, reason: Reason) -> Attack:
    return Attack(sentence, textwrap.dedent(code), reason)


NETWORK = [
    one_line("connect by TCP", "__import__('socket').create_connection(('127.0.0.1', {port}), 1)"),
    one_line("listen on TCP", "__import__('socket').create_server(('127.0.0.1', 0))"),
    one_line(
        "send by UDP",
        "__import__('socket').socket(2, 2).sendto(b'x', ('127.0.0.1', {port}))",
    ),
    one_line("connect to a unix socket", "__import__('socket').socket(1).connect({unix!r})"),
    one_line(
        "connect to an abstract unix socket",
        "__import__('socket').socket(1).connect({abstract!r})",
    ),
    one_line(
        "resolve a name by DNS", "__import__('socket').getaddrinfo('example.com', 80)", "gaierror", *REFUSED
    ),
    one_line("open a raw netlink socket", "__import__('socket').socket(16, 3)"),
]

FILES = [
    one_line("read a file that anybody may read", "open({secret!r}).read()", *ABSENT),
    one_line("read the list of users", "open('/etc/passwd').read()", *ABSENT),
    one_line("read the host's name", "open('/etc/hostname').read()", *ABSENT),
    one_line(
        "list the home folder and find more in it than the way to Python",
        "[n for n in os.listdir({home!r}) if not os.__file__.startswith(os.path.join({home!r}, n))][0]",
        "IndexError",
        *ABSENT,
    ),
    one_line(
        "list the root folder and find a home in it", "os.listdir('/') and os.listdir('/home')", *ABSENT
    ),
    one_line("read the source of its own tests", "open({tests!r}).read()", *ABSENT),
    one_line("write beside the secret", "open({secret!r} + '.new', 'w')", *ABSENT),
    one_line("write into /tmp", "open('/tmp/written-by-an-answer', 'w')", *ABSENT),
    one_line("write into Python's own library", "open(os.__file__, 'a')", "PermissionError", "OSError"),
    one_line("make a folder", "os.mkdir('/tmp/made-by-an-answer')", *ABSENT),
    one_line("delete the secret", "os.unlink({secret!r})", *ABSENT),
    one_line("rename the secret", "os.rename({secret!r}, {secret!r} + '.old')", *ABSENT),
    one_line(
        "link to the secret by name and read the link", "os.symlink({secret!r}, '/tmp/link-of-an-answer')"
    ),
    one_line("link to the secret itself", "os.link({secret!r}, '/tmp/link-of-an-answer')"),
    one_line("make the interpreter run as root", "os.chmod(sys.executable, 0o4755)"),
    one_line("make a device file", "os.mknod('/tmp/device-of-an-answer', 0o600 | 0x2000, 0x103)"),
    longer(
        "write a file without a name",
        """
        def f():
            return tried(lambda: os.open("/tmp", os.O_RDWR | os.O_DIRECTORY | 0o20000000))
        """,
        *ABSENT,
    ),
    one_line("make a file in memory that is not counted", "os.memfd_create('x')"),
]

OTHERS = [
    one_line("signal the trainer", "os.kill({pid}, 0)"),
    one_line("signal its parent", "os.kill(os.getppid(), 9)"),
    one_line("kill everything it may", "os.kill(-1, 9)"),
    one_line("kill its process group", "os.killpg(0, 9)"),
    one_line("read the trainer's memory", "open('/proc/{pid}/mem', 'rb')", *ABSENT),
    one_line("read its parent's command line", "open(f'/proc/{{os.getppid()}}/cmdline').read()", *ABSENT),
    one_line("read its own command line from the kernel", "open('/proc/self/cmdline').read()", *ABSENT),
    one_line("open its own memory", "open('/proc/self/mem', 'r+b')", *ABSENT),
    longer(
        "have a pipe signal the trainer",
        """
        def f():
            import fcntl
            reading, writing = os.pipe()
            return tried(lambda: fcntl.fcntl(reading, fcntl.F_SETOWN, {pid}))
        """,
        *REFUSED,
    ),
    ending(
        "trace its parent",
        """
        import ctypes
        def f():
            libc = ctypes.CDLL(None)
            return "broken" if libc.ptrace(16, os.getppid(), 0, 0) == 0 else "no"
        """,
        Reason.REFUSED,
    ),
    ending(
        "read its parent's memory by a system call",
        """
        import ctypes
        def f():
            libc = ctypes.CDLL(None)
            return "broken" if libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0) >= 0 else "no"
        """,
        Reason.REFUSED,
    ),
]

PROCESSES = [
    one_line("fork", "os.fork()"),
    longer(
        "fork until nothing is left",
        """
        def f():
            n = 0
            for _ in range(1000):
                try:
                    if os.fork() == 0:
                        while True: pass
                    n += 1
                except OSError:
                    pass
            return "broken" if n else "none"
        """,
        "none",
    ),
    longer(
        "leave a daemon behind",
        """
        def f():
            try:
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        while True: pass
                    os._exit(0)
            except OSError as error:
                return type(error).__name__
            return "broken"
        """,
        *REFUSED,
    ),
    longer(
        "start threads until nothing is left",
        """
        def f():
            import threading, time
            try:
                for _ in range(1000):
                    threading.Thread(target=time.sleep, args=(60,)).start()
            except RuntimeError as error:
                return type(error).__name__
            return "broken"
        """,
        "RuntimeError",
    ),
    one_line("start a shell", "__import__('subprocess').run(['/bin/sh', '-c', 'true'])"),
    ending(
        "become another program",
        "def f():\n    os.execve(sys.executable, ['python'], {{}})",
        Reason.REFUSED,
    ),
    ending(
        "enter new namespaces",
        """
        import ctypes
        def f():
            return "broken" if ctypes.CDLL(None).unshare(0x10000000) == 0 else "no"
        """,
        Reason.REFUSED,
    ),
]

KERNEL = [
    one_line("raise its own limits", "__import__('resource').setrlimit(0, (100, 100))", "ValueError"),
    one_line("raise the limit of processes", "__import__('resource').setrlimit(6, (100, 100))", "ValueError"),
    one_line("become root", "os.setuid(0)"),
    one_line("become a group of root", "os.setgroups([0])"),
    one_line("leave by changing the root folder's working folder", "os.chdir('/')"),
    one_line("go first in the processor's queue", "os.nice(-20)"),
    one_line(
        "hold the processor by a timer", "__import__('signal').setitimer(0, 0.001, 0.001)", "itimer_error"
    ),
] + [
    ending(
        sentence,
        f"""
        import ctypes
        def f():
            return "broken" if ctypes.CDLL(None).syscall({{numbers[{name}]}}, 0, 0, 0, 0, 0) >= 0 else "no"
        """,
        Reason.REFUSED,
    )
    for sentence, name in (
        ("mount a file system", "mount"),
        ("load a program into the kernel", "bpf"),
        ("watch the kernel's counters", "perf_event_open"),
        ("look into the kernel's keys", "keyctl"),
        ("set up a ring of system calls", "io_uring_setup"),
        ("open a file by its handle", "open_by_handle_at"),
        ("change the root folder", "chroot"),
    )
]

RESOURCES = [
    longer(
        "take 3 GB of memory",
        """
        def f():
            try:
                return "broken" if bytearray(3 << 30) else ""
            except MemoryError:
                return "MemoryError"
        """,
        "MemoryError",
    ),
    ending(
        "take memory by and by",
        "def f():\n    a = []\n    while True: a.append(bytes(1 << 20))",
        Reason.MEMORY,
    ),
    ending("compute for ever", "def f():\n    while True: pass", Reason.TIMEOUT),
    ending("compute for ever before the tests", "while True: pass", Reason.TIMEOUT),
    ending("sleep", "import time\ndef f():\n    time.sleep(60)", Reason.TIMEOUT),
    ending(
        "compute for ever and catch every exception and signal",
        """
        import signal
        for number in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        def f():
            while True:
                try:
                    while True: pass
                except BaseException: pass
        """,
        Reason.TIMEOUT,
    ),
    ending(
        "flood standard output",
        "def f():\n    while True: os.write(1, b'x' * 65536)",
        Reason.OUTPUT,
    ),
    ending(
        "flood standard error",
        "def f():\n    while True: os.write(2, b'x' * 65536)",
        Reason.OUTPUT,
    ),
    longer(
        "grow its output file without writing",
        """
        def f():
            return tried(lambda: os.ftruncate(1, 1 << 30))
        """,
        *REFUSED,
    ),
    ending("recurse without end", "def f(n=0):\n    return f(n + 1)", Reason.FAILED),
    ending(
        "crash the interpreter",
        "import ctypes\ndef f():\n    ctypes.string_at(0)",
        Reason.CRASH,
    ),
    ending(
        "crash the interpreter by recursion",
        """
        def f():
            sys.setrecursionlimit(1 << 30)
            class A:
                __repr__ = lambda self: repr([self])
            repr(A())
        """,
        Reason.CRASH,
    ),
    ending("nest its source too deep to be read", "x = " + "(" * 5000 + ")" * 5000, Reason.SYNTAX),
    longer(
        "open files until nothing is left",
        """
        def f():
            try:
                return "broken" if [os.dup(1) for _ in range(5000)] else ""
            except OSError as error:
                return type(error).__name__
        """,
        "OSError",
    ),
]
