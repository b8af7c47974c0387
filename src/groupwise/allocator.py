"""Keeps freed memory in the process, so that big tensors are not paged in anew at every step."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt(3)."""


def keep_freed_memory() -> bool:
    """Tell glibc to take large blocks from the heap and to keep them; True where that was possible.

    By default a block over 32 MiB is mapped, zeroed page by page as it is touched, and unmapped when
    freed. A training step frees and asks for the same blocks again and again; without the paging it took
    8 to 15 % less time (docs/log.md). Call it before the first large allocation.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    return all([mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, 2**31 - 1), mallopt(M_TOP_PAD, 2**26)])
