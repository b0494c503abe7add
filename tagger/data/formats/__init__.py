"""File formats. A format is one module or package of this folder and one row of `FORMATS`.

A format that can be read has a function `read_records(source, options)`, a format that can be written a function
`make_sink(options)`. A format of training data has `read_tagged(source, options)`, which yields sentences, if it is a
corpus, else `read_tagged_records(source, options)`. Modules are imported on first use, because importing Arrow and
spaCy takes time.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tagger.choices import TagFormat
from tagger.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Format:
    """The properties of a file format.

    Attributes:
        module: the module of this folder that implements the format.
        suffixes: the file-name suffixes of the format; output files get the first.
        reads: whether the toolkit tags files of the format.
        writes: whether the toolkit writes output in the format.
        holds_tags: whether files have one tag per token.
        holds_spans: whether files have spans with start and end.
        holds_texts: whether a record may be a text, which the tokenizer splits into sentences of tokens.
        has_offsets: whether a record may have a text, in which its tokens have offsets.
        holds_fields: whether records are rows with further fields, which are carried to the output.
        is_training_data: whether a recipe can train on files of the format.
        has_documents: whether several records may belong to one document.
        has_columns: whether tokens and tags are columns of rows, by number or name.
        needs_file: whether only `Sink.finish` completes an output, so that it cannot be a stream.
        index: the name of the file that links the outputs of a job; the module then has a function `index`.
    """

    module: str
    suffixes: tuple[str, ...] = ()
    reads: bool = False
    writes: bool = False
    holds_tags: bool = False
    holds_spans: bool = False
    holds_texts: bool = False
    has_offsets: bool = False
    holds_fields: bool = False
    is_training_data: bool = False
    has_documents: bool = False
    has_columns: bool = False
    needs_file: bool = False
    index: str | None = None

    @property
    def is_corpus(self) -> bool:
        """Whether files hold lines of tagged sentences, and lines that belong to no sentence."""
        return self.reads and self.is_training_data and not self.has_offsets

    def load(self) -> Any:
        """Returns the module that implements the format."""
        return import_module(f"{__name__}.{self.module}")


FORMATS: dict[str, Format] = {
    "text": Format("text", reads=True, holds_texts=True, has_offsets=True, has_documents=True),
    "lines": Format("lines", reads=True),
    "columns": Format(
        "columns",
        (".conll", ".iob", ".bio", ".col", ".tsv"),
        reads=True,
        writes=True,
        holds_tags=True,
        is_training_data=True,
        has_documents=True,
        has_columns=True,
    ),
    "csv": Format(
        "csv",
        (".csv",),
        reads=True,
        writes=True,
        holds_tags=True,
        is_training_data=True,
        has_documents=True,
        has_columns=True,
    ),
    "pipes": Format(
        "pipes",
        (".pipes",),
        reads=True,
        writes=True,
        holds_tags=True,
        is_training_data=True,
        has_documents=True,
        has_columns=True,
    ),
    "conllu": Format(
        "conllu",
        (".conllu",),
        reads=True,
        writes=True,
        holds_tags=True,
        is_training_data=True,
        has_documents=True,
    ),
    "jsonl": Format(
        "jsonl",
        (".jsonl", ".ndjson"),
        reads=True,
        writes=True,
        holds_tags=True,
        holds_spans=True,
        holds_texts=True,
        has_offsets=True,
        holds_fields=True,
        is_training_data=True,
    ),
    "json": Format(
        "json_file",
        (".json",),
        reads=True,
        holds_texts=True,
        has_offsets=True,
        holds_fields=True,
        is_training_data=True,
    ),
    "doccano": Format("doccano", (".jsonl",), writes=True, holds_spans=True),
    "label-studio": Format("label_studio", (".json",), writes=True, holds_spans=True, needs_file=True),
    "prodigy": Format("prodigy", (".jsonl",), writes=True, holds_spans=True),
    "tsv": Format("spans", (".tsv",), writes=True, holds_spans=True),
    "parquet": Format(
        "parquet",
        (".parquet",),
        reads=True,
        writes=True,
        holds_tags=True,
        holds_spans=True,
        holds_texts=True,
        has_offsets=True,
        holds_fields=True,
        is_training_data=True,
        needs_file=True,
    ),
    "brat": Format(
        "brat",
        (".ann",),
        reads=True,
        writes=True,
        holds_spans=True,
        holds_texts=True,
        has_offsets=True,
        is_training_data=True,
        has_documents=True,
        needs_file=True,
    ),
    "spacy": Format(
        "doc_bin",
        (".spacy",),
        reads=True,
        writes=True,
        holds_tags=True,
        holds_spans=True,
        has_offsets=True,
        is_training_data=True,
        needs_file=True,
    ),
    "html": Format("html", (".html",), writes=True, holds_spans=True, index="index.html"),
    "datasets": Format("hub", holds_tags=True, holds_fields=True, is_training_data=True),
}
"""All formats by name, in the order of messages and help; `tagger.choices` has the names as types."""


def names_of(attribute: str) -> tuple[str, ...]:
    """Returns the names of the formats with a property.

    >>> names_of("has_offsets")
    ('text', 'jsonl', 'json', 'parquet', 'brat', 'spacy')
    """
    return tuple(name for name, each in FORMATS.items() if getattr(each, attribute))


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of token and tag, and how the tags are to be read.

    A column is a number from 0, negative from the end, or a name in `names`. Tags are written into a new last column
    if `tag` is None, is the token's column or does not exist in the file. If `fixed`, such a column is an error, except
    the one directly after the last.

    Attributes:
        token: the column of the token.
        tag: the column of the tag.
        names: the names of the columns.
        fixed: whether the tag's column must exist.
        tag_format: how tags encode spans in the file; see `tagger.data.tag_formats`.
        outside_tag: the tag of tokens outside spans in the file.
        unknown_tag: the tag of tokens that were not annotated; None if all are.
        comments: how comment lines start; `auto` for lines that look like comments, `none` if there are none.
    """

    token: int | str = 0
    tag: int | str | None = -1
    names: tuple[str, ...] = ()
    fixed: bool = False
    tag_format: TagFormat = "auto"
    outside_tag: str = "O"
    comments: str = "auto"
    unknown_tag: str | None = None

    def number(self, column: int | str) -> int:
        """Returns the number of a column.

        Raises:
            ConfigError: no column has that name.
        """
        if isinstance(column, int):
            return column
        if column not in self.names:
            known = ", ".join(self.names) or "none: name them in data.columns"
            raise ConfigError(f"no column is called '{column}'; the columns are {known}")
        return self.names.index(column)
