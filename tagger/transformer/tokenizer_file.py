"""Validates a `tokenizer.json`, which may come from anywhere, before a library reads it."""

import math
from collections.abc import Iterator
from typing import Any

from tagger.io import json_files

MAX_BYTES = 1 << 26
_MAX_PARTS, _MAX_PATTERN, _MAX_GROWTH, _MAX_ADDED = 32, 1_000, 64, 20_000
_MAX_MAP = 1 << 19  # characters of a table of normal forms, in base64
_MAX_ID = 1 << 31
_MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_PARTS = frozenset(
    (
        *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend", "Replace"),
        *("Sequence", "Strip", "StripAccents", "ByteLevel", "BertPreTokenizer", "Digits", "Metaspace", "Punctuation"),
        *("Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"),
    )
)


def parse(data: bytes) -> dict[str, Any]:
    """Returns the content of a tokenizer file, without padding, truncation and random splits.

    The time and the memory that the tokenizer takes for a word are limited.

    Raises:
        ValueError: it is not a tokenizer file, or has a part that is not supported; the message is one line.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has {len(data)} bytes; at most {MAX_BYTES} are read")
    raw = json_files.parse(data)
    model = raw.get("model") if isinstance(raw, dict) else None
    if not isinstance(model, dict):
        raise ValueError("it is not a tokenizer: a JSON object with a `model`")
    if "type" in model and model["type"] not in _MODELS:
        raise ValueError(f"its model is {str(model['type'])[:60]!r}; supported are {', '.join(_MODELS)}")
    if model.get("dropout"):
        model["dropout"] = None
    _check_added_tokens(raw.get("added_tokens"))
    _check_parts([*_parts(raw.get("normalizer")), *_parts(raw.get("pre_tokenizer"))])
    raw.update(padding=None, truncation=None, added_tokens=raw.get("added_tokens") or [])
    return dict(raw)


def is_byte_level(raw: dict[str, Any]) -> bool:
    """Returns whether words are split into bytes: such a tokenizer reads a space as a part of the word."""
    return any(part["type"] == "ByteLevel" for part in _parts(raw.get("pre_tokenizer")))


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    """Yields the parts of a normalizer or pre-tokenizer, sequences included."""
    if part is None:
        return
    kind = part.get("type") if isinstance(part, dict) else part
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in _PARTS:
        raise ValueError(f"its part {str(kind)[:60]!r} is not supported")
    yield part
    if kind == "Sequence":
        parts = part.get("normalizers", part.get("pretokenizers"))
        for inner in parts if isinstance(parts, list) else ():
            yield from _parts(inner)


def _check_parts(parts: list[dict[str, Any]]) -> None:
    if len(parts) > _MAX_PARTS:
        raise ValueError(
            f"its normalizer and pre-tokenizer have {len(parts)} parts; at most {_MAX_PARTS} are supported"
        )
    if any(len(json_files.dump(part.get("pattern"))) > _MAX_PATTERN for part in parts):
        raise ValueError(f"it has a pattern of over {_MAX_PATTERN} characters")
    if any(len(str(part.get("precompiled_charsmap"))) > _MAX_MAP for part in parts):
        raise ValueError(f"its table of normal forms has over {_MAX_MAP} characters")
    contents = [str(part.get("content", part.get("prepend", ""))) for part in parts]
    if math.prod(max(1, len(content)) for content in contents) > _MAX_GROWTH:
        raise ValueError(f"its normalizer may make a text over {_MAX_GROWTH} times as long")


def _check_added_tokens(tokens: Any) -> None:
    if tokens is None:
        return
    if not isinstance(tokens, list) or len(tokens) > _MAX_ADDED:
        raise ValueError(f"its `added_tokens` are not an array of at most {_MAX_ADDED} tokens")
    for token in tokens:
        is_valid = isinstance(token, dict) and type(token.get("special")) is bool and type(token.get("id")) is int
        if not is_valid or not 0 <= token["id"] < _MAX_ID:
            raise ValueError("its `added_tokens` are not valid")
