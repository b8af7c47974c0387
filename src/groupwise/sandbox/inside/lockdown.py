"""A process gives up, for good, all that computing an answer does not need."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sysconfig
from collections.abc import Mapping

from .landlock import Ruleset
from .seccomp import Filter

NOBODY = 65534
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")


class Lockdown:
    """What this machine offers, prepared once in the fork server; `apply` is for its children.

    `lacks` names what could not be had.
    """

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.lacks: dict[str, str] = {}
        self.ruleset = self.filter = None
        paths = sysconfig.get_paths()
        self.readable = sorted({paths["stdlib"], paths["platstdlib"], *_LIBRARIES})
        try:
            self.ruleset = Ruleset(self.libc, self.readable)
        except OSError as error:
            self.lacks["landlock"] = str(error)
        try:
            self.filter = Filter(platform.machine())
        except OSError as error:
            self.lacks["seccomp"] = str(error)
        self.becomes_nobody = os.geteuid() == 0 and self._nobody_can_read(paths["stdlib"])

    def leave_the_network(self) -> bool:
        """A network and shared memory of our own, where that is allowed: one layer more."""
        user = 0 if os.geteuid() == 0 else _CLONE_NEWUSER
        return self.libc.unshare(user | _CLONE_NEWNET | _CLONE_NEWIPC) == 0

    def apply(self, limits: Mapping[str, int], strict: bool) -> None:
        """Raises OSError where something that should have worked did not: the child must not go on."""
        os.setsid()
        _limit(limits)
        self._lower_rights()
        self.libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after setresuid, which clears it
        self.libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        if self.libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError("no_new_privs was refused")
        if not strict:
            return
        if self.ruleset is not None:
            self.ruleset.apply()
        if self.filter is None:
            raise OSError(self.lacks["seccomp"])
        self.filter.apply(self.libc)

    def _lower_rights(self) -> None:
        if self.becomes_nobody:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        header = struct.pack("Ii", 0x20080522, 0)  # version 3, this process
        if self.libc.capset(header, bytes(24)):
            raise OSError("capabilities cannot be given up")

    def _nobody_can_read(self, folder: str) -> bool:
        """Asked of a child: a Python below /root is closed to others, and imports would fail."""
        pid = os.fork()
        if pid == 0:
            readable = False
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                os.listdir(folder)
                readable = True
            finally:
                os._exit(0 if readable else 1)
        return os.waitpid(pid, 0)[1] == 0


def _limit(limits: Mapping[str, int]) -> None:
    seconds, memory, output = limits["seconds"], limits["memory"], limits["output"]
    for what, soft, hard in (
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, output, output),
        (resource.RLIMIT_NOFILE, 32, 32),
        (resource.RLIMIT_NPROC, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    ):
        ceiling = resource.getrlimit(what)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(what, (soft, hard))
