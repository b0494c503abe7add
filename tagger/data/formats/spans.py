r"""Tables of spans: one line per span, tab-separated; tab, line end, NUL and backslash are escaped as in Python.

The last columns are the file, and the line or row of the span's sentence in it.
"""

from tagger.data.formats.writing import Sink, TextSink, WriteOptions
from tagger.data.sentence import Record

_COLUMNS = ("document", "start", "end", "type", "text")
_SOURCE_COLUMNS = ("file", "line")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of a table of spans."""
    probabilities, name = options.probabilities, options.name
    return TextSink(lambda record: lines(record, name, probabilities=probabilities), head(probabilities=probabilities))


def head(*, probabilities: bool) -> str:
    """Returns the line with the names of the columns."""
    return "\t".join(_COLUMNS + ("probability",) * probabilities + _SOURCE_COLUMNS) + "\n"


def lines(record: Record, name: str, *, probabilities: bool) -> str:
    """Returns the lines of the spans of a tagged record from the file `name`.

    As in JSON lines, start and end are character offsets if the record has a text, else token indices.
    """
    rows = []
    numbers = [sentence.line for sentence in record.sentences for _ in sentence.spans]
    for number, span in zip(numbers, record.spans_to_dicts(probabilities=probabilities), strict=True):
        values = [str(record.document), str(span["start"]), str(span["end"]), span["type"], span["text"]]
        if probabilities:
            values.append("" if span["probability"] is None else f"{span['probability']:.6f}")
        values += [name, str(number)]
        rows.append("\t".join(value.translate(_ESCAPES) for value in values) + "\n")
    return "".join(rows)
