"""Stored JSON is valid and bounded, and has exactly the fields that its type has."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.io import json_files


@dataclass
class Inner:
    count: int = 0


@dataclass
class Outer:
    name: str = ""
    pair: tuple[int, int] = (0, 0)
    inner: Inner = field(default_factory=Inner)
    counts: dict[str, float] = field(default_factory=dict)
    word: str | int | None = None


WHOLE = '{"name": "a", "pair": [1, 2], "inner": {"count": 3}, "counts": {"x": 0.5}, "word": null}'


def test_a_stored_value_is_read_unchanged() -> None:
    assert json_files.parse_as(Outer, WHOLE) == Outer("a", (1, 2), Inner(3), {"x": 0.5})
    assert json_files.parse_as(Outer, WHOLE.replace("null", "7")).word == 7
    assert json_files.parse_as(Outer, WHOLE.replace("null", r'"\udcff"')).word == "\udcff"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[NaN]", "NaN is not a JSON number"),
        (b"[1e999]", "too large"),
        (b"[" + b"1" * 5000 + b"]", "too large"),
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b"[" * 101 + b"]" * 101, "nested"),
        (b"[" * 100_000, "nested"),
    ],
)
def test_json_beyond_the_limits_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        json_files.parse(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (WHOLE.replace('"count": 3', ""), r"inner\.count: field required"),
        (WHOLE.replace('"count": 3', '"count": 3, "more": 1'), r"'more': unknown field"),
        (WHOLE.replace('"count": 3', '"count": "3"'), r"inner\.count: expected int, found str"),
        (WHOLE.replace("[1, 2]", "[1]"), "pair: expected 2 items, found 1"),
        (WHOLE.replace("[1, 2]", "[1, true]"), r"pair\[1\]: expected int, found bool"),
        (WHOLE.replace("0.5", "null"), r"counts\['x'\]: expected float, found null"),
        (WHOLE.replace('"a"', "[]"), "name: expected str, found array"),
        (WHOLE.replace('"word": null', '"word": 1.5'), "word: expected"),
        ("[]", "value: expected object, found array"),
    ],
)
def test_an_object_has_exactly_the_fields_of_its_type(data: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        json_files.parse_as(Outer, data)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_text_raises_another_exception(data: bytes | str) -> None:
    for read in (json_files.parse, lambda text: json_files.parse_as(Outer, text)):
        fault = ""
        try:
            read(data)
        except ValueError as error:
            fault = str(error)
        assert "\n" not in fault


def test_a_number_that_is_not_finite_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_files.dump({"score": float("nan")})
