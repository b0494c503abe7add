r"""Tables of spans: a line for each, values separated by tabs; \t \n \r \\ stand for what would break a line."""

from tagger.data.formats.writing import Sink, TextSink, WriteOptions
from tagger.data.sentence import Record

_COLUMNS = ("document", "start", "end", "type", "text")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of a table of spans."""
    asked = options.probabilities
    return TextSink(lambda record: lines(record, probabilities=asked), head(probabilities=asked))


def head(*, probabilities: bool) -> str:
    """Returns the line that names the columns."""
    return "\t".join(_COLUMNS + ("probability",) * probabilities) + "\n"


def lines(record: Record, *, probabilities: bool) -> str:
    """Returns the lines of a tagged record's spans, none if it has none.

    Start and end count as in JSON lines: code points where the record has a text, else tokens.
    """
    found = []
    for span in record.spans_to_dicts(probabilities=probabilities):
        values = [str(record.document), str(span["start"]), str(span["end"]), span["type"], span["text"]]
        if probabilities:
            values.append("" if span["probability"] is None else f"{span['probability']:.6f}")
        found.append("\t".join(value.translate(_ESCAPES) for value in values) + "\n")
    return "".join(found)
