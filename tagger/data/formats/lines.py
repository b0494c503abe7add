"""Plain lines: one sentence per line, tokens separated by spaces or tabs."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tagger.data.formats.reading import ReadOptions, record_of
from tagger.data.sentence import Record, Sentence


def words(text: str) -> tuple[str, ...]:
    """Returns the tokens of a line, split at spaces and tabs; other white space stays in its token.

    >>> words(" Peter  Blackburn ")
    ('Peter', 'Blackburn')
    """
    return tuple(filter(None, text.strip(" \t\r\n").replace("\t", " ").split(" ")))


def read(source: Iterable[tuple[int, str]]) -> Iterator[Sentence]:
    """Yields a sentence for each line of a file, without tokens for an empty line."""
    for number, line in source:
        text = line.removeprefix("\ufeff") if number == 1 else line
        yield Sentence(words(text), line=number, raw=(line,))


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each line of a source; the document of a line is its number, from 0."""
    return (record_of(sentence, sentence.line - 1) for sentence in read(options.lines(source)))
