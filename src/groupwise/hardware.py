"""What the machine has: the memory that a run may take, and how fast it computes and reads."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

MEASURED_SECONDS = 0.3
"""Time that a rate is measured for."""


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of the device that a run computes on, in bytes."""

    available: int
    """What this process may come to hold: what is free, and what it holds already."""
    total: int
    process: int
    """What it holds already; 0 on a GPU, whose free memory tells."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured."""

    flops: float
    """Operations per second in a large matrix product."""
    bandwidth: float
    """Bytes per second read and written in a copy."""


def room(device: torch.device) -> Room:
    """Memory of a device now."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Room(free + torch.cuda.memory_reserved(device), total, 0)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    held = _resident()
    free = _field("/proc/meminfo", "MemAvailable", total - held)
    for limit, used in _control_groups():
        total, free = min(total, limit), min(free, max(0, limit - used))
    return Room(free + held, total, held)


def _resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    return _field("/proc/self/status", "VmRSS", 0)


def _field(path: str, name: str, otherwise: int) -> int:
    """A line `name: N kB` of a file in /proc, in bytes."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:  # another system
        return otherwise
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else otherwise


def _control_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[tuple[int, int]]:
    """(limit, in use) of the groups around this process that have a limit, in bytes.

    In a container the machine's free memory says nothing: its group's limit ends the process.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base, names = (root / "memory", OLD) if controllers else (root, NEW)
        place = base / path.lstrip("/")
        for folder in (place, *place.parents):
            if not folder.is_relative_to(base):
                break
            found += _limit(folder, *names)
    return found


NEW = ("memory.max", "memory.current", "inactive_file")
OLD = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Names in control groups of version 2 and 1: limit, use, and what of it is cache that gives way."""


def _limit(folder: Path, limit: str, used: str, cache: str) -> list[tuple[int, int]]:
    try:
        text = (folder / limit).read_text().strip()
        use = int((folder / used).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:  # this group is not ours to see, or has no such file
        return []
    return [] if text == "max" else [(int(text), max(0, use - int(stat.get(cache, 0))))]


# ---------------------------------------------------------------- speed


def rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measured in about a second: the best of several, for neighbours only ever slow it down."""
    n = 8192 if device.type == "cuda" else 1024
    a = torch.randn(n, n, device=device, dtype=dtype)
    source = torch.empty(2**25, device=device)
    target = torch.empty_like(source)
    flops = 2 * n**3 / _best(lambda: a @ a, device)
    bandwidth = 2 * source.nbytes / _best(lambda: target.copy_(source), device)
    return Rates(flops, bandwidth)


def _best(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest call; the first warms up."""
    work()
    best, end = float("inf"), time.perf_counter() + MEASURED_SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


# ---------------------------------------------------------------- its end


REFUSALS = re.compile(
    "can't allocate memory|std::bad_alloc|out of memory|ALLOC_FAILED|Cannot allocate memory"
    # oneDNN, which keeps its status to itself; what it cannot do at all is told of a primitive descriptor
    r"|could not (create|execute) a (primitive|memory object)$",
    re.MULTILINE,
)
"""What torch and the libraries under it say when memory is refused to them."""


def ran_out(error: BaseException) -> bool:
    """Whether an error is memory refused, by Python, by torch on a CPU or on a GPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and REFUSALS.search(str(error)) is not None
