"""Rows of JSON lines and tables: converts named values to a record."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tagger.data.formats import fields as row_fields
from tagger.data.formats import text as texts
from tagger.data.formats.annotated_sentences import Origin, build_sentences
from tagger.data.formats.annotations import RowAnnotations, Skipped, TextSpans, TokenTags
from tagger.data.formats.reading import Fields, ReadOptions
from tagger.data.sentence import Record, Sentence


def record(row: Mapping[str, Any], number: int, options: ReadOptions, *, line: int = 0, size: int = 0) -> Record:
    """Returns the record of a row. Its sentences are the row's tokens or, without tokens, its text after splitting.

    Tokens are a list of strings (one sentence) or a list of such lists. With tokens, a text is only carried. The
    document's id is the first string or integer among `document`, `id` and the row's number from 0. Consecutive rows
    with the same id are one document.

    Args:
        row: the fields by name; all are carried to the output.
        number: the row's number, from 1.
        options: the language of the text, and the names of the fields.
        line: the number of the row's first line, from 1; 0 if that is the row's number.
        size: the record's size in memory; see `Record`.

    Raises:
        ValueError: the row has neither tokens nor text, one has another type, or a token is empty.
        ConfigError: spaCy is not installed or does not support the language.
    """
    fields = options.annotations.fields
    if row_fields.find_tokens(row, fields) is None and row_fields.find_text(row, fields) is None:
        fields = Fields()  # a model that was trained on fields with other names tags rows with the usual ones too
    document, numbered = _identify_document(row, number)
    line = line or number
    if (tokens := row_fields.find_tokens(row, fields)) is not None:
        sentences = tuple(Sentence(tuple(sentence), line=line) for sentence in row_fields.split_tokens(row, tokens))
        return Record(sentences, document, line, fields=row, numbered=numbered, size=size)
    if (text := row_fields.find_text(row, fields)) is None:
        raise ValueError(_missing_fault(row, fields))
    sentences = tuple(texts.splitter(options.language)(text, line=line, newline=options.newline))
    return Record(sentences, document, line, text, fields=row, numbered=numbered, size=size)


class TaggedRows:
    """Converts the annotated rows of one source to records with tags.

    Args:
        options: the options; its notices collect what is changed, skipped or left out.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._annotations = RowAnnotations(options.annotations)
        self._document: str | int | None = None  # the id of the last row's document
        self._count = -1  # of documents before that one

    def record(
        self, row: Mapping[str, Any], number: int, location: str, *, line: int = 0, size: int = 0
    ) -> Record | None:
        """Returns the record of a row, whose sentences have tags; None for a row that is no training data.

        Args:
            row: the fields by name.
            number: the row's number, from 1.
            location: the file and the row in messages.
            line: the number of the row's first line, from 1; 0 if that is the row's number.
            size: the record's size in memory; see `Record`.

        Raises:
            ValueError: the row has no annotation, or one that cannot be read; or a span is at fault, and the option
                `misaligned` is stop.
            ConfigError: spaCy is not installed or does not support the language.
        """
        annotation, left_out = self._annotations.read(row)
        for kind in left_out:
            self._options.notices.add(kind, f"{location}: left out")
        if isinstance(annotation, Skipped):
            self._options.notices.add(annotation.kind, f"{location}: {annotation.message}")
            return None
        document, numbered = _identify_document(row, number)
        if document != self._document:
            self._document, self._count = document, self._count + 1
        origin = Origin(location, line or number, self._count)
        sentences = build_sentences(annotation, origin, self._options)
        if (types := row_fields.find_annotated_types(row)) is not None:
            sentences = [replace(sentence, annotated_types=types) for sentence in sentences]
        text = annotation.text if isinstance(annotation, TextSpans | TokenTags) else None
        return Record(tuple(sentences), document, origin.line, text, fields=row, numbered=numbered, size=size)


def source_document(record: Record) -> Any:
    """Returns the field `document` of a record's source, of any type, else the document's id."""
    document = record.fields.get("document")
    return record.document if document is None else document


def _missing_fault(row: Mapping[str, Any], fields: Fields) -> str:
    expected = [fields.text or row_fields.TEXT, fields.tokens or row_fields.TOKENS]
    nulls = [repr(name) for name in reversed(expected) if name in row]
    if nulls:
        return f"the fields {' and '.join(nulls)} are null" if len(nulls) > 1 else f"the field {nulls[0]} is null"
    return f"expected a field {row_fields.join_names(expected, 'or')}, found {row_fields.list_fields(row)}"


def _identify_document(row: Mapping[str, Any], number: int) -> tuple[str | int, bool]:
    """Returns the id of a row's document, and whether it is only the row's number, because the row has no id."""
    for name in ("document", "id"):
        if isinstance(value := row.get(name), str | int) and not isinstance(value, bool):
            return value, False
    return number - 1, True
