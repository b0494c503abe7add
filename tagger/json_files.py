"""Reads and writes the JSON that the toolkit stores: bounded in size, valid by RFC 8259, checked against a type."""

import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

MAX_DEPTH = 100
"""Objects and arrays inside one another."""
_Kind = TypeVar("_Kind")
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)  # building an adapter takes milliseconds


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
    """Returns a JSON text as a value of a type; an object must have exactly the fields of its dataclass.

    Raises:
        ValueError: as `parse`, or the value is of another type; the message is one line.
    """
    raw = parse(data)
    adapter: TypeAdapter[_Kind] = _adapter(kind)
    try:
        value = adapter.validate_json(data, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}") from None
    _compare_keys(raw, adapter.dump_python(value, mode="json"), "")
    return value


def _compare_keys(raw: Any, known: Any, path: str) -> None:
    """Raises ValueError unless two values have the same keys at every level."""
    if isinstance(raw, dict) and isinstance(known, dict):
        if missing := known.keys() - raw.keys():
            raise ValueError(f"{path}{min(missing)}: field required")
        if extra := raw.keys() - known.keys():
            raise ValueError(f"{path}{min(extra)[:60]!r}: unknown field")
        for key, value in raw.items():
            _compare_keys(value, known[key], f"{path}{key}.")
    elif isinstance(raw, list) and isinstance(known, list):
        for index, (value, other) in enumerate(zip(raw, known, strict=True)):
            _compare_keys(value, other, f"{path}{index}.")


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
