"""Reads and writes the JSON that the toolkit stores: bounded in size, valid by RFC 8259, checked against a type."""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

MAX_DEPTH = 100
"""Objects and arrays inside one another."""
_Kind = TypeVar("_Kind")


def dump(value: object, *, indent: int | None = None) -> bytes:
    """Returns a value as JSON in UTF-8.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(value, indent=indent, allow_nan=False).encode()


def parse(data: bytes | str) -> Any:
    """Returns the value of a JSON text.

    Raises:
        ValueError: the text is not valid JSON in UTF-8, repeats a key, nests too deeply or holds a number that a
            double cannot hold.
    """
    try:
        text = data.decode() if isinstance(data, bytes) else data
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite, parse_int=_whole
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte {error.start + 1}") from None
    except RecursionError:
        raise ValueError(f"nested over {MAX_DEPTH} levels deep") from None
    if _depth(value) > MAX_DEPTH:
        raise ValueError(f"nested over {MAX_DEPTH} levels deep")
    return value


def checked(kind: type[_Kind], data: bytes | str) -> _Kind:
    """Returns a JSON text as a value of a type.

    The type is a dataclass, or built of `str`, `int`, `float`, `bool`, `None`, `Any`, `list`, `tuple`, `dict`,
    `Counter`, `Literal` and unions. An object must have exactly the fields of its dataclass. An array may stand for a
    tuple. Strings may hold lone surrogates, which stand for bytes of file names; pydantic refuses these.

    Raises:
        ValueError: as `parse`, or the value is of another type; the message is one line.
    """
    value: _Kind = _converted(kind, parse(data), "")
    return value


def _converted(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or (origin is Literal and any(type(one) is type(value) and one == value for one in arguments)):
        return value
    if is_dataclass(kind) and isinstance(value, dict):
        return _converted_fields(kind, value, path)
    if origin in (Union, UnionType):
        return _converted(next((one for one in arguments if _fits(one, value)), arguments[0]), value, path)
    if origin in (list, tuple) and isinstance(value, list):
        kinds = arguments if origin is tuple and arguments[-1] is not Ellipsis else arguments[:1] * len(value)
        if len(kinds) != len(value):
            raise ValueError(f"{path or 'value'}: expected {len(kinds)} items, found {len(value)}")
        return origin(
            _converted(one, item, f"{path}[{n}]") for n, (one, item) in enumerate(zip(kinds, value, strict=True))
        )
    if origin in (dict, Counter) and isinstance(value, dict):
        inner = int if origin is Counter else arguments[1]
        return origin({name: _converted(inner, item, f"{path}[{name[:60]!r}]") for name, item in value.items()})
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind and not (kind is None and value is None):
        raise ValueError(f"{path or 'value'}: expected {_name(kind)}, found {_name(type(value))}")
    return value


def _converted_fields(kind: Any, value: dict[str, Any], path: str) -> Any:
    kinds = _hints(kind)
    before = f"{path}." if path else ""
    if missing := [name for name in kinds if name not in value]:
        raise ValueError(f"{before}{missing[0]}: field required")
    if unknown := [name for name in value if name not in kinds]:
        raise ValueError(f"{before}{unknown[0][:60]!r}: unknown field")
    return kind(**{name: _converted(one, value[name], before + name) for name, one in kinds.items()})


def _fits(kind: Any, value: Any) -> bool:
    """Returns whether a value is of the outer type of a union's part."""
    outer = get_origin(kind) or kind
    shape = {list: list, tuple: list, dict: dict, Counter: dict, float: int | float, None: NoneType}
    if outer is Literal:
        return value in get_args(kind)
    known: Any = dict if is_dataclass(outer) else shape.get(outer, outer)
    return isinstance(value, known) and (outer is bool or not isinstance(value, bool))


def _name(kind: Any) -> str:
    names = {dict: "object", list: "array", tuple: "array", Counter: "object", NoneType: "null"}
    outer = get_origin(kind) or kind
    return "object" if is_dataclass(outer) else names.get(outer, getattr(outer, "__name__", str(outer)))


_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {repeated[:60]!r} occurs twice")
    return names


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _whole(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"the number {text[:20]}… is too large")
    return int(text)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth
