"""JSON lines for doccano: a text with spans as `[start, end, type]` in `label`; other fields of rows are carried."""

from collections.abc import Iterator
from itertools import accumulate

from tagger.data.formats import fields, jsonl
from tagger.data.formats.writing import Sink, TextSink, WriteOptions
from tagger.data.sentence import Record

_ANNOTATION = frozenset(
    (fields.TEXT, fields.TOKENS, "tags", "ner_tags", "spans", "label", "labels", "entities", "ents", "offsets")
) | {"sentences", "probabilities", "alternatives"}


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of lines for doccano. Tokens without a text are joined by one space."""
    return TextSink(_write)


def _write(record: Record) -> str:
    if record.text is None and not any(map(len, record.sentences)):
        return ""
    carried = {name: value for name, value in record.fields.items() if name not in _ANNOTATION}
    text = " ".join(token for sentence in record.sentences for token in sentence.tokens)
    row = {"text": text if record.text is None else record.text, "label": sorted(_labels(record))}
    return jsonl.dump(row | carried).decode() + "\n"


def _labels(record: Record) -> Iterator[list[int | str]]:
    """Yields start, end and type of each span, as offsets into the text of the record."""
    first = 0  # the offset of the sentence's first token, in a text of joined tokens
    for sentence in record.sentences:
        starts = list(accumulate((len(token) + 1 for token in sentence.tokens), initial=first))
        for span in sentence.spans:
            if record.text is None:
                yield [starts[span.start], starts[span.end] - 1, span.type]
            else:
                bounds = sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1]
                yield [bounds[0] - record.start, bounds[1] - record.start, span.type]
        first = starts[-1]
