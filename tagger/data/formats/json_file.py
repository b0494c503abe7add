"""JSON: an array of records, an object with one such array, or records one after another, as annotation tools export.

The file is in memory while it is read. JSON lines, one record per line, take no memory for the file.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tagger.data.formats import rows
from tagger.data.formats.fields import unpack
from tagger.data.formats.reading import ReadOptions, shorten
from tagger.data.sentence import Record
from tagger.errors import DataError
from tagger.io import json_files, line_reader

_MAX_BYTES = 1 << 28
_SPACE = re.compile(r"[ \t\r\n]*")
_NEXT = re.compile(r"[ \t]*,?[ \t]*[\[{\"n]")  # another record on the same line
_NULLS = "records that are null"


class _Value(NamedTuple):
    """A JSON value, and its bounds in the text of the file."""

    value: Any
    start: int
    end: int


class _Row(NamedTuple):
    """A record, its number from 1, the number of its first line, its text, and whether other records share a line."""

    value: Any
    number: int
    line: int
    raw: str
    is_sharing: bool

    def locate(self, name: str) -> str:
        """Returns the location of the record in a file, for messages."""
        return f"{name}:{self.line}" + f", record {self.number}" * self.is_sharing


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields the records of a source. The document's number counts them from 0.

    Raises:
        DataError: the source is not valid JSON, is too large or holds no records; or, without `options.reject`, a
            record is not an object, is too large, or has neither text nor tokens.
    """
    for number, row in enumerate(_read_rows(source, options), 1):
        try:
            _check_size(row, options)
            yield rows.record(unpack(row.value), number, options, line=row.line, size=len(row.raw))
        except ValueError as error:
            _refuse(row, error, options)


def read_tagged_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record with tags for each record that is training data; see `rows.TaggedRows` for errors."""
    tagged_rows = rows.TaggedRows(options)
    for number, row in enumerate(_read_rows(source, options), 1):
        try:
            _check_size(row, options)
            location = row.locate(options.name)
            record = tagged_rows.record(unpack(row.value), number, location, line=row.line, size=len(row.raw))
        except ValueError as error:
            _refuse(row, error, options)
            continue
        if record is not None:
            yield _number_sentences(record, row.number) if row.is_sharing else record


def _number_sentences(record: Record, number: int) -> Record:
    return replace(record, sentences=tuple([replace(sentence, record=number) for sentence in record.sentences]))


def read_raw_rows(source: Path | BinaryIO, options: ReadOptions) -> Iterator[tuple[Any, str]]:
    """Yields the value and the text of each record that is not null; see `read_records` for errors."""
    return ((row.value, row.raw) for row in _read_rows(source, options))


def read_located_rows(source: Path, options: ReadOptions) -> Iterator[tuple[Any, str]]:
    """Yields the value and the location of each record that is not null; see `read_records` for errors."""
    return ((row.value, row.locate(options.name)) for row in _read_rows(source, options))


def _refuse(row: _Row, error: Exception, options: ReadOptions) -> None:
    options.refuse(f"{row.locate(options.name)}: {error}", row.line, row.raw[: line_reader.MAX_REJECT_BYTES], error)


def _check_size(row: _Row, options: ReadOptions) -> None:
    limit = options.max_record_bytes
    if len(row.raw) > limit // 4 and len(row.raw.encode(errors="surrogatepass")) > limit:
        size = line_reader.format_size(limit)
        raise ValueError(f"a record of over {size}; raise `max_record_bytes` to read it")


def _read_rows(source: Path | BinaryIO, options: ReadOptions) -> Iterator[_Row]:
    """Yields the records of a source that are not null.

    Raises:
        DataError: the source is not valid JSON, is too large, or holds no records.
    """
    text = _read_text(source, options.name)
    line, counted, previous_end = 1, 0, 0
    try:
        for number, (value, start, end) in enumerate(_find_records(text), 1):
            line, counted = line + text.count("\n", counted, start), start
            is_sharing = (number > 1 and "\n" not in text[previous_end:start]) or _NEXT.match(text, end) is not None
            row, previous_end = _Row(value, number, line, text[start:end], is_sharing), end
            if value is None:
                options.notices.add(_NULLS, f"{row.locate(options.name)}: skipped")
            else:
                yield row
    except ValueError as error:
        raise DataError(f"{options.name}: {error}") from error


def _read_text(source: Path | BinaryIO, name: str) -> str:
    lines, size = [], 0
    for number, line in line_reader.read_lines(source, name, max_record_bytes=_MAX_BYTES):
        size += len(line)
        if size > _MAX_BYTES:
            limit = line_reader.format_size(_MAX_BYTES)
            raise DataError(f"{name}: JSON of over {limit}; convert it to JSON lines, one record per line")
        lines.append(line.removeprefix("\ufeff") if number == 1 else line)
    return "".join(lines)


def _find_records(text: str) -> Iterator[_Value]:
    start = _skip_space(text, 0)
    if start == len(text):
        return
    if text[start] == "[":
        if text.startswith('"', _skip_space(text, start + 1)):  # a pair: [text, {"entities": …}]
            yield from _parse_values(text, start)
            return
        end = _skip_space(text, (yield from _parse_array(text, start)))
        if end < len(text):
            raise ValueError(f"not JSON: Extra data at character {end + 1}")
        return
    value, end = json_files.parse_at(text, start)
    if _skip_space(text, end) < len(text) or _is_record(value):
        yield from _parse_values(text, start)
        return
    names = [name for name, values in value.items() if _holds_records(values)] if isinstance(value, dict) else []
    if len(names) != 1:
        present = shorten(", ".join(map(repr, names or (value if isinstance(value, dict) else [value]))))
        raise ValueError(f"expected an array of records, or an object with one such array, found {present}")
    yield from next(_parse_array(text, index) for name, index in _find_members(text, start) if name == names[0])


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and (
        isinstance(value.get("text"), str) or "tokens" in value or isinstance(value.get("paragraphs"), list)
    )


def _holds_records(values: Any) -> bool:
    return isinstance(values, list) and any(isinstance(value, dict | list) for value in values)


def _parse_values(text: str, index: int) -> Iterator[_Value]:
    """Yields the values that follow one another from an index to the end of the text."""
    while (start := _skip_space(text, index)) < len(text):
        value, index = json_files.parse_at(text, start)
        yield _Value(value, start, index)


def _parse_array(text: str, index: int) -> Generator[_Value, None, int]:
    """Yields the values of the array that begins at an index; returns the index after the array."""
    start = _skip_space(text, index + 1)
    if text.startswith("]", start):
        return start + 1
    while True:
        value, end = json_files.parse_at(text, start)
        yield _Value(value, start, end)
        end = _skip_space(text, end)
        if text.startswith("]", end):
            return end + 1
        if not text.startswith(",", end):
            raise ValueError(f"not JSON: Expecting ',' delimiter at character {end + 1}")
        start = _skip_space(text, end + 1)


def _find_members(text: str, index: int) -> Iterator[tuple[str, int]]:
    """Yields the name of each member of a valid object, and the index at which its value begins."""
    index = _skip_space(text, index + 1)
    while text[index] != "}":
        name, index = json_files.parse_at(text, index)
        start = _skip_space(text, _skip_space(text, index) + 1)
        yield name, start
        _, index = json_files.parse_at(text, start)
        index = _skip_space(text, index)
        if text[index] == ",":
            index = _skip_space(text, index + 1)


def _skip_space(text: str, index: int) -> int:
    match = _SPACE.match(text, index)
    return match.end() if match else index
