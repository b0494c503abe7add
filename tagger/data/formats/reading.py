"""The options and functions that the readers of all formats share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tagger.choices import Misaligned, Newline
from tagger.data.formats import Layout
from tagger.data.notices import Notices
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import DataError
from tagger.io import line_reader
from tagger.io.line_reader import LineRun


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of the fields of a row that hold its text and its annotation; None for the usual names.

    Attributes:
        text: the text.
        spans: the spans with offsets.
        start: the offset of a span's first character.
        end: the offset after a span's last character.
        type: the type of a span.
        tokens: the tokens.
        tags: the tags, one per token.
    """

    text: str | None = None
    spans: str | None = None
    start: str | None = None
    end: str | None = None
    type: str | None = None
    tokens: str | None = None
    tags: str | None = None


@dataclass(frozen=True, slots=True)
class AnnotationOptions:
    """How annotated rows are read.

    Attributes:
        fields: the names of the fields.
        misaligned: what becomes of a span that ends within a token.
        annotator: the annotator whose work is read, where a record has several; None if each record has one.
        tag_names: the names of tags that are integers, from 0.
        prefers_tags: whether tags of tokens are read even if the row has other spans, as rows with gold spans have that
            were tagged.
    """

    fields: Fields = Fields()
    misaligned: Misaligned = "expand"
    annotator: str | None = None
    tag_names: tuple[str, ...] = ()
    prefers_tags: bool = False


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading a file or a stream.

    Attributes:
        name: the name of the source in errors, and the document id of a raw text.
        layout: the column of the token, and of the tag; in CoNLL-U that of the tag.
        language: the language of raw text, an ISO 639 code.
        reject: is called with each line, row or block of lines that cannot be read; None to raise an error instead.
        first: the number of the first line or row, for a source that starts within a file.
        max_record_bytes: the maximum size of a line, a row or a block of lines.
        annotations: how annotated rows are read.
        newline: whether a newline in raw text ends a sentence, or is white space and only a blank line ends one.
        eager: whether a block of lines ends at its first blank line, not where the next block starts.
        notices: collects what the reader changes, skips or finds suspicious.
    """

    name: str
    layout: Layout
    language: str = "en"
    reject: Callable[[Reject], None] | None = None
    first: int = 1
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES
    annotations: AnnotationOptions = AnnotationOptions()
    newline: Newline = "break"
    eager: bool = False
    notices: Notices = field(default_factory=Notices)

    def refuse(self, fault: str, number: int, raw: str = "", cause: Exception | None = None) -> None:
        """Rejects a line, a row or a block of lines that cannot be read.

        Raises:
            DataError: there is no `reject`.
        """
        if self.reject is None:
            raise DataError(fault) from cause
        self.reject(Reject(fault, number, raw))

    def lines(self, source: Path | BinaryIO) -> Iterator[tuple[int, str]]:
        """Yields the numbered lines of a source; those that cannot be read are rejected one by one."""
        reject = self.reject

        def refuse(fault: str, line: int, raw: str) -> None:
            assert reject is not None
            reject(Reject(fault, line, raw))

        return line_reader.read_lines(
            source, self.name, refuse if reject else None, first=self.first, max_record_bytes=self.max_record_bytes
        )

    def runs_of_blocks(self, source: Path | BinaryIO) -> Iterator[LineRun]:
        """Yields the lines of a source in runs; those that cannot be read are `Unreadable`, unless they raise."""
        refuse = line_reader.Unreadable if self.reject else None
        runs = line_reader.read_runs(source, self.name, refuse, max_record_bytes=self.max_record_bytes)
        return map(_end_blocks, runs) if self.eager else runs

    def lines_of_blocks(self, source: Path | BinaryIO) -> Iterator[tuple[int, str]]:
        """Yields the lines of `runs_of_blocks` with their numbers."""
        return line_reader.number_lines(self.runs_of_blocks(source))


def _end_blocks(run: LineRun) -> LineRun:
    return run._replace(lines=[line if line.strip() else line_reader.BlockEnd(line) for line in run.lines])


def record_of(sentence: Sentence, document: int) -> Record:
    """Returns the record of a sentence whose source has no document ids."""
    size = sum(map(len, sentence.raw))
    return Record((sentence,), document, sentence.line, numbered=True, size=size)


def shorten(text: str, limit: int = 60) -> str:
    """Returns a text for a message: at most `limit` characters and an ellipsis."""
    return text if len(text) <= limit else f"{text[:limit]}…"
