"""Subwords of tokens, by a fast tokenizer of Hugging Face's library; its file may come from anywhere."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tagger.data.word_cache import Ids
from tagger.errors import ConfigError, ModelError
from tagger.io import json_files
from tagger.transformer import tokenizer_file
from tagger.transformer.windows import Subwords

MAX_CHARACTERS = 256
"""Characters of a token that are read."""
MAX_TOKEN_SUBWORDS = 64
"""Subwords of a token that are read."""
MISSING_LIBRARY = "a transformer needs transformers: pip install 'bilstm-crf-tagger[transformers]'"
_MAX_CACHED = 200_000
_MAX_SPECIAL = 8  # special tokens before or after a window


class SubwordEncoder:
    """Splits tokens into subwords, each as a word of its own, and caches the subwords of each distinct token.

    Text such as `[SEP]` never becomes a special token. A token without subwords becomes one unknown token.
    Without an unknown token, it is read as a space, or else as the first ordinary subword.
    Threads may share an encoder, and processes that fork inherit it.

    Args:
        data: the file `tokenizer.json`.

    Raises:
        ConfigError: the tokenizers library is not installed.
        ValueError: `data` is not a tokenizer of words; the message is one line.

    Attributes:
        data: the file `tokenizer.json`.
        prefix: ids of the special tokens before a window.
        suffix: ids of the special tokens after a window.
        max_id: the largest id of a subword.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        raw = tokenizer_file.parse(data)
        with _convert_panics():
            self._tokenizer = _build_tokenizer(raw)
            vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
            self.prefix, self.suffix = _find_special_ids(self._tokenizer)
            self._special = {token["id"] for token in raw["added_tokens"] if token["special"]}
            self._special |= {*self.prefix, *self.suffix}
            self._leading_space = " " * tokenizer_file.is_byte_level(raw)
            self._fallback = self._find_fallback(raw, vocabulary)
        self.max_id = max((*vocabulary.values(), *self._special))
        self._cache: dict[str, tuple[int, ...]] = {}

    def __reduce__(self) -> tuple[type["SubwordEncoder"], tuple[bytes]]:
        return SubwordEncoder, (self.data,)

    def encode(self, tokens: Sequence[str]) -> Subwords:
        """Returns the subwords of tokens.

        Raises:
            ModelError: the tokenizer fails, which one of another author may do.
        """
        rows = [self._cache.get(token) or self._encode_new(token) for token in tokens]
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        ids: Ids = np.fromiter((subword for row in rows for subword in row), np.int64, counts.sum())
        return Subwords(ids, counts)

    def _encode_new(self, token: str) -> tuple[int, ...]:
        try:
            with _convert_panics():
                row = self._split(token[:MAX_CHARACTERS])
        except ValueError as error:
            raise ModelError(f"the transformer's tokenizer cannot read {token[:50]!r}: {error}") from error
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()  # no lock is needed: each step on a dict is atomic
        self._cache[token] = row
        return row

    def _split(self, text: str) -> tuple[int, ...]:
        # A lone surrogate, which stands for a byte of a file that is not UTF-8, is no text for the library.
        text = text.encode(errors="replace").decode()
        prefix = "" if text.startswith(" ") else self._leading_space  # as `add_prefix_space` does
        ids = self._tokenizer.encode(prefix + text, add_special_tokens=False).ids[:MAX_TOKEN_SUBWORDS]
        return tuple(self._fallback if subword in self._special else subword for subword in ids) or (self._fallback,)

    def _find_fallback(self, raw: Mapping[str, Any], vocabulary: Mapping[str, int]) -> int:
        """Returns the id of the unknown token; without one, of a space or the first ordinary subword."""
        unknown, unknown_id = raw["model"].get("unk_token"), raw["model"].get("unk_id")
        if isinstance(unknown, str):
            if unknown not in vocabulary:
                raise ValueError(f"its unknown token {unknown[:60]!r} is not in its vocabulary")
            return vocabulary[unknown]
        if unknown_id is not None:
            if type(unknown_id) is not int or unknown_id not in vocabulary.values():
                raise ValueError(f"its unknown token has the id {str(unknown_id)[:60]}, which is not in its vocabulary")
            return unknown_id
        ordinary = sorted(set(vocabulary.values()) - self._special)
        if not ordinary:
            raise ValueError("it has no subwords")
        space = self._tokenizer.encode(" ", add_special_tokens=False).ids[:1]
        return space[0] if space and space[0] not in self._special else ordinary[0]


def _build_tokenizer(raw: Mapping[str, Any]) -> Any:
    try:
        from tokenizers import Tokenizer  # an extra
    except ImportError as error:
        raise ConfigError(MISSING_LIBRARY) from error
    tokenizer = Tokenizer.from_str(json_files.dump(raw).decode())
    tokenizer.encode_special_tokens = True  # text such as `[SEP]` is read as text
    return tokenizer


def _find_special_ids(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the special tokens that the tokenizer puts before and after a text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    ids = tokenizer.encode("a", add_special_tokens=True).ids
    count = len(ids) - len(plain)
    starts = [start for start in range(count + 1) if ids[start : start + len(plain)] == plain]
    if not plain or not starts or count > 2 * _MAX_SPECIAL:
        raise ValueError("it does not put special tokens before and after a text")
    start = starts[len(starts) // 2]
    return tuple(ids[:start]), tuple(ids[start + len(plain) :])


@contextmanager
def _convert_panics() -> Iterator[None]:
    """Converts an exception of the library, which may be a panic of its Rust code, to a ValueError of one line."""
    try:
        yield
    except (ConfigError, ValueError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error
