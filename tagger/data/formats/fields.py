"""The text, the tokens and the tags of a row: a line of JSON lines, a record of JSON or a row of a table."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tagger.data.formats.reading import Fields, shorten
from tagger.io import json_files

TEXT = "text"
TOKENS = "tokens"
ANNOTATED_TYPES = "annotated_types"


def unpack(value: Any) -> dict[str, Any]:
    """Returns the row of a JSON value: an object, a pair of a text and an object, or a document of spaCy 2.

    Raises:
        ValueError: the value is none of these.
    """
    if isinstance(value, dict):
        return _unpack_paragraphs(value) if _has_paragraphs(value) else value
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict):
        return {"text": value[0]} | value[1]
    raise ValueError(f"expected an object in braces, found {json_files.describe(value)}")


def _has_paragraphs(value: Mapping[str, Any]) -> bool:
    """Returns whether an object is a document in the training format of spaCy 2, or a paragraph of one."""
    paragraphs = value.get("paragraphs", [value])
    return isinstance(paragraphs, list) and bool(paragraphs) and all(map(_is_paragraph, paragraphs))


def _is_paragraph(value: Any) -> bool:
    sentences = value.get("sentences") if isinstance(value, dict) else None
    return isinstance(sentences, list) and all(
        isinstance(sentence, dict)
        and isinstance(sentence.get("tokens"), list)
        and all(isinstance(token, dict) and isinstance(token.get("orth"), str) for token in sentence["tokens"])
        for sentence in sentences
    )


def _unpack_paragraphs(value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of a document of spaCy 2: its tokens with their entities and, if all have one, the text."""
    paragraphs = value.get("paragraphs", [value])
    sentences = [sentence["tokens"] for paragraph in paragraphs for sentence in paragraph["sentences"]]
    row: dict[str, Any] = {"id": value["id"]} if "id" in value else {}
    row["tokens"] = [[token["orth"] for token in sentence] for sentence in sentences]
    if any("ner" in token for sentence in sentences for token in sentence):
        row["tags"] = [[token.get("ner", "-") for token in sentence] for sentence in sentences]
    raw = [paragraph.get("raw") for paragraph in paragraphs]
    if all(isinstance(text, str) for text in raw):
        text = "\n\n".join(raw)
        offsets = _find_offsets(text, [token for sentence in row["tokens"] for token in sentence])
        row |= {} if offsets is None else {"text": text, "offsets": offsets}
    return row


def _find_offsets(text: str, tokens: Iterable[str]) -> list[tuple[int, int]] | None:
    """Returns start and end of each token in a text that has them in this order; None for another text."""
    offsets, end = [], 0
    for token in tokens:
        start = text.find(token, end)
        if start < 0 or text[end:start].strip():
            return None
        end = start + len(token)
        offsets.append((start, end))
    return offsets


def find_text(row: Mapping[str, Any], fields: Fields) -> str | None:
    """Returns the text of a row, None if it has none: its field `text` or, in a task of Label Studio, that in `data`.

    Raises:
        ValueError: the text is not a string.
    """
    name = fields.text or TEXT
    text = row.get(name)
    if text is None and isinstance(data := row.get("data"), Mapping):
        text = data.get(name)
        strings = [value for value in data.values() if isinstance(value, str)]
        if text is None and fields.text is None and len(strings) == 1:
            text = strings[0]
    if text is not None and not isinstance(text, str):
        raise ValueError(f"expected a string as {name!r}, found {json_files.describe(text)}")
    return text


def require_text(row: Mapping[str, Any], fields: Fields) -> str:
    """Returns the text of a row.

    Raises:
        ValueError: the row has no text.
    """
    text = find_text(row, fields)
    if text is None:
        present = list_fields(data if isinstance(data := row.get("data"), Mapping) else row)
        raise ValueError(
            f"expected a text as {fields.text or TEXT!r}, found {present}; data.fields.text names the field"
        )
    return text


def find_tokens(row: Mapping[str, Any], fields: Fields) -> Any:
    """Returns the tokens of a row, None if it has none.

    Tools that describe tokens as objects have split the text with another tokenizer; their text is split again, unless
    there is none.
    """
    tokens = row.get(fields.tokens or TOKENS)
    if isinstance(tokens, list) and tokens and all(isinstance(token, Mapping) for token in tokens):
        if find_text(row, fields) is not None:
            return None
        return [token.get("text") for token in tokens]
    return tokens


def split_tokens(row: Mapping[str, Any], tokens: Any) -> list[list[str]]:
    """Returns the sentences of a row's tokens: those of a list of lists, or those that the field `sentences` bounds.

    Raises:
        ValueError: a token is not a string or is empty, or `tokens` is no list.
    """
    if not isinstance(tokens, list):
        raise ValueError(f"expected a list as 'tokens', found {json_files.describe(tokens)}")
    is_nested = bool(tokens) and isinstance(tokens[0], list)
    sentences = tokens if is_nested else [tokens] if tokens else []
    for sentence in sentences:
        if not isinstance(sentence, list):
            raise ValueError(f"expected a list of tokens for each sentence, found {json_files.describe(sentence)}")
        for position, token in enumerate(sentence, 1):
            if not isinstance(token, str) or not token:
                raise ValueError(
                    f"expected a string that is not empty as token {position}, found {json_files.describe(token)}"
                )
    if not is_nested and (bounds := _sentence_bounds(row.get("sentences"), len(tokens))):
        return [tokens[start:end] for start, end in bounds]
    return sentences


def split_tags(tags: Any, sentences: list[list[str]], name: str, tag_names: Sequence[str]) -> list[list[str]]:
    """Returns the tags of each sentence.

    Raises:
        ValueError: there are not as many tags as tokens, or a tag has no name.
    """
    if not isinstance(tags, list):
        raise ValueError(f"expected a list as {name!r}, found {json_files.describe(tags)}")
    if tags and isinstance(tags[0], list):
        if [len(inner) if isinstance(inner, list) else -1 for inner in tags] != list(map(len, sentences)):
            raise ValueError(f"expected as many lists of tags in {name!r} as of tokens, each of the same length")
        return [[_name_tag(tag, name, tag_names) for tag in inner] for inner in tags]
    total = sum(map(len, sentences))
    if len(tags) != total:
        raise ValueError(f"expected {total} tags in {name!r}, one per token, found {len(tags)}")
    names, split, start = [_name_tag(tag, name, tag_names) for tag in tags], [], 0
    for sentence in sentences:
        split.append(names[start : start + len(sentence)])
        start += len(sentence)
    return split


def find_annotated_types(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Returns the types of spans that a row was annotated for, its field `annotated_types`; None for all.

    Raises:
        ValueError: the field is not a list of types.
    """
    types = row.get(ANNOTATED_TYPES)
    if types is None:
        return None
    if not isinstance(types, list) or not all(isinstance(kind, str) and kind for kind in types):
        raise ValueError(f"expected a list of types as {ANNOTATED_TYPES!r}, found {json_files.describe(types)}")
    return tuple(types)


def list_fields(row: Mapping[str, Any]) -> str:
    """Returns the names of a row's fields, for a message."""
    return shorten(", ".join(f"{name!r}{' (null)' * (row[name] is None)}" for name in row) or "no field")


def join_names(names: Iterable[str], word: str = "and") -> str:
    """Returns quoted names as they read in a sentence.

    >>> join_names(["a", "b", "c"])
    "'a', 'b' and 'c'"
    """
    *initial, last = [repr(name) for name in names]
    return f"{', '.join(initial)} {word} {last}" if initial else last


def _sentence_bounds(value: Any, length: int) -> list[tuple[int, int]]:
    """Returns the token indices at which sentences start and end, from this toolkit's output; else nothing."""
    if not isinstance(value, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        return []
    bounds = [(start, end) for start, end in value if isinstance(start, int) and isinstance(end, int)]
    edges = [(0, 0), *bounds, (length, length)]
    is_partition = len(bounds) == len(value) and all(left[1] == right[0] for left, right in pairwise(edges))
    return bounds if is_partition and all(start <= end for start, end in bounds) else []


def _name_tag(tag: Any, name: str, tag_names: Sequence[str]) -> str:
    if isinstance(tag, str) and tag:
        return tag
    if isinstance(tag, int) and not isinstance(tag, bool):
        if 0 <= tag < len(tag_names):
            return tag_names[tag]
        raise ValueError(f"the tag {tag} in {name!r} has no name; data.tag_names names the tags 0, 1, 2, …")
    raise ValueError(f"expected a string as a tag in {name!r}, found {json_files.describe(tag)}")
