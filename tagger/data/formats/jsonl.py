"""JSON lines: an object a line, with a text or with tokens; what else it says is carried through."""

import base64
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tagger.data.formats import rows
from tagger.data.formats.reading import ReadOptions
from tagger.data.formats.writing import Sink, TextSink, WriteOptions, skip_empty
from tagger.data.sentence import Record, Reject
from tagger.errors import DataError

log = logging.getLogger(__name__)

_DEEPEST = 100  # objects and lists within one another
_encode_finite = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=lambda value: _plain(value)).encode


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields the record of each line of a source that is not blank; see `read` for errors."""
    return read(options.lines(source), options.name, options.language, reject=options.reject)


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of JSON lines."""
    return TextSink(skip_empty(Writer(options), options))


def read(
    source: Iterable[tuple[int, str]], name: str, language: str, *, reject: Callable[[Reject], None] | None = None
) -> Iterator[Record]:
    """Yields the record of each line that is not blank; its document's number counts lines, from 0.

    Numbers keep their value within what a double holds, whole ones all their digits; a lone surrogate stays one.

    Raises:
        DataError: a line holds no JSON object, one with a field twice, nested over 100 deep, with a number that is too
            large, NaN or Infinity, or with neither text nor tokens; unless `reject` is there to take it.
    """
    for number, line in source:
        text = line.removeprefix("\ufeff") if number == 1 else line
        if not text.strip(" \t\r\n"):
            continue
        try:
            yield rows.record(parse(text), number, language, len(line))
        except ValueError as error:
            fault = f"{name}:{number}: {error}"
            if reject is None:
                raise DataError(fault) from error
            reject(Reject(fault, number, line))


def parse(text: str) -> dict[str, Any]:
    """Returns a JSON object.

    Raises:
        ValueError: it is none, or one that could not be written back as it is.
    """
    try:
        row = json.loads(text, object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant)
        if text.count("[") + text.count("{") > _DEEPEST and _depth(row) > _DEEPEST:
            raise RecursionError
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError(f"nested over {_DEEPEST} deep") from error
    if not isinstance(row, dict):
        raise ValueError(f"expected an object in braces, found {text.strip()[:60]!r}")
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python's bound on what a hostile file may cost
        raise ValueError(f"the number {text[:20]}… of {len(text)} digits is too large") from None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [one for one in level if isinstance(one, dict | list)]
        level = [item for one in inner for item in (one.values() if isinstance(one, dict) else one)]
    return depth - 1


class Writer:
    """Returns tagged records as JSON lines: the fields that came with them, then the document's id and the tagging."""

    def __init__(self, options: WriteOptions) -> None:
        self._wanted = {
            "ranges": options.read_as.has_offsets,
            "probabilities": options.probabilities,
            "alternatives": options.alternatives,
        }
        self._has_logged = False

    def __call__(self, record: Record) -> str:
        """Returns the line of a record; a lone surrogate in it must be written as `dump` does."""
        tagging = record.to_dict(**self._wanted)
        row = {name: value for name, value in record.fields.items() if name not in tagging}
        if not self._has_logged and (replaced := record.fields.keys() & tagging.keys() - {"tokens"}):
            log.info("the input's own %s are replaced by those of the output", ", ".join(sorted(replaced)))
            self._has_logged = True
        row.pop("document", None)
        return f"{_encode(row | {'document': rows.own_document(record)} | tagging)}\n"


def dump(value: Any) -> bytes:
    """Returns a value as JSON in UTF-8, lone surrogates escaped.

    What JSON has no word for is written as a string: times in ISO 8601, decimals in digits, bytes in base64, and
    numbers that are not finite as "NaN", "Infinity" and "-Infinity".
    """
    return _encode(value).encode("utf-8", "backslashreplace")


def _encode(value: Any) -> str:
    try:
        return _encode_finite(value)
    except ValueError:
        return _encode_finite(_finite(value))


def _finite(value: Any) -> Any:
    """Returns a value with strings in place of numbers that are not finite, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
