r"""Tables of spans: one line per span, tab-separated; tab, line end, NUL and backslash are escaped as in Python."""

from tagger.data.formats.writing import Sink, TextSink, WriteOptions
from tagger.data.sentence import Record

_COLUMNS = ("document", "start", "end", "type", "text")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of a table of spans."""
    probabilities = options.probabilities
    return TextSink(lambda record: lines(record, probabilities=probabilities), head(probabilities=probabilities))


def head(*, probabilities: bool) -> str:
    """Returns the line with the names of the columns."""
    return "\t".join(_COLUMNS + ("probability",) * probabilities) + "\n"


def lines(record: Record, *, probabilities: bool) -> str:
    """Returns the lines of a tagged record's spans.

    As in JSON lines, start and end are character offsets if the record has a text, else token indices.
    """
    rows = []
    for span in record.spans_to_dicts(probabilities=probabilities):
        values = [str(record.document), str(span["start"]), str(span["end"]), span["type"], span["text"]]
        if probabilities:
            values.append("" if span["probability"] is None else f"{span['probability']:.6f}")
        rows.append("\t".join(value.translate(_ESCAPES) for value in values) + "\n")
    return "".join(rows)
