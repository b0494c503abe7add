r"""Writes tagged records as columns, CSV, CoNLL-U, JSON lines, Parquet, tasks of annotation tools and other formats.

JSON lines and Parquet have one row per record: the fields of the source, then

- `document`: the row's `document`; else its `id`, if that is a string or an integer; else the id of CoNLL-U's newdoc or
  the file name of raw text; else a number from 0, which continues over the inputs of a stream
- `tokens` and `tags`: those of all sentences of the record, one tag per token
- `spans`: each with `type`, `start`, `end`, `text` and, on request, `probability`; start and end are character offsets
  if a text was split (for raw text offsets in the file, byte-order mark and carriage returns included), else token
  indices
- `offsets`: the start and end of each token, if a text was split; not for rows that have tokens
- `sentences`: the index of each sentence's first token and of the one after its last, if a record may have several
- `probabilities`: one per token, on request
- `alternatives`: for each sentence a list of `tags` and `probability`, on request

Tokens, tags and ids may contain any character. Each format escapes only characters that it cannot hold:

- columns, CoNLL-U: tab, line feed, carriage return and NUL as `\t`, `\n`, `\r`, `\0`, a byte-order mark at the
  beginning of a field as `\ufeff`, an empty field as `_`; a backslash is not escaped
- columns: `-DOCSTART-` at the beginning of a token, or of a tag in a corpus that is written back, as `\x2dDOCSTART-`;
  in space-separated columns, a space in a tag as `\x20`, so that new columns of tags with spaces have tabs
- CoNLL-U: all white space in a tag as `\xNN` or `\uNNNN`, and `|` in a value of MISC as `\x7c`; reading tags of
  columns and CoNLL-U restores white space and `|`
- CSV: line feed, carriage return and NUL, a byte-order mark as above, and all white space of a field that has nothing
  else; fields with a separator or a quote are quoted; reading tags restores white space
- `token|TAG` lines: tab, line feed, carriage return and NUL, a space as `\x20`, a bar as `\x7c`; reading tokens and
  tags restores white space and `|`
- brat: white space in a type as `\xNN` or `\uNNNN`, which reading restores; NUL and lone surrogates in a text are
  U+FFFD, so that offsets stay
- tables of spans: tab, line feed, carriage return, NUL and backslash as `\t`, `\n`, `\r`, `\0`, `\\`
- JSON lines and tasks of annotation tools: as JSON does; a number that is not finite becomes a string, `"NaN"`,
  `"Infinity"` or `"-Infinity"`
- pages: as HTML does; visible symbols replace control characters and direction marks
- all text formats and Parquet: a lone surrogate as `\udNNN`; pages show U+FFFD

In a corpus that is written back in its own format only tags are escaped. All other bytes are those of the source.
"""

from tagger.choices import OutputFormat
from tagger.data.formats import FORMATS, names_of
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.errors import ConfigError


def make_sink(output_format: OutputFormat, options: WriteOptions) -> Sink:
    """Returns the sink for the records of one source.

    In the format of their source, records are written back unchanged except for the tags. In other formats, lines
    outside sentences are dropped, but each line, row and document keeps its position. CoNLL-U
    has no document without words. brat is written for texts, whose own files keep their content.

    Raises:
        ConfigError: the format cannot hold alternatives, or a record of the source.
        DataError: the source cannot be read.
    """
    output = FORMATS[output_format]
    rows = tuple(name for name in names_of("holds_fields") if FORMATS[name].writes)
    if options.alternatives and output_format not in rows:
        raise ConfigError(f"alternatives can be written to {' or '.join(rows)}, not to {output_format}")
    sink: Sink = output.load().make_sink(options)
    return sink
