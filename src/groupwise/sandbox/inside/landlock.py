"""Landlock: from here on no file but the listed folders can be read, and none written."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Sequence

HIGH = 200
"""Its file has at least this number: the low ones become those of a child."""
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_READ = (1 << 2) | (1 << 3)  # files, folders
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Rights that a version of the interface knows; 16 from the fifth on."""
_TCP, _SCOPES = 0b11, 0b11  # bind and connect; abstract sockets and signals


class Ruleset:
    """Made once in the fork server; each child puts it on."""

    def __init__(self, libc: ctypes.CDLL, readable: Sequence[str]) -> None:
        """Raises OSError where the kernel has no Landlock or it is switched off."""
        self.libc = libc
        self.version = self._call(_CREATE, None, ctypes.c_size_t(0), 1)
        rights = (1 << _FILE_RIGHTS.get(self.version, 16)) - 1
        words = [rights]
        if self.version >= 4:
            words.append(_TCP)
        if self.version >= 6:
            words.append(_SCOPES)
        attributes = struct.pack(f"{len(words)}Q", *words)
        low = self._call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
        self.fd = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, HIGH)
        os.close(low)
        for folder in readable:
            self._allow(folder)

    def _allow(self, folder: str) -> None:
        try:
            fd = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        self._call(_ADD, self.fd, 1, struct.pack("=Qi", _READ, fd), 0)
        os.close(fd)

    def apply(self) -> None:
        """For this process and for good; no_new_privs must be set."""
        self._call(_RESTRICT, self.fd, 0)

    def _call(self, *arguments: object) -> int:
        done = self.libc.syscall(*arguments)
        if done < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"no Landlock: {os.strerror(code)}")
        return int(done)
