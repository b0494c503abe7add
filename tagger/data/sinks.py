"""Where tagged records go: CoNLL columns, CoNLL-U, JSON lines, Parquet, tables of spans or a page.

JSON lines and Parquet hold a row for each record: the fields that came with it, then

- `document`: the row's own, else the file's name for raw text, else a number from 0
- `tokens` and `tags`: of all its sentences, one tag for each token
- `spans`: each with `type`, `start`, `end`, `text` and, if asked for, `probability`; start and end count code points where
  there is a text (raw text: those of the file, byte-order mark and carriage returns among them), else tokens
- `offsets`: the start and end of each token, where there is a text
- `sentences`: of each the first token and the one after its last, where a record may hold several
- `probabilities`: one for each token, if asked for
- `alternatives`: for each sentence a list of `tags` and `probability`, if asked for
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tagger.choices import InputFormat, OutputFormat
from tagger.data.formats import columns, conllu, html, jsonl, spans
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
_DOCUMENTS = ("text", "jsonl", "parquet")  # inputs of which a record may hold several sentences
_ROWS = ("jsonl", "parquet")
_ONE_LINE = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


class Sink(Protocol):
    """Gives the bytes of an output, piece by piece; those of a piece follow from its records alone.

    Attributes:
        suffix: how the output's name ends.
    """

    @property
    def suffix(self) -> str: ...

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

    suffix: str
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
    source: Path | None = None,
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
        source: the input, if it is a Parquet file: its columns are carried.

    Raises:
        ConfigError: the format has no place for alternatives.
        DataError: the source cannot be read.
    """
    if alternatives and to not in _ROWS:
        raise ConfigError(f"alternatives can be written to {' or '.join(_ROWS)}, not to {to}")
    several = form in _DOCUMENTS
    if to == "parquet":
        from tagger.data.formats import parquet  # loads Arrow, so only when it is used

        return parquet.Writer(
            several=several,
            text=several,
            source=source if form == "parquet" else None,
            fields=form == "jsonl",
            numbers=form in ("lines", "columns", "conllu"),
            probabilities=probabilities,
            alternatives=alternatives,
        )
    if to == "jsonl":
        write = jsonl.Writer(several=several, probabilities=probabilities, alternatives=alternatives)
        return _Text(".jsonl", _kept(write, form))
    if to == "tsv":
        head = spans.head(probabilities=probabilities)
        return _Text(".tsv", lambda record: spans.lines(record, probabilities=probabilities), head)
    if to == "html":
        page = _kept(lambda record: html.block(record, titled=form in _ROWS), form)
        return _Text(".html", page, html.head(name), html.foot())
    return _conll(to, form, layout, name, probabilities)


def _kept(write: Callable[[Record], str], form: InputFormat) -> Callable[[Record], str]:
    """Returns a function that writes a record unless it holds only what stands between the sentences of a corpus."""
    if form not in ("columns", "conllu"):
        return write
    return lambda record: write(record) if any(map(len, record.sentences)) else ""


def _conll(to: OutputFormat, form: InputFormat, layout: Layout, name: str, probabilities: bool) -> Sink:
    anew: Callable[[Sentence, str], str]
    if to == "conllu":
        tag = str(layout.tag)
        conllu.check_tag(tag)

        def put(sentence: Sentence, *, as_read: bool) -> str:
            return "".join(conllu.write(sentence, tag, as_read=as_read, **_asked(sentence, probabilities)))

        def anew(sentence: Sentence, text: str) -> str:
            return text + put(_in_one_line(sentence), as_read=False)
    else:

        def put(sentence: Sentence, *, as_read: bool) -> str:
            return "".join(columns.write(sentence, layout, **_asked(sentence, probabilities)))

        # Tokens of raw text and plain lines hold no spaces.
        separator = " " if form in ("lines", "text") else "\t"
