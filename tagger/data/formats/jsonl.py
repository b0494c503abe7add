"""JSON lines: one object per line, with a text or with tokens. All other fields are carried to the output."""

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
from tagger.io import json_files

log = logging.getLogger(__name__)

_encode_finite = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=lambda value: _to_string(value)).encode


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each line of a source that is not blank; see `read` for errors."""
    return read(options.lines(source), options.name, options.language, reject=options.reject)


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of JSON lines."""
    return TextSink(skip_empty(Writer(options), options))


def read(
    source: Iterable[tuple[int, str]], name: str, language: str, *, reject: Callable[[Reject], None] | None = None
) -> Iterator[Record]:
    """Yields a record for each line that is not blank. The document's number counts all lines from 0.

    Floating-point numbers become doubles, integers keep all digits, and lone surrogates are preserved.

    Args:
        source: the numbered lines.
        name: the name of the file in errors.
        language: the language of texts.
        reject: is called with each line that cannot be read; None to raise the error.

    Raises:
        DataError: a line is not a JSON object, repeats a field, nests over 100 levels deep, has NaN, Infinity or a
            number that is too large, or has neither text nor tokens.
    """
    for number, line in source:
        text = line.removeprefix("\ufeff") if number == 1 else line
        if not text.strip(" \t\r\n"):
            continue
        try:
            yield rows.record(_parse_row(text), number, language, len(line))
        except ValueError as error:
            fault = f"{name}:{number}: {error}"
            if reject is None:
                raise DataError(fault) from error
            reject(Reject(fault, number, line))


def _parse_row(text: str) -> dict[str, Any]:
    row = json_files.parse(text, allow_long_integers=True)
    if not isinstance(row, dict):
        raise ValueError(f"expected an object in braces, found {text.strip()[:60]!r}")
    return row


class Writer:
    """Formats tagged records as JSON lines: the fields of the source, then the document's id and the tagging."""

    def __init__(self, options: WriteOptions) -> None:
        self._options = {
            "ranges": options.read_as.has_offsets,
            "probabilities": options.probabilities,
            "alternatives": options.alternatives,
        }
        self._has_logged = False

    def __call__(self, record: Record) -> str:
        """Returns the line of a record; the caller escapes lone surrogates as `dump` does."""
        tagging = record.to_dict(**self._options)
        row = {name: value for name, value in record.fields.items() if name not in tagging}
        if not self._has_logged and (replaced := record.fields.keys() & tagging.keys() - {"tokens"}):
            log.info("the input's fields %s are replaced by those of the output", ", ".join(sorted(replaced)))
            self._has_logged = True
        row.pop("document", None)
        return f"{_encode(row | {'document': rows.source_document(record)} | tagging)}\n"


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
