"""CSV and TSV with a header line and quoted fields: one token per row, separated by commas, semicolons or tabs.

Sentences end at blank lines, or where the value of a column such as `sentence_id` or `Sentence #` changes; an empty
value there continues the sentence. Documents end where the value of a column such as `document` changes. Without a
header, columns are numbers.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from tagger.data.formats import Layout, escapes, headers
from tagger.data.formats.reading import ReadOptions, record_of, shorten
from tagger.data.formats.writing import Sink, TextSink, WriteOptions, sentence_position
from tagger.data.sentence import Record, Sentence
from tagger.errors import DataError
from tagger.io import line_reader
from tagger.io.line_reader import Unreadable

_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_DELIMITERS = "\t;,"
_RAW_FIELD = {delimiter: re.compile(rf'"(?:[^"]|"")*"(?![^{delimiter}])|[^{delimiter}]*') for delimiter in _DELIMITERS}
_UNSAFE = re.compile(r"[\n\r\0]")
_TAG, _PREDICTED_TAG, _PROBABILITY = "tag", "predicted_tag", "probability"  # names of new columns
_NEW_COLUMNS = ("document", "sentence_id", "token", _TAG)
_MAX_PRECEDING = 1000  # lines before a sentence that are attached to it


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
        document: likewise for its document; None if the file is one document.
        output: the index of the column that tags are written into; None for a new last column.
        new_name: the name of that new column.
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
        self.document = headers.find_document(names) if self.has_header else None
        self.columns = [self._find(layout.token, names, headers.find_token(names) if layout.token == 0 else None)]
        self.new_name = _PREDICTED_TAG if _TAG in names else _TAG
        if tagged:
            tag = -1 if layout.tag is None else layout.tag
            self.columns.append(self._find(tag, names, headers.find_tag(names) if tag == -1 else None))
            if self.columns[0] == self.columns[1]:
                raise ValueError(f"expected token and tag in different columns, found one in {shorten(line)!r}")
        self.output = self.columns[1] if tagged else self._find_output(layout, names)

    def _find_output(self, layout: Layout, names: list[str]) -> int | None:
        """Returns the index of the column that tags are written into, of files to be tagged; None for a new one."""
        tag = layout.tag
        if isinstance(tag, str) and self.has_header and tag not in names:
            self.new_name = tag
            return None
        is_new = tag is None or (isinstance(tag, int) and not -self.count <= tag < self.count)
        if is_new and layout.fixed and tag not in (None, self.count):
            raise ValueError(f"tags cannot be written to column {tag} of {self.count} in {shorten(str(names))}")
        if tag is None or is_new:
            return None
        index = self._find(tag, names, headers.find_tag(names) if tag == -1 else None)
        if index != self.columns[0]:
            return index
        if layout.fixed:
            raise ValueError(f"tags cannot be written to the column of the token, {tag}, in {shorten(str(names))}")
        return None

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

    def fill(self, line: str, tag: str, probability: str) -> str:
        """Returns a row with a tag and perhaps a probability; the rest is unchanged."""
        fields, end = self._split_raw(line)
        if self.output is None:
            fields.append(_quote(tag, self.delimiter))
        else:
            fields[self.output] = _quote(tag, self.delimiter)
        return self.delimiter.join(fields + [probability] * bool(probability)) + end

    def extend_header(self, line: str, *, probabilities: bool) -> str:
        """Returns the header with the names of the new columns."""
        fields, end = self._split_raw(line)
        names = [_quote(self.new_name, self.delimiter)] * (self.output is None) + [_PROBABILITY] * probabilities
        return self.delimiter.join(fields + names) + end

    def _split_raw(self, line: str) -> tuple[list[str], str]:
        """Returns the fields of a line with their quotes, and the end of the line."""
        text = line.removesuffix("\n").removesuffix("\r")
        fields, end = text.split(self.delimiter), line[len(text) :]
        if '"' not in text:
            return fields, end
        pattern, quoted, index = _RAW_FIELD[self.delimiter], [], 0
        while index <= len(text):
            match = pattern.match(text, index)
            assert match is not None  # a field may be empty
            quoted.append(match[0])
            index = match.end() + 1
        return (quoted if len(quoted) == self.count else fields), end


class _TableLine(str):
    """A row or the header of a table, unchanged from the file."""

    __slots__ = ("is_header", "table")
    table: _Table
    is_header: bool

    def __new__(cls, line: str, table: _Table | None = None, *, is_header: bool = False) -> Self:
        text = super().__new__(cls, line)
        if table is not None:  # else pickle sets the attributes
            text.table, text.is_header = table, is_header
        return text


def _quote(text: str, delimiter: str) -> str:
    return '"' + text.replace('"', '""') + '"' if '"' in text or delimiter in text else text


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
        self.sentence_id = self.document_id = ""
        self.document = 0
        self.preceding: list[str] = []  # lines that belong to the next sentence

    def read(self, source: Path | BinaryIO) -> Iterator[Sentence]:
        """Yields the sentences of a source, and lines that belong to none as a sentence without tokens."""
        rows: list[_Row] = []
        size, limit = 0, self.options.max_record_bytes
        for row in self._parse_lines(source):
            if row.is_blank or self._starts_sentence(row):
                yield from self._build_sentence(rows)
                rows, size = [], 0
            if row.is_blank:
                yield from self._flush(_MAX_PRECEDING)
                self.preceding.append(row.line)
                continue
            if not rows:
                self._count_documents(row)
            size += len(row.line)
            if size <= limit:
                rows.append(row)
            elif not rows[-1].fault:
                expected = "expected a blank line or a column sentence_id; raise `max_record_bytes` to read it"
                fault = f"a sentence of over {line_reader.format_size(limit)}; {expected}"
                rows.append(_Row(row.number, "", [], f"{self.options.name}:{row.number}: {fault}"))
        yield from self._build_sentence(rows)
        yield from self._flush(0)

    def _flush(self, limit: int) -> Iterator[Sentence]:
        """Yields the lines before the next sentence as a sentence without tokens, if there are more than a limit."""
        if len(self.preceding) > limit:
            yield Sentence((), document=self.document, raw=tuple(self.preceding))
            self.preceding = []

    def _parse_lines(self, source: Path | BinaryIO) -> Iterator[_Row]:
        """Yields the rows of a source without its header."""
        for number, line in self.options.lines_of_blocks(source):
            if isinstance(line, Unreadable):
                yield _Row(number, line, [], line.fault)
                continue
            if number == 1 and line.startswith("\ufeff"):
                self.preceding.append(line[0])
                line = line[1:]
            text = line.removesuffix("\n").removesuffix("\r")
            try:
                if self.table is None and text.strip():
                    self.table = _Table(text, self.options.layout, tagged=self.tagged)
                    if self.table.has_header:
                        self.preceding.append(_TableLine(line, self.table, is_header=True))
                        continue
            except ValueError as error:
                raise DataError(f"{self.options.name}:{number}: {error}") from error
            try:
                fields = self._parse(text)
                yield _Row(number, _TableLine(line, self.table) if fields else line, fields)
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
        """Returns whether a row has another sentence or document than the rows before; notes the sentence."""
        if not row.fields or self.table is None:
            return False
        sentence = _value(row, self.table.sentence)
        is_new = sentence not in ("", self.sentence_id)
        self.sentence_id = sentence if is_new else self.sentence_id
        return is_new or _value(row, self.table.document) not in ("", self.document_id)

    def _count_documents(self, row: _Row) -> None:
        """Counts a document if the first row of a sentence starts one."""
        name = _value(row, self.table.document) if self.table else ""
        if name not in ("", self.document_id):
            self.document += self.document_id != ""
            self.document_id = name

    def _build_sentence(self, rows: list[_Row]) -> Iterator[Sentence]:
        fault = next((row.fault for row in rows if row.fault), "")
        raw = tuple(row.line for row in rows)
        if fault:
            self.options.refuse(fault, rows[0].number, "".join(raw))
        elif rows and self.table:
            tokens, *tags = (tuple(row.fields[column] for row in rows) for column in self.table.columns)
            yield Sentence(
                tokens,
                tags=escapes.unescape(tags[0]) if tags else (),
                document=self.document,
                line=rows[0].number,
                raw=(*self.preceding, *raw),
            )
            self.preceding = []


def _value(row: _Row, column: int | None) -> str:
    return row.fields[column] if row.fields and column is not None else ""


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of CSV. Sentences read from CSV are written back unchanged except for the tags."""
    if options.input_format == "csv" and options.writes_back:
        return TextSink(lambda record: "".join("".join(_write_back(each, options)) for each in record.sentences))
    names = (*_NEW_COLUMNS, *[_PROBABILITY] * options.probabilities)
    return TextSink(lambda record: "".join(_write_new(record, options)), ",".join(names) + "\n")


def _write_back(sentence: Sentence, options: WriteOptions) -> Iterator[str]:
    tags, probabilities = iter(_escape(sentence.tags)), _format(sentence, options)
    for line in sentence.raw:
        if not isinstance(line, _TableLine):
            yield line
        elif line.is_header:
            yield line.table.extend_header(line, probabilities=options.probabilities)
        else:
            yield line.table.fill(line, next(tags), next(probabilities))


def _write_new(record: Record, options: WriteOptions) -> Iterator[str]:
    """Yields the rows of a record from another format, and a blank line after each sentence."""
    document = _quote(_escape([str(record.document)])[0], ",")
    for number, sentence in enumerate(filter(len, record.sentences), 1):
        position, probabilities = sentence_position(record, sentence, number, options), _format(sentence, options)
        for token, tag in zip(_escape(sentence.tokens), _escape(sentence.tags), strict=True):
            row = [document, position, _quote(token, ","), _quote(tag, ","), *filter(None, [next(probabilities)])]
            yield ",".join(row) + "\n"
        yield "\n"


def _format(sentence: Sentence, options: WriteOptions) -> Iterator[str]:
    probabilities = options.token_probabilities(sentence)
    return (f"{value:.6f}" for value in probabilities) if probabilities else iter([""] * len(sentence))


def _escape(texts: Sequence[str]) -> Sequence[str]:
    """Returns texts as fields, neither empty nor of white space alone."""
    fields = escapes.fields(texts, _UNSAFE)
    return [field if field.strip() else escapes.field(field, escapes.WHITE) for field in fields]
