r"""Where tagged records go: CoNLL columns, CoNLL-U, JSON lines, Parquet, tables of spans or a page.

JSON lines and Parquet hold a row for each record: the fields that came with it, then

- `document`: the row's own; else its `id`, if that is a string or a whole number; else the id of CoNLL-U's newdoc or
  the file's name for raw text; else a number from 0, which in a stream counts on from input to input
- `tokens` and `tags`: of all its sentences, one tag for each token
- `spans`: each with `type`, `start`, `end`, `text` and, if asked for, `probability`; start and end count code points
  where a text was split (raw text: those of the file, byte-order mark and carriage returns among them), else tokens
- `offsets`: the start and end of each token, where a text was split; a text beside tokens of the row's own is not
- `sentences`: of each the first token and the one after its last, where a record may hold several
- `probabilities`: one for each token, if asked for
- `alternatives`: for each sentence a list of `tags` and `probability`, if asked for

Tokens, tags and ids may hold any character. What a format cannot hold is escaped, and all else stays as it is:

- columns, CoNLL-U: tab, line feed, carriage return and NUL as `\t`, `\n`, `\r`, `\0`, a byte-order mark at the
  beginning of a field as `\ufeff`, an empty field as `_`; a backslash is not escaped
- columns: `-DOCSTART-` at the beginning of a token, or of a tag in a corpus written back, as `\x2dDOCSTART-`; between
  spaces, a space in a tag as `\x20`
- CoNLL-U: all white space within a tag as `\xNN` or `\uNNNN`, and `|` in a value of MISC as `\x7c`
- tables of spans: tab, line feed, carriage return, NUL and backslash as `\t`, `\n`, `\r`, `\0`, `\\`
- JSON lines: as JSON does; a number that is not finite is a string, `"NaN"`, `"Infinity"` or `"-Infinity"`
- pages: as HTML does; control characters and marks of direction are shown as signs
- a lone surrogate is `\udNNN` in all of them, and in Parquet; pages show U+FFFD

Where a corpus is written back in its own format this holds for the tags alone: all else is as it was read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tagger.choices import InputFormat, OutputFormat
from tagger.data.formats import columns, conllu, escapes, html, jsonl, spans
from tagger.data.formats.columns import Layout
from tagger.data.sentence import Record, Sentence
from tagger.errors import ConfigError

SUFFIXES: dict[OutputFormat, str] = {
    "columns": ".conll",
    "conllu": ".conllu",
    "jsonl": ".jsonl",
    "tsv": ".tsv",
    "parquet": ".parquet",
    "html": ".html",
}
DOCUMENTS = ("text", "jsonl", "parquet")  # inputs of which a record may hold several sentences
CORPORA = ("columns", "conllu")  # those whose records without tokens hold what stands between sentences
_ROWS = ("jsonl", "parquet")


class Sink(Protocol):
    """Gives the bytes of an output, piece by piece; those of a piece follow from its records alone."""

    def begin(self) -> bytes:
        """Returns the head of the output."""

    def write(self, records: Sequence[Record]) -> bytes:
        """Returns the tagged records as they are written, in their order."""

    def end(self) -> bytes:
        """Returns the foot of the output."""

    def finished(self, part: Path) -> None:
        """Makes a file of head, records and foot what it is to be, if it is not yet."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A sink that writes each record by itself, as text."""

    one: Callable[[Record], str]
    head: str = ""
    foot: str = ""

    def begin(self) -> bytes:
        return _bytes(self.head)

    def write(self, records: Sequence[Record]) -> bytes:
        return _bytes("".join(map(self.one, records)))

    def end(self) -> bytes:
        return _bytes(self.foot)

    def finished(self, part: Path) -> None:
        pass


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate, which only JSON can bring, as JSON writes it


def sink(
    to: OutputFormat,
    *,
    form: InputFormat,
    layout: Layout,
    name: str = "",
    probabilities: bool = False,
    alternatives: bool = False,
    source: Path | BinaryIO | None = None,
) -> Sink:
    """Returns the sink for what was read from one source.

    What was read in the same format is written back as it stood but for the tags. In another, what stands between
    sentences stays behind, but each line, row and document keeps its place.

    Args:
        to: the format of the output.
        form: the format of the input.
        layout: where tags go in columns and CoNLL-U.
        name: what the input is called on a page, and the id of a raw text.
        probabilities: whether to write those of tokens and spans.
        alternatives: whether to write those of each sentence.
        source: the input, by its path or opened, if it is a Parquet file: its columns are carried.

    Raises:
        ConfigError: the format has no place for alternatives.
        DataError: the source cannot be read.
    """
    if alternatives and to not in _ROWS:
        raise ConfigError(f"alternatives can be written to {' or '.join(_ROWS)}, not to {to}")
    several = form in DOCUMENTS
    if to == "parquet":
        from tagger.data.formats import parquet  # loads Arrow, so only when it is used

        return parquet.Writer(
            several=several,
            text=several,
            source=source if form == "parquet" else None,
            fields=form == "jsonl",
            numbers=form in ("lines", "columns"),  # in CoNLL-U some documents may have ids and others none
            empty=form not in CORPORA,
            probabilities=probabilities,
            alternatives=alternatives,
        )
    if to == "jsonl":
        write = jsonl.Writer(several=several, probabilities=probabilities, alternatives=alternatives)
        return _Text(_kept(write, form))
    if to == "tsv":
        head = spans.head(probabilities=probabilities)
        return _Text(lambda record: spans.lines(record, probabilities=probabilities), head)
    if to == "html":
        page = _kept(lambda record: html.block(record, titled=form in _ROWS), form)
        return _Text(page, html.head(name), html.foot())
    return _conll(to, form, layout, name, probabilities)


def _kept(write: Callable[[Record], str], form: InputFormat) -> Callable[[Record], str]:
    """Returns a function that writes a record unless it holds only what stands between the sentences of a corpus."""
    if form not in CORPORA:
        return write
    return lambda record: write(record) if any(map(len, record.sentences)) else ""


def _conll(to: OutputFormat, form: InputFormat, layout: Layout, name: str, probabilities: bool) -> Sink:
    """Returns a sink for columns or CoNLL-U; a document from elsewhere begins with a line that holds its id."""
    write = _sentences(to, form, layout, probabilities)
    begun = _NEW_DOCUMENT[to]
    if form == to:
        return _Text(lambda record: "".join(map(write, record.sentences)))
    if form == "text":  # all of it is one document
        return _Text(lambda record: _lines(record, write, to), begun(name))
    if form in _ROWS:
        return _Text(lambda record: begun(str(record.document)) + _lines(record, write, to))
    if form == "lines" and to == "columns":
        return _Text(lambda record: _lines(record, write, to) or "\n")
    return _Text(lambda record: _lines(record, write, to))


_NEW_DOCUMENT: dict[OutputFormat, Callable[[str], str]] = {
    "columns": lambda name: f"{columns.DOCUMENT_START} {_id(name, '_')}\n\n",
    "conllu": lambda name: f"# newdoc id = {_id(name, ' ')}\n\n",
}


def _id(name: str, space: str) -> str:
    """Returns a document's id such that it is one word or one line and not empty."""
    return escapes.one_line(space.join(name.split())) or escapes.EMPTY


def _sentences(to: OutputFormat, form: InputFormat, layout: Layout, probabilities: bool) -> Callable[[Sentence], str]:
    """Returns the function that gives the lines of a sentence: as they were read, or made anew."""
    given = _probabilities if probabilities else _none

    if to == "conllu":
        tag, as_read = str(layout.tag), form == "conllu"
        conllu.check_tag(tag)
        return lambda sentence: "".join(conllu.write(sentence, tag, as_read=as_read, probabilities=given(sentence)))
    if form == "columns":
        return lambda sentence: "".join(columns.write(sentence, layout, probabilities=given(sentence)))
    separator = " " if form == "lines" else "\t"  # elsewhere a token may hold a space
    return lambda sentence: "".join(columns.write_anew(sentence, separator, probabilities=given(sentence)))


def _probabilities(sentence: Sentence) -> tuple[float, ...]:
    return sentence.probabilities


def _none(_: Sentence) -> tuple[float, ...]:
    return ()


def _lines(record: Record, write: Callable[[Sentence], str], to: OutputFormat) -> str:
    """Returns the lines of the sentences that hold tokens, made anew."""
    found = []
    for sentence in filter(len, record.sentences):
        if to == "conllu" and record.text is not None:
            start, end = sentence.offsets[0][0], sentence.offsets[-1][1]
            text = record.text[start - record.start : end - record.start]
            found.append(f"# text = {escapes.one_line(text)}\n")
        found.append(write(sentence))
    return "".join(found)
