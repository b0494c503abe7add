"""Rows: what JSON lines and tables have in common, a record as named values before and after it was tagged."""

from collections.abc import Mapping
from typing import Any

from tagger.data.formats import text as texts
from tagger.data.sentence import Record, Sentence


def record(row: Mapping[str, Any], number: int, language: str, size: int = 0) -> Record:
    """Returns the record of a row: its tokens, or its text split if there are none; all other fields are carried.

    Tokens are a list of strings, which is one sentence, or a list of such lists; a text beside them is only carried.
    The document's id is the row's own `document`, else its `id`, else the row's number from 0: the first of them that
    is a string or a whole number, as it stands. Rows may share an id; those that follow one another are one document.

    Args:
        row: the fields by name.
        number: the row's number, from 1.
        language: that of the text.
        size: the record's size in memory, as `Record` has it.

    Raises:
        ValueError: the row has neither, or they are of another type, or a token is empty.
        ConfigError: spaCy is not there or does not know the language.
    """
    known = _document(row)
    document, numbered = (number - 1, True) if known is None else (known, False)
    if (tokens := row.get("tokens")) is not None:
        return Record(tuple(_sentences(tokens, number)), document, number, fields=row, numbered=numbered, size=size)
    if (text := row.get("text")) is None:
        raise ValueError(_without_text(row))
    if not isinstance(text, str):
        raise ValueError(f"expected a string as 'text', found {_shown(repr(text))}")
    sentences = tuple(texts.splitter(language)(text, line=number))
    return Record(sentences, document, number, text, fields=row, numbered=numbered, size=size)


def _without_text(row: Mapping[str, Any]) -> str:
    nulls = [repr(name) for name in ("tokens", "text") if name in row]
    if nulls:
        return f"the fields {' and '.join(nulls)} are null" if len(nulls) > 1 else f"the field {nulls[0]} is null"
    found = ", ".join(map(repr, row)) or "no field"
    return f"expected a field 'text' or 'tokens', found {_shown(found)}"


def _document(row: Mapping[str, Any]) -> str | int | None:
    for name in ("document", "id"):
        if isinstance(value := row.get(name), str | int) and not isinstance(value, bool):
            return value
    return None


def _sentences(tokens: Any, number: int) -> list[Sentence]:
    if not isinstance(tokens, list):
        raise ValueError(f"expected a list as 'tokens', found {_shown(repr(tokens))}")
    several = bool(tokens) and isinstance(tokens[0], list)
    sentences = tokens if several else [tokens] if tokens else []
    for sentence in sentences:
        if not isinstance(sentence, list):
            raise ValueError(f"expected a list of tokens for each sentence, found {_shown(repr(sentence))}")
        for place, token in enumerate(sentence):
            if not isinstance(token, str) or not token:
                raise ValueError(
                    f"expected a string that is not empty as token {place + 1}, found {_shown(repr(token))}"
                )
    return [Sentence(tuple(sentence), line=number) for sentence in sentences]


def own_document(record: Record) -> Any:
    """Returns what a record's fields say of its document, whatever that is, else the document's id."""
    own = record.fields.get("document")
    return record.document if own is None else own


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
