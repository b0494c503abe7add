"""The names that header lines give to columns."""

import re
from collections.abc import Sequence

_TOKEN = re.compile(r"tokens?|words?|form|text", re.IGNORECASE)
_TAG = re.compile(r"(ner|pos|iob|bio|entity)?[ _-]?(tags?|labels?)|ner|pos|upos|xpos|entity|iob|bio", re.IGNORECASE)
_SENTENCE = re.compile(r"sent(ence)?([ _-]?(id|no|nr|number|idx|index|#))?", re.IGNORECASE)
_DOCUMENT = re.compile(r"doc(ument)?([ _-]?(id|no|nr|number|idx|index|name|#))?", re.IGNORECASE)


def find_token(names: Sequence[str]) -> int | None:
    """Returns the index of the column that is named as a token's; None if there is none.

    >>> find_token(["Sentence #", "Word", "POS", "Tag"])
    1
    """
    return _find(names, _TOKEN)


def find_tag(names: Sequence[str]) -> int | None:
    """Returns the index of the last column that is named as a tag's; None if there is none."""
    index = _find(names[::-1], _TAG)
    return None if index is None else len(names) - 1 - index


def find_sentence(names: Sequence[str]) -> int | None:
    """Returns the index of the column that is named as a sentence's number or id; None if there is none."""
    return _find(names, _SENTENCE)


def find_document(names: Sequence[str]) -> int | None:
    """Returns the index of the column that is named as a document's number, id or name; None if there is none."""
    return _find(names, _DOCUMENT)


def is_header(row: Sequence[str]) -> bool:
    """Returns whether a row names a column of tokens and another of tags.

    >>> is_header(["token", "tag"]), is_header(["text", "NN"])
    (True, False)
    """
    token, tag = find_token(row), find_tag(row)
    return token is not None and tag is not None and token != tag


def _find(names: Sequence[str], pattern: re.Pattern[str]) -> int | None:
    return next((index for index, name in enumerate(names) if pattern.fullmatch(name.strip())), None)
