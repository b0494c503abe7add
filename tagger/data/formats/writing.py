"""The options that the writers of all formats share, and sinks, which convert records to bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tagger.choices import InputFormat
from tagger.data.formats import FORMATS, Format, Layout
from tagger.data.sentence import Record, Sentence


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Options for writing the records of one source.

    Attributes:
        input_format: the format that the records were read from.
        layout: the columns of tags in CoNLL columns and CoNLL-U.
        name: the title of a page, and the document id of a raw text.
        probabilities: whether to write the probabilities of tokens and spans.
        alternatives: whether to write the alternatives of each sentence.
        source: the path or open file of a Parquet input, whose columns are carried to the output; else None.
        has_spaces: whether a tag may contain a space.
        writes_back: whether sentences in the format of the output keep all that is not a tag.
        marks_starts: whether records say by `starts_document` where documents start; else each row is a document.
        types: the entity types of the model, for the legend of a page.
        has_spans: whether the tags encode spans.
        is_annotated: whether the tags are annotations, not predictions; rows then lose those of their source.
    """

    input_format: InputFormat
    layout: Layout
    name: str = ""
    probabilities: bool = False
    alternatives: bool = False
    source: Path | BinaryIO | None = None
    has_spaces: bool = False
    writes_back: bool = True
    marks_starts: bool = False
    types: tuple[str, ...] = ()
    has_spans: bool = True
    is_annotated: bool = False

    def token_probabilities(self, sentence: Sentence) -> tuple[float, ...]:
        """Returns the probabilities of a sentence's tokens; none without `probabilities`."""
        return sentence.probabilities if self.probabilities else ()

    @property
    def read_as(self) -> Format:
        """The input format's row of `FORMATS`."""
        return FORMATS[self.input_format]

    @property
    def has_rows(self) -> bool:
        """Whether each record of the source is a document of its own, unless records say otherwise."""
        return self.read_as.has_offsets and not self.read_as.has_documents


class Sink(Protocol):
    """Returns the bytes of an output in pieces. The bytes of a piece depend only on its records."""

    def begin(self) -> bytes:
        """Returns the head of the output."""

    def write(self, records: Sequence[Record]) -> bytes:
        """Returns the bytes of tagged records, in their order."""

    def end(self) -> bytes:
        """Returns the foot of the output."""

    def finish(self, part: Path) -> None:
        """Converts a file of head, records and foot to the final format, unless it is converted already."""


@dataclass(frozen=True, slots=True)
class TextSink:
    """A sink that writes each record separately, as text."""

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
    return text.encode("utf-8", "backslashreplace")  # lone surrogates, which only JSON input has, as JSON writes them


def skip_empty(write: Callable[[Record], str], options: WriteOptions) -> Callable[[Record], str]:
    """Returns a function that writes records and skips those without tokens in a corpus."""
    if not options.read_as.is_corpus:
        return write
    return lambda record: write(record) if any(map(len, record.sentences)) else ""


def sentence_position(record: Record, sentence: Sentence, number: int, options: WriteOptions) -> str:
    """Returns what identifies a sentence in its file: its offset in a text, its row and number, or its line."""
    if options.has_rows:
        return f"{record.line}.{number}"
    return str(sentence.line if record.text is None else sentence.offsets[0][0])


def conll_sink(write: Callable[[Record], str], start: Callable[[str], str], options: WriteOptions) -> Sink:
    """Returns a sink of sentences that were read from another format.

    Args:
        write: returns the lines of a record.
        start: returns the lines that start a document, by its id.
        options: the options.
    """
    if options.marks_starts:
        return TextSink(lambda record: start(str(record.document)) * record.starts_document + write(record))
    if options.input_format == "text":  # the whole file is one document
        return TextSink(write, start(options.name))
    if options.has_rows:
        return TextSink(lambda record: start(str(record.document)) + write(record))
    return TextSink(write)
