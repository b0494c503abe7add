"""Where tagged sentences go: CoNLL columns, CoNLL-U or JSON lines."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tagger.choices import InputFormat, OutputFormat
from tagger.data.formats import columns, conllu
from tagger.data.formats.columns import Layout
from tagger.data.sentence import Record, Sentence

SUFFIXES: dict[OutputFormat, str] = {"columns": ".conll", "conllu": ".conllu", "jsonl": ".jsonl"}

Write = Callable[[Sentence], Iterator[str]]


class Sink(Protocol):
    """How the records of an output are written."""

    suffix: str

    def begin(self) -> bytes:
        """Returns the head of the output."""

    def write(self, records: Sequence[Record]) -> bytes:
        """Returns the records of a pool as they are written."""

    def end(self) -> bytes:
        """Returns the foot of the output."""

    def finished(self, part: Path) -> None:
        """Rewrites the whole output once, if its format needs it."""


class _Plain:
    def __init__(self, to: OutputFormat, form: InputFormat, layout: Layout) -> None:
        self.suffix = SUFFIXES[to]
        self._all = form in ("lines", to)
        self._lines = writer(to, form=form, layout=layout)

    def begin(self) -> bytes:
        return b""

    def write(self, records: Sequence[Record]) -> bytes:
        sentences = (sentence for record in records for sentence in record.sentences)
        return "".join(
            line for sentence in sentences if self._all or sentence.tokens for line in self._lines(sentence)
        ).encode()

    def end(self) -> bytes:
        return b""

    def finished(self, part: Path) -> None:
        pass


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
    """Returns how records read from a format are written in another."""
    return _Plain(to, form, layout)


def writer(to: OutputFormat, *, form: InputFormat, layout: Layout) -> Write:
    """Returns the function that gives the lines of a sentence in a format, after it was read from the format `form`.

    What was read in the same format is written back as it stood but for the tags.
    """
    if to == "jsonl":
        return json_line
    if to == "conllu":
        return lambda sentence: conllu.write(sentence, str(layout.tag), as_read=form == "conllu")
    if form == "columns":
        return lambda sentence: columns.write(sentence, layout)
    # A token of CoNLL-U may hold spaces, never a tab.
    return lambda sentence: columns.write_anew(sentence, "\t" if form == "conllu" else " ")


def json_line(sentence: Sentence) -> Iterator[str]:
    """Yields a sentence as one line of JSON: tokens, tags, spans (type, start, end in tokens) and document."""
    spans = [
        {
            "type": span.type,
            "start": span.start,
            "end": span.end,
            "text": " ".join(sentence.tokens[span.start : span.end]),
        }
        for span in sentence.spans
    ]
    row = {"tokens": sentence.tokens, "tags": sentence.tags, "spans": spans, "document": sentence.document}
    yield json.dumps(row, ensure_ascii=False) + "\n"
