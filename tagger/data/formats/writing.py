"""The options of writing that all formats share, and the sinks that turn records into bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tagger.choices import InputFormat
from tagger.data.formats import FORMATS, Format, Layout
from tagger.data.sentence import Record, Sentence


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How the records of one source are written.

    Attributes:
        input_format: the format that the records were read from.
        layout: where tags go in columns and CoNLL-U.
        name: the title of a page, and the document id of a raw text.
        probabilities: whether to write those of tokens and spans.
        alternatives: whether to write those of each sentence.
        source: the input, by its path or opened, if it is a Parquet file, whose columns are carried to the output.
    """

    input_format: InputFormat
    layout: Layout
    name: str = ""
    probabilities: bool = False
    alternatives: bool = False
    source: Path | BinaryIO | None = None

    def token_probabilities(self, sentence: Sentence) -> tuple[float, ...]:
        """Returns the probabilities of a sentence's tokens to write, none if they are not asked for."""
        return sentence.probabilities if self.probabilities else ()

    @property
    def read_as(self) -> Format:
        """The row of the input format."""
        return FORMATS[self.input_format]


class Sink(Protocol):
    """Returns the bytes of an output, piece by piece; the bytes of a piece depend on its records alone."""

    def begin(self) -> bytes:
        """Returns the head of the output."""

    def write(self, records: Sequence[Record]) -> bytes:
        """Returns the bytes of tagged records, in their order."""

    def end(self) -> bytes:
        """Returns the foot of the output."""

    def finish(self, part: Path) -> None:
        """Converts a file of head, records and foot into the final format; does nothing if it is converted already."""


@dataclass(frozen=True, slots=True)
class TextSink:
    """A sink that writes each record by itself, as text."""

    write_record: Callable[[Record], str]
    head: str = ""
    foot: str = ""

    def begin(self) -> bytes:
        """Returns the head in UTF-8."""
        return _encode(self.head)

    def write(self, records: Sequence[Record]) -> bytes:
        """Returns the text of the records in UTF-8."""
        return _encode("".join(map(self.write_record, records)))

    def end(self) -> bytes:
        """Returns the foot in UTF-8."""
        return _encode(self.foot)

    def finish(self, part: Path) -> None:
        """Does nothing: the file is final."""


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate, which only JSON can bring, as JSON writes it


def skip_empty(write: Callable[[Record], str], options: WriteOptions) -> Callable[[Record], str]:
    """Returns a function that writes records, but nothing for the lines between the sentences of a corpus."""
    if not options.read_as.is_corpus:
        return write
    return lambda record: write(record) if any(map(len, record.sentences)) else ""


def conll_sink(write: Callable[[Record], str], start: Callable[[str], str], options: WriteOptions) -> Sink:
    """Returns a sink of sentences that were read from another format.

    Args:
        write: returns the lines of a record.
        start: returns the lines that start a document, by its id.
        options: the options.
    """
    if options.input_format == "text":  # all of it is one document
        return TextSink(write, start(options.name))
    if options.read_as.holds_fields:
        return TextSink(lambda record: start(str(record.document)) + write(record))
    return TextSink(write)
