"""The options and functions that the readers of all formats share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tagger.data.formats import Layout
from tagger.data.sentence import Record, Reject, Sentence
from tagger.io import line_reader


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
    """

    name: str
    layout: Layout
    language: str = "en"
    reject: Callable[[Reject], None] | None = None
    first: int = 1
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES

    def lines(self, source: Path | BinaryIO) -> Iterator[tuple[int, str]]:
        """Yields the numbered lines of a source; those that cannot be read are rejected one by one."""
        reject = self.reject

        def refuse(fault: str, line: int, raw: str) -> None:
            assert reject is not None
            reject(Reject(fault, line, raw))

        return line_reader.read_lines(
            source, self.name, refuse if reject else None, first=self.first, max_record_bytes=self.max_record_bytes
        )

    def lines_of_blocks(self, source: Path | BinaryIO) -> Iterator[tuple[int, str]]:
        """Yields the numbered lines of a source; those that cannot be read are `Unreadable`, unless they raise."""
        refuse = line_reader.Unreadable if self.reject else None
        return line_reader.read_lines(source, self.name, refuse, max_record_bytes=self.max_record_bytes)


def record_of(sentence: Sentence, document: int) -> Record:
    """Returns the record of a sentence whose source has no document ids."""
    size = sum(map(len, sentence.raw))
    return Record((sentence,), document, sentence.line, numbered=True, size=size)


def shorten(text: str) -> str:
    """Returns a text for a message: at most 60 characters and an ellipsis."""
    return text if len(text) <= 60 else f"{text[:60]}…"
