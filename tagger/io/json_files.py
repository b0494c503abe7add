"""Reads and writes JSON: limited nesting, valid by RFC 8259, validated against a type."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

MAX_DEPTH = 100
"""Levels of nested objects and arrays."""
_T = TypeVar("_T")


def dump(value: object, *, indent: int | None = None) -> bytes:
    """Returns a value as JSON in UTF-8.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(value, indent=indent, allow_nan=False).encode()


def describe(value: object, *, limit: int = 60) -> str:
    r"""Returns a value for a message: as JSON in one line, with an ellipsis after `limit` characters.

    >>> describe(None), describe([True, "a b"])
    ('null', '[true, "a b"]')
    >>> print(describe("\x7f\x1b"))
    "\u007f\u001b"
    """
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):  # no JSON value, such as a date of a table
        text = repr(value)
    # Characters that a terminal would obey, and lone surrogates, are escaped.
    escaped = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text[: limit + 1])
    escaped = escaped.replace("\x7f", "\\u007f")  # which JSON does not escape
    return escaped if len(escaped) <= limit else f"{escaped[:limit]}…"


def parse_at(text: str, start: int) -> tuple[Any, int]:
    """Returns the JSON value that begins at an index of a text, and the index after it; integers may be long.

    Raises:
        ValueError: as `parse`.
    """
    with _errors_of_parsing():
        value, end = _LONG_INTEGERS.raw_decode(text, start)
    _check_depth(value, text, start, end)
    return value, end


def parse(data: bytes | str, *, allow_long_integers: bool = False) -> Any:
    """Returns the value of a JSON text.

    Args:
        data: the text.
        allow_long_integers: whether integers may have as many digits as Python parses, instead of 20 characters.

    Raises:
        ValueError: the text is not valid JSON in UTF-8, repeats a key, nests too deeply or has a number beyond the
            range of a double.
    """
    with _errors_of_parsing():
        text = data.decode() if isinstance(data, bytes) else data
        value = (_LONG_INTEGERS if allow_long_integers else _SHORT_INTEGERS).decode(text)
    _check_depth(value, text, 0, len(text))
    return value


@contextmanager
def _errors_of_parsing() -> Iterator[None]:
    try:
        yield
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte {error.start + 1}") from None
    except RecursionError:
        raise ValueError(f"nested over {MAX_DEPTH} levels deep") from None


def _check_depth(value: Any, text: str, start: int, end: int) -> None:
    if text.count("[", start, end) + text.count("{", start, end) > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError(f"nested over {MAX_DEPTH} levels deep")


def parse_as(kind: type[_T], data: bytes | str) -> _T:
    """Returns the value of a JSON text, converted to a type.

    The type is a dataclass or consists of `str`, `int`, `float`, `bool`, `None`, `Any`, `list`, `tuple`, `dict`,
    `Counter`, `Literal` and unions. An object must have exactly the fields of its dataclass. An array
    becomes a tuple if the type asks for one. Strings may have lone surrogates, which encode bytes of file names;
    pydantic refuses these.

    Raises:
        ValueError: as `parse`, or the value has another type; the message is one line.
    """
    value: _T = _convert(kind, parse(data), "")
    return value


def _convert(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or (
        origin is Literal and any(type(choice) is type(value) and choice == value for choice in arguments)
    ):
        return value
    if is_dataclass(kind) and isinstance(value, dict):
        return _convert_fields(kind, value, path)
    if origin in (Union, UnionType):
        return _convert(next((member for member in arguments if _matches(member, value)), arguments[0]), value, path)
    if origin in (list, tuple) and isinstance(value, list):
        kinds = arguments if origin is tuple and arguments[-1] is not Ellipsis else arguments[:1] * len(value)
        if len(kinds) != len(value):
            raise ValueError(f"{path or 'value'}: expected {len(kinds)} items, found {len(value)}")
        return origin(
            _convert(item_kind, item, f"{path}[{n}]")
            for n, (item_kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if origin in (dict, Counter) and isinstance(value, dict):
        inner = int if origin is Counter else arguments[1]
        return origin({name: _convert(inner, item, f"{path}[{name[:60]!r}]") for name, item in value.items()})
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind and not (kind is None and value is None):
        raise ValueError(f"{path or 'value'}: expected {_type_name(kind)}, found {_type_name(type(value))}")
    return value


def _convert_fields(kind: Any, value: dict[str, Any], path: str) -> Any:
    kinds = _type_hints(kind)
    prefix = f"{path}." if path else ""
    if missing := [name for name in kinds if name not in value]:
        raise ValueError(f"{prefix}{missing[0]}: field required")
    if unknown := [name for name in value if name not in kinds]:
        raise ValueError(f"{prefix}{unknown[0][:60]!r}: unknown field")
    return kind(**{name: _convert(field_kind, value[name], prefix + name) for name, field_kind in kinds.items()})


def _matches(kind: Any, value: Any) -> bool:
    """Returns whether a value is an instance of a union member's outermost type."""
    outer = get_origin(kind) or kind
    shape = {list: list, tuple: list, dict: dict, Counter: dict, float: int | float, None: NoneType}
    if outer is Literal:
        return value in get_args(kind)
    known: Any = dict if is_dataclass(outer) else shape.get(outer, outer)
    return isinstance(value, known) and (outer is bool or not isinstance(value, bool))


def _type_name(kind: Any) -> str:
    names = {dict: "object", list: "array", tuple: "array", Counter: "object", NoneType: "null"}
    outer = get_origin(kind) or kind
    return "object" if is_dataclass(outer) else names.get(outer, getattr(outer, "__name__", str(outer)))


_type_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {repeated[:60]!r} occurs twice")
    return names


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _parse_integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"the number {text[:20]}… is too large")
    return int(text)


def _parse_long_integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python limits the digits, because the time to parse them is quadratic
        raise ValueError(f"the number {text[:20]}… of {len(text)} digits is too large") from None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


_SHORT_INTEGERS, _LONG_INTEGERS = (
    json.JSONDecoder(
        object_pairs_hook=_build_object, parse_constant=_refuse_constant, parse_float=_parse_float, parse_int=parse_int
    )
    for parse_int in (_parse_integer, _parse_long_integer)
)
