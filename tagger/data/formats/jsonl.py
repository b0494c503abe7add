"""JSON lines: one object per line, with a text or with tokens. All other fields are carried to the output."""

import base64
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tagger.data.formats import rows
from tagger.data.formats.annotations import is_annotation
from tagger.data.formats.fields import unpack
from tagger.data.formats.reading import ReadOptions
from tagger.data.formats.writing import Sink, TextSink, WriteOptions, skip_empty
from tagger.data.sentence import Record
from tagger.io import json_files

log = logging.getLogger(__name__)

_encode_finite = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=lambda value: _to_string(value)).encode


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each line of a source that is not blank. The document's number counts all lines from 0.

    Floating-point numbers become doubles, integers keep all digits, and lone surrogates are preserved.

    Raises:
        DataError: a line is not a JSON object, repeats a field, nests over 100 levels deep, has NaN, Infinity or a
            number that is too large, or has neither text nor tokens.
    """
    for number, line in options.lines(source):
        if not (text := _strip_mark(number, line)).strip(" \t\r\n"):
            continue
        try:
            yield rows.record(parse_row(text), number, options, size=len(line))
        except ValueError as error:
            options.refuse(f"{options.name}:{number}: {error}", number, line, error)


def read_tagged_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record with tags for each line that is training data; see `rows.TaggedRows` for errors."""
    tagged_rows = rows.TaggedRows(options)
    for number, line in options.lines(source):
        if not (text := _strip_mark(number, line)).strip(" \t\r\n"):
            continue
        location = f"{options.name}:{number}"
        try:
            record = tagged_rows.record(parse_row(text), number, location, size=len(line))
        except ValueError as error:
            options.refuse(f"{location}: {error}", number, line, error)
            continue
        if record is not None:
            yield record


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of JSON lines."""
    return TextSink(skip_empty(Writer(options), options))


def _strip_mark(number: int, line: str) -> str:
    return line.removeprefix("\ufeff") if number == 1 else line


def parse_row(text: str) -> dict[str, Any]:
    """Returns the row of a line: an object, or a pair of a text and an object.

    Raises:
        ValueError: the line is neither, or is not valid JSON.
    """
    return unpack(json_files.parse(text, allow_long_integers=True))


class Writer:
    """Formats tagged records as JSON lines: the fields of the source, then the document's id and the tagging.

    Where the tags are annotations, the fields in which the source has them are left out.
    """

    def __init__(self, options: WriteOptions) -> None:
        self._options = {
            "ranges": options.read_as.has_offsets,
            "probabilities": options.probabilities,
            "alternatives": options.alternatives,
        }
        self._is_annotated = options.is_annotated
        self._has_logged = False

    def __call__(self, record: Record) -> str:
        """Returns the line of a record; the caller escapes lone surrogates as `dump` does."""
        tagging = record.to_dict(**self._options)
        row = {
            name: value
            for name, value in record.fields.items()
            if name not in tagging and not (self._is_annotated and is_annotation(name, value))
        }
        if not (self._has_logged or self._is_annotated) and (
            replaced := record.fields.keys() & tagging.keys() - {"tokens"}
        ):
            log.info("the input's fields %s are replaced by those of the output", ", ".join(sorted(replaced)))
            self._has_logged = True
        row.pop("document", None)
        return dump_line(row | {"document": rows.source_document(record)} | tagging)


def dump_line(value: Any) -> str:
    """Returns a value as a line of JSON; the caller escapes lone surrogates as `dump` does."""
    return f"{_encode(value)}\n"


def dump(value: Any) -> bytes:
    """Returns a value as JSON in UTF-8, lone surrogates escaped.

    Values that JSON does not have become strings: times in ISO 8601, decimals in digits, bytes in base64, and
    numbers that are not finite as "NaN", "Infinity" and "-Infinity".
    """
    return _encode(value).encode("utf-8", "backslashreplace")


def _encode(value: Any) -> str:
    try:
        return _encode_finite(value)
    except ValueError:
        return _encode_finite(_finite(value))


def _finite(value: Any) -> Any:
    """Returns a value with strings instead of numbers that are not finite, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def _to_string(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
