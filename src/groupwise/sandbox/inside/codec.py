"""Values across the wall: exact builtin values as JSON with tags. Nothing is ever called to decode it.

    None, bool, float, str and ints of 64 bits are themselves; the rest is a list with a tag:
    ["l", ...] list, ["t", ...] tuple, ["s", ...] set, ["f", ...] frozenset, ["d", k, v, ...] dict,
    ["g", ...] iterator, ["r", start, stop, step] range, ["b", hex] bytes, ["i", hex] int, ["c", re, im]

An instance of a subclass goes over as the base it inherits from, so what its own `__eq__` says stays behind.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from typing import Any

DEPTH = 60
ITEMS = 200_000
BYTES = 8 << 20
_HEADER = struct.Struct(">I")


class UnsendableError(ValueError):
    """A value that is none of the builtin kinds, or too deep or too large to be sent."""


class GoneError(EOFError):
    """The other side closed the channel or broke its rules."""


def encode(value: Any) -> bytes:
    """Raises UnsendableError where `decode` could not give the value back."""
    data = json.dumps(_Encoder().plain(value, 0)).encode()
    if len(data) > BYTES:
        raise UnsendableError(f"a value of {len(data)} bytes; {BYTES} are taken")
    return data


def decode(data: bytes) -> Any:
    """The value, of exact builtin types. Raises UnsendableError for anything `encode` does not write."""
    try:
        return _value(json.loads(data))
    except UnsendableError:
        raise
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        raise UnsendableError(f"not an encoded value: {type(error).__name__}") from None


def send(fd: int, data: bytes) -> None:
    """One frame: 4 bytes of length, most significant first, and the data."""
    rest = memoryview(_HEADER.pack(len(data)) + data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError as error:
        raise GoneError("the channel is closed") from error


def receive(fd: int) -> bytes:
    (length,) = _HEADER.unpack(_exactly(fd, _HEADER.size))
    if length > BYTES:
        raise GoneError(f"a frame of {length} bytes; {BYTES} are taken")
    return _exactly(fd, length)


def _exactly(fd: int, n: int) -> bytes:
    parts = []
    while n:
        try:
            part = os.read(fd, n)
        except OSError as error:
            raise GoneError("the channel is closed") from error
        if not part:
            raise GoneError("the channel is closed")
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


class _Encoder:
    def __init__(self) -> None:
        self.items = 0

    def plain(self, value: Any, depth: int) -> Any:
        if depth > DEPTH:
            raise UnsendableError(f"a value nested deeper than {DEPTH}")
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is int:
            return value if -(2**63) <= value < 2**63 else ["i", hex(value)]
        if kind is str:
            if len(value) > BYTES:
                raise UnsendableError(f"a text of {len(value)} characters; {BYTES} are taken")
            return value
        return self._tagged(value, kind, depth + 1)

    def _tagged(self, value: Any, kind: type, depth: int) -> Any:
        # Base classes by their own methods: what a subclass overrides is not asked.
        for base, tag in ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "f")):
            if issubclass(kind, base):
                return self._all(tag, base.__iter__(value), depth)
        if issubclass(kind, dict):
            return self._all("d", (part for item in dict.items(value) for part in item), depth)
        if issubclass(kind, int):
            return self.plain(int.__pos__(value), depth)
        if issubclass(kind, float):
            return float.__pos__(value)
        if issubclass(kind, str):
            return self.plain(str.__getitem__(value, slice(None)), depth)
        if kind in (bytes, bytearray):
            return ["b", value.hex()]
        if kind is complex:
            return ["c", value.real, value.imag]
        if kind is range:
            return self._all("r", iter((value.start, value.stop, value.step)), depth)
        if hasattr(kind, "__next__"):
            return self._all("g", iter(value), depth)
        raise UnsendableError(f"a value of type {kind.__name__}")

    def _all(self, tag: str, values: Iterator[Any], depth: int) -> list[Any]:
        found: list[Any] = [tag]
        for value in values:
            self.items += 1
            if self.items > ITEMS:
                raise UnsendableError(f"a value of more than {ITEMS} items")
            found.append(self.plain(value, depth))
        return found


def _value(plain: Any) -> Any:
    if not isinstance(plain, list):
        if isinstance(plain, dict):
            raise UnsendableError("not an encoded value: an object")
        return plain
    tag, rest = plain[0], plain[1:]
    if tag == "i":
        return int(rest[0], 16)
    if tag == "b":
        return bytes.fromhex(rest[0])
    if tag == "c":
        return complex(rest[0], rest[1])
    values = [_value(item) for item in rest]
    if tag == "d":
        return dict(zip(values[::2], values[1::2], strict=True))
    if tag == "r":
        return range(*values)
    kinds: dict[str, Any] = {"l": list, "t": tuple, "s": set, "f": frozenset, "g": iter}
    return kinds[tag](values)
