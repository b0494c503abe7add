"""Lines such as `Ada|NNP|B-PER ran|VBD|O`: a sentence per line, tokens separated by spaces, fields by bars."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from tagger.data.formats import Layout, escapes
from tagger.data.formats.lines import words
from tagger.data.formats.reading import ReadOptions, record_of, shorten
from tagger.data.formats.writing import Sink, TextSink, WriteOptions
from tagger.data.sentence import Record, Sentence

_SEPARATOR = "|"
_UNSAFE = re.compile(r"[\t\n\r\0 |]")
_SPACES = re.compile(r"([ \t]+)")


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each line of a source, untagged; all lines are one document."""
    return (record_of(sentence, sentence.document) for sentence in read_tagged(source, options, tagged=False))


def read_tagged(source: Path | BinaryIO, options: ReadOptions, *, tagged: bool = True) -> Iterator[Sentence]:
    """Yields a sentence with its tags for each line of a source, without tokens for an empty line.

    Raises:
        DataError: a token has fewer fields than the first token of the source, or an empty field that is read.
    """
    fields: _Fields | None = None
    for number, line in options.lines(source):
        items = words(line.removeprefix("\ufeff") if number == 1 else line)
        try:
            if fields is None and items:
                fields = _Fields(items, options.layout, tagged=tagged)
            rows = [fields.parse(item) for item in items] if fields else []
        except ValueError as error:
            options.refuse(f"{options.name}:{number}: {error}", number, line, error)
            continue
        columns = zip(*rows, strict=True) if rows else ((), ())
        tokens, tags = (escapes.unescape(tuple(column)) for column in columns)
        raw = _Line(line, fields) if items and fields else line
        yield Sentence(tokens, tags=tags if tagged else (), line=number, raw=(raw,))


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of such lines. Those read from such lines are written back unchanged except for the tags."""
    if options.input_format == "pipes" and options.writes_back:
        return TextSink(lambda record: "".join(_write_back(sentence, options) for sentence in record.sentences))
    empty = "\n" if options.input_format == "lines" else ""

    def write(record: Record) -> str:
        return "".join(_write_new(sentence, options) for sentence in record.sentences if sentence.tokens) or empty

    return TextSink(write)


def _write_new(sentence: Sentence, options: WriteOptions) -> str:
    columns = [escapes.fields(texts, _UNSAFE) for texts in (sentence.tokens, sentence.tags)]
    columns += [_format(options.token_probabilities(sentence))] * options.probabilities
    return " ".join(map(_SEPARATOR.join, zip(*columns, strict=True))) + "\n"


def _write_back(sentence: Sentence, options: WriteOptions) -> str:
    (line,) = sentence.raw
    if not isinstance(line, _Line):
        return line
    tags = escapes.fields(sentence.tags, _UNSAFE)
    pieces = _SPACES.split(line.rstrip(" \t\r\n"))
    start = next(index for index, piece in enumerate(pieces) if index % 2 == 0 and piece.strip("\ufeff"))
    pieces[start::2] = [line.fields.fill(item, tag) for item, tag in zip(pieces[start::2], tags, strict=True)]
    if options.probabilities:
        pairs = zip(pieces[start::2], _format(options.token_probabilities(sentence)), strict=True)
        pieces[start::2] = map(_SEPARATOR.join, pairs)
    return "".join(pieces) + line[len(line.rstrip(" \t\r\n")) :]


def _format(probabilities: tuple[float, ...]) -> list[str]:
    return [f"{probability:.6f}" for probability in probabilities]


class _Fields:
    """The number of fields of each token, from the first line, and the indices of token and tag.

    `output` is the index of the field that tags are written into; None for a new last field.
    """

    def __init__(self, items: tuple[str, ...], layout: Layout, *, tagged: bool) -> None:
        self.count = min(item.count(_SEPARATOR) for item in items) + 1
        token = layout.number(layout.token)
        tag = layout.number(layout.tag) if tagged and layout.tag is not None else token
        if not all(-self.count <= column < self.count for column in (token, tag)):
            raise ValueError(f"expected token and tag separated by '{_SEPARATOR}', found {shorten(items[0])!r}")
        self.token, self.tag = token % self.count, tag % self.count
        if tagged and self.token == self.tag:
            raise ValueError(f"expected a token and a tag separated by '{_SEPARATOR}', found {shorten(items[0])!r}")
        self.output = self.tag if tagged else self._find_output(layout, items[0])

    def _find_output(self, layout: Layout, item: str) -> int | None:
        if layout.tag is None:
            return None
        number = layout.number(layout.tag)
        exists = -self.count <= number < self.count and number % self.count != self.token
        if layout.fixed and not exists and number != self.count:
            raise ValueError(f"tags cannot be written to field {number} of {shorten(item)!r}")
        return number % self.count if exists else None

    def parse(self, item: str) -> tuple[str, str]:
        """Returns the token and the tag of an item; bars that are too many belong to the token."""
        fields = self._split(item)
        if len(fields) < self.count or not fields[self.token] or not fields[self.tag]:
            raise ValueError(f"expected {self.count} fields separated by '{_SEPARATOR}', found {shorten(item)!r}")
        return fields[self.token], fields[self.tag]

    def fill(self, item: str, tag: str) -> str:
        """Returns an item with a tag; the rest is unchanged."""
        fields = self._split(item)
        index = len(fields) if self.output is None else self.output
        fields[index : index + 1] = [tag]
        return _SEPARATOR.join(fields)

    def _split(self, item: str) -> list[str]:
        fields = item.split(_SEPARATOR)
        if (surplus := len(fields) - self.count) > 0:
            end = self.token + surplus + 1
            fields[self.token : end] = [_SEPARATOR.join(fields[self.token : end])]
        return fields


class _Line(str):
    """A line with tokens, unchanged from the file."""

    __slots__ = ("fields",)
    fields: _Fields

    def __new__(cls, line: str, fields: _Fields | None = None) -> Self:
        text = super().__new__(cls, line)
        if fields is not None:  # else pickle sets it
            text.fields = fields
        return text
