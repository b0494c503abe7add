"""Rows of JSON lines and tables: converts named values to a record."""

from collections.abc import Mapping
from typing import Any

from tagger.data.formats import text as texts
from tagger.data.formats.reading import shorten
from tagger.data.sentence import Record, Sentence


def record(row: Mapping[str, Any], number: int, language: str, size: int = 0) -> Record:
    """Returns the record of a row. Its sentences are the row's tokens or, without tokens, its text after splitting.

    Tokens are a list of strings (one sentence) or a list of such lists. With tokens, a text is only carried. The
    document's id is the first string or integer among `document`, `id` and the row's number from 0. Consecutive rows
    with the same id are one document.

    Args:
        row: the fields by name; all are carried to the output.
        number: the row's number, from 1.
        language: the language of the text.
        size: the record's size in memory; see `Record`.

    Raises:
        ValueError: the row has neither tokens nor text, one has another type, or a token is empty.
        ConfigError: spaCy is not installed or does not support the language.
    """
    source_id = _document_id(row)
    document, numbered = (number - 1, True) if source_id is None else (source_id, False)
    if (tokens := row.get("tokens")) is not None:
        return Record(tuple(_sentences(tokens, number)), document, number, fields=row, numbered=numbered, size=size)
    if (text := row.get("text")) is None:
        raise ValueError(_missing_fault(row))
    if not isinstance(text, str):
        raise ValueError(f"expected a string as 'text', found {shorten(repr(text))}")
    sentences = tuple(texts.splitter(language)(text, line=number))
    return Record(sentences, document, number, text, fields=row, numbered=numbered, size=size)


def source_document(record: Record) -> Any:
    """Returns the field `document` of a record's source, of any type, else the document's id."""
    document = record.fields.get("document")
    return record.document if document is None else document


def _missing_fault(row: Mapping[str, Any]) -> str:
    nulls = [repr(name) for name in ("tokens", "text") if name in row]
    if nulls:
        return f"the fields {' and '.join(nulls)} are null" if len(nulls) > 1 else f"the field {nulls[0]} is null"
    names = ", ".join(map(repr, row)) or "no field"
    return f"expected a field 'text' or 'tokens', found {shorten(names)}"


def _document_id(row: Mapping[str, Any]) -> str | int | None:
    for name in ("document", "id"):
        if isinstance(value := row.get(name), str | int) and not isinstance(value, bool):
            return value
    return None


def _sentences(tokens: Any, number: int) -> list[Sentence]:
    if not isinstance(tokens, list):
        raise ValueError(f"expected a list as 'tokens', found {shorten(repr(tokens))}")
    is_nested = bool(tokens) and isinstance(tokens[0], list)
    sentences = tokens if is_nested else [tokens] if tokens else []
    for sentence in sentences:
        if not isinstance(sentence, list):
            raise ValueError(f"expected a list of tokens for each sentence, found {shorten(repr(sentence))}")
        for position, token in enumerate(sentence, 1):
            if not isinstance(token, str) or not token:
                raise ValueError(
                    f"expected a string that is not empty as token {position}, found {shorten(repr(token))}"
                )
    return [Sentence(tuple(sentence), line=number) for sentence in sentences]
