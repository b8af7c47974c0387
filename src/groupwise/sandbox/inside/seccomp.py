"""A filter of system calls: what plain computing needs is allowed, all else refused or fatal.

Allowed by number, so a call that a newer kernel brings is refused until somebody adds it here. Files can be
opened for reading only. No sockets, no processes, no threads, no signals to anyone.
"""

from __future__ import annotations

import ctypes
import os
import struct

# name: (x86-64, aarch64), None where the architecture has no such call
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "lseek": (8, 62), "pread64": (17, 67),
    "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "fstat": (5, 80), "stat": (4, None),
    "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291), "access": (21, None),
    "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78),
    "getdents64": (217, 61), "getcwd": (79, 17), "statfs": (137, 43), "fstatfs": (138, 44),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "brk": (12, 214),
    "madvise": (28, 233), "futex": (202, 98), "membarrier": (324, 283), "rseq": (334, 293),
    "set_robust_list": (273, 99), "set_tid_address": (218, 96), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "getrusage": (98, 165), "getrlimit": (97, 163), "sysinfo": (99, 179), "uname": (63, 160),
    "getrandom": (318, 278), "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158), "exit": (60, 93),
    "exit_group": (231, 94),
}  # fmt: skip
_FATAL: dict[str, tuple[int | None, int | None]] = {
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438), "kcmp": (312, 272), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "mount": (165, 40),
    "umount2": (166, 39), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "pivot_root": (155, 41), "chroot": (161, 51), "setns": (308, 268), "unshare": (272, 97),
    "open_by_handle_at": (304, 265), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224),
}  # fmt: skip
"""No honest answer calls these: the process ends with SIGSYS, and the verdict says so."""
_OPEN = {"open": (2, None, 1), "openat": (257, 56, 2)}
"""Number, number, and which argument holds the flags."""
_FCNTL, _PRLIMIT = (72, 25), (302, 261)

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0o20000000  # O_TMPFILE
_SAFE_FCNTL = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC; not F_SETOWN

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # 1 is EPERM
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_PR_SET_SECCOMP, _FILTER = 22, 2


class Filter:
    """The program, built once in the fork server and put on each child."""

    def __init__(self, machine: str) -> None:
        """Raises OSError on an architecture whose call numbers are not in the tables."""
        if machine not in _ARCHITECTURES:
            raise OSError(f"no table of system calls for {machine}")
        self.program = _program(*_ARCHITECTURES[machine])
        self.buffer = ctypes.create_string_buffer(self.program)
        words = struct.pack("HxxxxxxP", len(self.program) // 8, ctypes.addressof(self.buffer))
        self.pointer = ctypes.create_string_buffer(words)

    def apply(self, libc: ctypes.CDLL) -> None:
        """For this process and for good; no_new_privs must be set. Raises OSError."""
        if libc.prctl(_PR_SET_SECCOMP, _FILTER, self.pointer, 0, 0):
            code = ctypes.get_errno()
            raise OSError(code, f"no seccomp filter: {os.strerror(code)}")


def _program(column: int, architecture: int) -> bytes:
    code = [_step(_LOAD, _ARCH), _step(_EQUAL, architecture, 1, 0), _step(_RETURN, _KILL)]
    code.append(_step(_LOAD, _NUMBER))
    if column == 0:  # the x32 calls of an x86-64 kernel have numbers of their own
        code += [_step(_AT_LEAST, 0x40000000, 0, 1), _step(_RETURN, _KILL)]
    for numbers in _ALLOWED.values():
        code += _when(numbers[column], [_step(_RETURN, _ALLOW)])
    for numbers in _FATAL.values():
        code += _when(numbers[column], [_step(_RETURN, _KILL)])
    for *opening, at in _OPEN.values():
        flags = [_step(_LOAD, _argument(at)), _step(_ANY_BIT, _WRITING, 0, 1), _step(_RETURN, _REFUSE)]
        code += _when(opening[column], [*flags, _step(_RETURN, _ALLOW)])
    commands = [s for c in _SAFE_FCNTL for s in (_step(_EQUAL, c, 0, 1), _step(_RETURN, _ALLOW))]
    code += _when(_FCNTL[column], [_step(_LOAD, _argument(1)), *commands, _step(_RETURN, _REFUSE)])
    asking = [s for at in (0, 4) for s in _must_be_zero(_argument(2) + at)]
    code += _when(_PRLIMIT[column], [*asking, _step(_RETURN, _ALLOW)])
    return b"".join([*code, _step(_RETURN, _REFUSE)])


def _must_be_zero(offset: int) -> list[bytes]:
    return [_step(_LOAD, offset), _step(_EQUAL, 0, 1, 0), _step(_RETURN, _REFUSE)]


def _argument(n: int) -> int:
    """Offset of the low half of an argument; both architectures are little-endian."""
    return _ARGUMENTS + 8 * n


def _when(number: int | None, steps: list[bytes]) -> list[bytes]:
    return [] if number is None else [_step(_EQUAL, number, 0, len(steps)), *steps]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
