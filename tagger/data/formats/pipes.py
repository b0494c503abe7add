"""Lines such as `Ada|NNP|B-PER ran|VBD|O`: a sentence per line, tokens separated by spaces, fields by bars."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tagger.data.formats import Layout
from tagger.data.formats.lines import words
from tagger.data.formats.reading import ReadOptions, record_of, shorten
from tagger.data.sentence import Record, Sentence

_SEPARATOR = "|"


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each line of a source, untagged; the document of a line is its number, from 0."""
    return (record_of(sentence, sentence.line - 1) for sentence in read_tagged(source, options, tagged=False))


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
        tokens, tags = (tuple(column) for column in zip(*rows, strict=True)) if rows else ((), ())
        yield Sentence(tokens, tags=tags if tagged else (), line=number, raw=(line,))


class _Fields:
    """The number of fields of each token, from the first line, and the indices of token and tag."""

    def __init__(self, items: tuple[str, ...], layout: Layout, *, tagged: bool) -> None:
        self.count = min(item.count(_SEPARATOR) for item in items) + 1
        token = layout.number(layout.token)
        tag = layout.number(layout.tag) if tagged and layout.tag is not None else token
        if not all(-self.count <= column < self.count for column in (token, tag)):
            raise ValueError(f"expected token and tag separated by '{_SEPARATOR}', found {shorten(items[0])!r}")
        self.token, self.tag = token % self.count, tag % self.count
        if tagged and self.token == self.tag:
            raise ValueError(f"expected a token and a tag separated by '{_SEPARATOR}', found {shorten(items[0])!r}")

    def parse(self, item: str) -> tuple[str, str]:
        """Returns the token and the tag of an item; bars that are too many belong to the token."""
        fields = item.split(_SEPARATOR)
        surplus = len(fields) - self.count
        if surplus > 0:
            end = self.token + surplus + 1
            fields[self.token : end] = [_SEPARATOR.join(fields[self.token : end])]
        if surplus < 0 or not fields[self.token] or not fields[self.tag]:
            raise ValueError(f"expected {self.count} fields separated by '{_SEPARATOR}', found {shorten(item)!r}")
        return fields[self.token], fields[self.tag]
