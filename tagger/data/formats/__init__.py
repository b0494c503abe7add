"""File formats. A format is one module of this folder and one row of `FORMATS`.

The module of a format that is read has `read_records(source, options)`, that of one that is written
`make_sink(options)`. Modules are imported when they are used: Arrow and spaCy take time to load.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tagger.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Format:
    """What a file format holds and what can be done with it.

    Attributes:
        module: the module of this folder that implements it.
        suffixes: the file-name suffixes from which it is guessed; the first is that of output files.
        reads: whether files to tag can have it.
        writes: whether output can have it.
        holds_tags: whether it holds one tag per token.
        holds_spans: whether it holds spans by their bounds.
        has_offsets: whether a record may hold a text, which is split into several sentences of tokens with offsets.
        holds_fields: whether its records are rows with any other fields, which are carried to the output.
        is_training_data: whether a recipe can train on it.
        has_documents: whether several of its records may belong to one document.
    """

    module: str
    suffixes: tuple[str, ...] = ()
    reads: bool = False
    writes: bool = False
    holds_tags: bool = False
    holds_spans: bool = False
    has_offsets: bool = False
    holds_fields: bool = False
    is_training_data: bool = False
    has_documents: bool = False

    @property
    def is_corpus(self) -> bool:
        """Whether it is a file of sentences, with lines between them that belong to no sentence."""
        return self.reads and self.is_training_data

    def load(self) -> Any:
        """Returns the module that implements the format."""
        return import_module(f"{__name__}.{self.module}")


FORMATS: dict[str, Format] = {
    "text": Format("text", reads=True, has_offsets=True, has_documents=True),
    "lines": Format("lines", reads=True),
    "columns": Format(
        "columns",
        (".conll", ".iob", ".bio", ".col", ".tsv"),
        reads=True,
        writes=True,
        holds_tags=True,
        is_training_data=True,
        has_documents=True,
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
        has_offsets=True,
        holds_fields=True,
    ),
    "tsv": Format("spans", (".tsv",), writes=True, holds_spans=True),
    "parquet": Format(
        "parquet",
        (".parquet",),
        reads=True,
        writes=True,
        holds_tags=True,
        holds_spans=True,
        has_offsets=True,
        holds_fields=True,
    ),
    "html": Format("html", (".html",), writes=True, holds_spans=True),
    "datasets": Format("hub", is_training_data=True, holds_tags=True),
}
"""All formats by name, in the order of messages and help; `tagger.choices` has the names as types."""


def names_of(attribute: str) -> tuple[str, ...]:
    """Returns the names of the formats with a property.

    >>> names_of("has_offsets")
    ('text', 'jsonl', 'parquet')
    """
    return tuple(name for name, each in FORMATS.items() if getattr(each, attribute))


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns hold the token and the tag: a number from 0, from the end if negative, or a name in `names`.

    Tags are written into a new last column if `tag` is None, is the token's column or is not among a file's columns.
    If `fixed`, such a column is an error, except for the one right after the last.
    """

    token: int | str = 0
    tag: int | str | None = -1
    names: tuple[str, ...] = ()
    fixed: bool = False

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
