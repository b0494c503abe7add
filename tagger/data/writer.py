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

from tagger.choices import OutputFormat
from tagger.data.formats import FORMATS, names_of
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.errors import ConfigError


def make_sink(output_format: OutputFormat, options: WriteOptions) -> Sink:
    """Returns the sink for the records of one source.

    Records in the format of their source are written back unchanged but for the tags. In other formats, lines between
    sentences are dropped, but each line, row and document keeps its position.

    Raises:
        ConfigError: the format cannot hold alternatives.
        DataError: the source cannot be read.
    """
    output = FORMATS[output_format]
    rows = names_of("holds_fields")
    if options.alternatives and output_format not in rows:
        raise ConfigError(f"alternatives can be written to {' or '.join(rows)}, not to {output_format}")
    sink: Sink = output.load().make_sink(options)
    return sink
