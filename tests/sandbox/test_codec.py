"""Values survive the way over, and nothing else does."""

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.sandbox.inside.codec import BYTES, GoneError, UnsendableError, decode, encode, receive, send

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
hashable = st.recursive(
    scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5
)
values = st.recursive(
    scalars | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner) | st.dictionaries(hashable, inner, max_size=3) | st.sets(hashable, max_size=3)
    ),
    max_leaves=10,
)


@given(values)
def test_a_value_comes_back_equal_and_of_the_same_kind(value: object) -> None:
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value)


def test_numbers_come_back_bit_for_bit() -> None:
    assert math.isnan(decode(encode(float("nan"))))
    assert math.copysign(1, decode(encode(-0.0))) == -1
    assert decode(encode(10**5000)) == 10**5000
    assert decode(encode(True)) is True


@pytest.mark.parametrize("value", [object(), print, int, {1: object()}, iter(int, 1), NotImplemented])
def test_what_is_no_plain_value_is_not_sent(value: object) -> None:
    with pytest.raises(UnsendableError):
        encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"[1]",
        b'["x"]',
        b'["i", "zz"]',
        b'["d", 1]',
        b'["d", ["l"], 1]',
        b'["s", ["l"]]',
        b'["r", "a"]',
        b'["b", "0"]',
        b'["c", 1]',
        b"[" * 5000,
        b"9" * 5000,
        b"\xff",
        b'["i"]',
    ],
)
def test_what_was_not_encoded_is_not_decoded(data: bytes) -> None:
    """A reader that raised anything else would let an answer end the tests early."""
    with pytest.raises(UnsendableError):
        decode(data)


def test_frames_are_whole_or_an_error() -> None:
    reading, writing = os.pipe()
    send(writing, b"abc")
    send(writing, b"")
    assert (receive(reading), receive(reading)) == (b"abc", b"")
    os.write(writing, (BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(GoneError, match="are taken"):
        receive(reading)
    os.write(writing, b"\0\0")
    os.close(writing)
    with pytest.raises(GoneError):
        receive(reading)
    os.close(reading)
