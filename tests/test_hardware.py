"""What the machine has: free memory with the limits of control groups, and refusals of memory."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from groupwise.hardware import _control_groups, ran_out, rates


def group(folder: Path, limit: str, used: int, cache: int, old: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
    (folder / names[0]).write_text(limit + "\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{'total_' if old else ''}inactive_file {cache}\n")


def test_limits_of_the_groups_around_the_process(tmp_path: Path) -> None:
    """Its own group's and those above it; cache that gives way is not in use; `max` is no limit."""
    group(tmp_path / "a" / "b", "1000", 700, 200)
    group(tmp_path / "a", "5000", 900, 0)
    group(tmp_path, "max", 9, 0)
    (tmp_path / "own").write_text("0::/a/b\n")
    assert _control_groups(tmp_path, tmp_path / "own") == [(1000, 500), (5000, 900)]


def test_limits_in_the_older_kind_of_group(tmp_path: Path) -> None:
    group(tmp_path / "memory" / "a", "1000", 700, 200, old=True)
    (tmp_path / "own").write_text("4:memory:/a\n3:cpu:/b\n")
    assert _control_groups(tmp_path, tmp_path / "own") == [(1000, 500)]


def test_a_system_without_groups_has_no_limits(tmp_path: Path) -> None:
    assert _control_groups(tmp_path, tmp_path / "own") == []
    (tmp_path / "own").write_text("0::/somewhere\n")
    assert _control_groups(tmp_path, tmp_path / "own") == []


def test_memory_that_is_refused_is_told_from_other_errors() -> None:
    """The refusal of torch itself, for a block that no machine has."""
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60)
    assert ran_out(refused.value)
    assert ran_out(MemoryError())
    assert ran_out(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert not ran_out(OSError(errno.ENOSPC, "No space left"))
    assert ran_out(RuntimeError("could not create a primitive"))
    assert not ran_out(RuntimeError("could not create a primitive descriptor for an inner product"))
    assert not ran_out(RuntimeError("shapes do not match"))
    assert not ran_out(ValueError("out of memory"))


@pytest.mark.slow
def test_rates_are_positive() -> None:
    found = rates(torch.device("cpu"), torch.float32)
    assert found.flops > 1e8
    assert found.bandwidth > 1e8
