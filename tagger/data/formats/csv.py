"""CSV and TSV with a header line and quoted fields: one token per row, separated by commas, semicolons or tabs.

Sentences end at blank lines, or where the value of a column such as `sentence_id` or `Sentence #` changes; an empty
value there continues the sentence. Without a header, columns are numbers.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tagger.data.formats import Layout, headers
from tagger.data.formats.reading import ReadOptions, record_of, shorten
from tagger.data.sentence import Record, Sentence
from tagger.errors import DataError
from tagger.io import line_reader
from tagger.io.line_reader import Unreadable

_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_DELIMITERS = "\t;,"


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each sentence of a source, untagged; see `read_tagged` for errors."""
    return (record_of(sentence, sentence.document) for sentence in _Reader(options, tagged=False).read(source))


def read_tagged(source: Path | BinaryIO, options: ReadOptions, *, tagged: bool = True) -> Iterator[Sentence]:
    """Yields the sentences of a source with their tags.

    Raises:
        DataError: a column is missing, a row has fewer or more fields than the first or an empty token or tag, a quote
            is not closed in its line, or a sentence is too large.
    """
    return _Reader(options, tagged=tagged).read(source)


class _Table:
    """The separator and the columns of a file, from its first line.

    Attributes:
        has_header: whether the first line is a header.
        count: the number of columns.
        columns: the indices of the columns that are read: the token and, if tags are read, the tag.
        sentence: the index of the column that says which sentence a row belongs to; None if blank lines do.
    """

    def __init__(self, line: str, layout: Layout, *, tagged: bool) -> None:
        plain = _QUOTED.sub("", line)
        self.delimiter = max(_DELIMITERS, key=plain.count)
        names = self.split(line)
        self.count = len(names)
        self.has_header = (
            (headers.is_header(names) if tagged else headers.find_token(names) is not None)
            or layout.token in names
            or (tagged and layout.tag in names)
        )
        self.sentence = headers.find_sentence(names) if self.has_header else None
        self.columns = [self._find(layout.token, names, headers.find_token(names) if layout.token == 0 else None)]
        if tagged:
            tag = -1 if layout.tag is None else layout.tag
            self.columns.append(self._find(tag, names, headers.find_tag(names) if tag == -1 else None))
            if self.columns[0] == self.columns[1]:
                raise ValueError(f"expected token and tag in different columns, found one in {shorten(line)!r}")

    def _find(self, column: int | str, names: list[str], named: int | None) -> int:
        """Returns the index of a column; `named` is that of the column with a usual name, for a default column."""
        if isinstance(column, str):
            if column not in names:
                raise ValueError(f"no column is called '{column}'; the header has {', '.join(names)}")
            return names.index(column)
        if self.has_header and named is not None:
            return named
        if not -self.count <= column < self.count:
            raise ValueError(f"expected a column {column}, found {self.count} columns in {shorten(str(names))}")
        return column % self.count

    def split(self, line: str) -> list[str]:
        """Returns the fields of a line, without quotes.

        Raises:
            ValueError: a quote is not closed, or text follows it.
        """
        if '"' not in line:
            return line.split(self.delimiter)
        try:
            (row,) = csv.reader([line], delimiter=self.delimiter, strict=True)
        except csv.Error as error:
            if self.delimiter == "\t":  # in most such files a quote is a token
                return line.split(self.delimiter)
            raise ValueError(f'{error} in {shorten(line)!r}; expected fields with quotes such as \'"a""b"\'') from error
        return row


class _Row(NamedTuple):
    """A line and its fields, none if it is blank or has a fault."""

    number: int
    line: str
    fields: list[str]
    fault: str = ""

    @property
    def is_blank(self) -> bool:
        """Whether the row ends a sentence."""
        return not self.fault and not any(self.fields)


class _Reader:
    """Reads the sentences of a source; those with a fault are passed to `options.reject`, if that is set."""

    def __init__(self, options: ReadOptions, *, tagged: bool) -> None:
        self.options, self.tagged = options, tagged
        self.table: _Table | None = None
        self.sentence_id = ""

    def read(self, source: Path | BinaryIO) -> Iterator[Sentence]:
        """Yields the sentences of a source."""
        rows: list[_Row] = []
        size, limit = 0, self.options.max_record_bytes
        for row in self._parse_lines(source):
            if row.is_blank or self._starts_sentence(row):
                yield from self._build_sentence(rows)
                rows, size = [], 0
            if row.is_blank:
                continue
            size += len(row.line)
            if size <= limit:
                rows.append(row)
            elif not rows[-1].fault:
                expected = "expected a blank line or a column sentence_id; raise `max_record_bytes` to read it"
                fault = f"a sentence of over {line_reader.format_size(limit)}; {expected}"
                rows.append(_Row(row.number, "", [], f"{self.options.name}:{row.number}: {fault}"))
        yield from self._build_sentence(rows)

    def _parse_lines(self, source: Path | BinaryIO) -> Iterator[_Row]:
        """Yields the rows of a source without its header."""
        for number, line in self.options.lines_of_blocks(source):
            if isinstance(line, Unreadable):
                yield _Row(number, line, [], line.fault)
                continue
            text = line.removesuffix("\n").removesuffix("\r")
            text = text.removeprefix("\ufeff") if number == 1 else text
            try:
                if self.table is None and text.strip():
                    self.table = _Table(text, self.options.layout, tagged=self.tagged)
                    if self.table.has_header:
                        continue
            except ValueError as error:
                raise DataError(f"{self.options.name}:{number}: {error}") from error
            try:
                yield _Row(number, line, self._parse(text))
            except ValueError as error:
                yield _Row(number, line, [], f"{self.options.name}:{number}: {error}")

    def _parse(self, text: str) -> list[str]:
        table = self.table
        fields = table.split(text) if table and text.strip() else []
        if not table or not any(fields):
            return []
        if len(fields) != table.count:
            raise ValueError(f"expected {table.count} columns as above, found {len(fields)} in {shorten(text)!r}")
        if not all(fields[column].strip() for column in table.columns):
            raise ValueError(f"expected a token{' and a tag' * self.tagged}, found none in {shorten(text)!r}")
        return fields

    def _starts_sentence(self, row: _Row) -> bool:
        """Returns whether the value of the sentence's column is another than that of the rows before."""
        value = row.fields[self.table.sentence] if row.fields and self.table and self.table.sentence is not None else ""
        is_new = value not in ("", self.sentence_id)
        self.sentence_id = value if is_new else self.sentence_id
        return is_new

    def _build_sentence(self, rows: list[_Row]) -> Iterator[Sentence]:
        fault = next((row.fault for row in rows if row.fault), "")
        raw = tuple(row.line for row in rows)
        if fault:
            self.options.refuse(fault, rows[0].number, "".join(raw))
        elif rows and self.table:
            tokens, *tags = (tuple(row.fields[column] for row in rows) for column in self.table.columns)
            yield Sentence(tokens, tags=tags[0] if tags else (), line=rows[0].number, raw=raw)
