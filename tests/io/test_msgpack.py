"""MessagePack is read as another library writes it, and damaged data is a ValueError."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from srsly import msgpack_dumps

from tagger.io.msgpack import Reader

SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from([31, 32, 255, 256, 65_535, 65_536]).map("x".__mul__),
    st.sampled_from([0, 255, 256, 65_535, 65_536]).map(bytes),
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=17) | st.dictionaries(st.text(max_size=3), inner, max_size=17)
)


def read(reader: Reader, like: Any) -> Any:
    """Returns the next value, which has the shape of another one."""
    if isinstance(like, list):
        assert reader.read_size("list") == len(like)
        return [read(reader, inner) for inner in like]
    if isinstance(like, dict):
        assert reader.read_size("map") == len(like)
        return {reader.read(): read(reader, inner) for inner in like.values()}
    return reader.read()


@settings(max_examples=100, deadline=None)
@given(VALUE)
def test_values_are_those_that_another_library_wrote(value: Any) -> None:
    data = msgpack_dumps(value)
    reader = Reader(data)
    assert read(reader, value) == value
    assert reader.is_at_end
    skipping = Reader(data + b"\x07")
    skipping.skip()
    assert (skipping.read(), skipping.is_at_end) == (7, True)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for function in (Reader.read, Reader.skip, lambda reader: reader.read_size("list")):
        with suppress(ValueError):
            function(Reader(data))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "the data ends within a value"),
        (b"\xd9\x05ab", "the data ends within a value"),
        (b"\xc1", "the byte 0xc1 begins no value"),
        (b"\x90", "expected a value, found a list"),
        (b"\xd4\x01\x02", "expected a value, found a extension"),
    ],
)
def test_what_is_no_value_is_said(data: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Reader(data).read()


def test_a_list_that_promises_much_takes_no_memory() -> None:
    with pytest.raises(ValueError, match="ends within"):
        Reader(b"\xdd\xff\xff\xff\xff").skip()
