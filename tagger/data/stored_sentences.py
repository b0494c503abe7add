"""Sentences of a corpus in mapped arrays, for training data that exceed the memory.

A sentence is built from the arrays when it is read. It has tokens, tags, numbers of its document, line and record, and
the types that it was annotated for. Only the first one has its lines.

Shapes in this module: S sentences, N tokens of all sentences concatenated.
"""

import copy
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import cached_property, lru_cache
from itertools import chain, islice, pairwise
from operator import attrgetter
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from tagger.choices import Scheme
from tagger.data import schemes
from tagger.data.schemes import UNKNOWN, TagPairs
from tagger.data.sentence import Sentence
from tagger.errors import DataError
from tagger.io.array_cache import ArrayCache, Entry, EntryWriter

log = logging.getLogger(__name__)

_BLOCK = 1 << 12  # sentences that are built at once
_TOKEN_BLOCK = 1 << 20  # tokens that are counted at once
_MAX_TOKENS = 2**31 - 1
_MAX_DENSE_PAIRS = 1 << 20
_LOG_SECONDS = 30
_convert = lru_cache(maxsize=1 << 14)(schemes.convert)
_TABLES = "tables"
_Key = TypeVar("_Key")
_NUMBERS = {"documents": np.int32, "lines": np.int64, "records": np.int32}


class _Numbering(dict[_Key, int]):
    """Numbers keys from 0 in the order in which they are first asked for."""

    def __missing__(self, key: _Key) -> int:
        number = self[key] = len(self)
        return number

    def encode(self, keys: Iterable[_Key], count: int) -> NDArray[np.int32]:
        return np.fromiter(map(self.__getitem__, keys), np.int32, count)


class StoredSentences(Sequence[Sentence]):
    """Sentences of an entry of a cache.

    Args:
        source: the entry, or its writer.
        words: the distinct words, in the order of their first occurrence.
        tags: the distinct tags.
        annotated_types: the distinct types that sentences were annotated for; None, for all types, is the first.
        first_lines: the lines of the first sentence.
        has_texts: whether the tags of a sentence are those of annotated spans of a text.

    Attributes:
        word_ids: (N,) the index of each token in `words`.
        tag_ids: (N,) the index of each token's tag in `tags`.
        starts: (S + 1,) the index of the first token of each sentence, and the number of tokens.
        cache: the cache of the entry, for entries that are computed from it; None while it is written.
        name: the name of the entry.
    """

    def __init__(
        self,
        source: Entry | EntryWriter,
        words: Sequence[str],
        tags: Sequence[str],
        annotated_types: Sequence[tuple[str, ...] | None],
        first_lines: Sequence[str],
        *,
        has_texts: bool,
    ) -> None:
        self.words, self.tags, self.has_texts = tuple(words), tuple(tags), has_texts
        self._types, self._first_lines = tuple(annotated_types), tuple(first_lines)
        self._writer = source if isinstance(source, EntryWriter) else None
        read = source.map if isinstance(source, EntryWriter) else source.array
        self.word_ids, self.starts, self.tag_ids = read("words"), read("starts"), read("tags")
        self._numbers = {name: read(name) for name in _NUMBERS}
        self._type_ids = read("types")
        self._scheme: Scheme | None = None
        self.cache: ArrayCache | None = None
        self.name = ""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> Sentence: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Sentence, ...]: ...

    def __getitem__(self, index: int | slice) -> Sentence | tuple[Sentence, ...]:
        if isinstance(index, slice):
            return tuple(self[position] for position in range(*index.indices(len(self))))
        position = range(len(self))[index]
        return next(self._build(position, position + 1))

    def __iter__(self) -> Iterator[Sentence]:
        for first in range(0, len(self), _BLOCK):
            yield from self._build(first, min(first + _BLOCK, len(self)))

    def _build(self, first: int, last: int) -> Iterator[Sentence]:
        bounds = self.starts[first : last + 1].tolist()
        words = list(map(self.words.__getitem__, self.word_ids[bounds[0] : bounds[-1]].tolist()))
        tags = list(map(self.tags.__getitem__, self.tag_ids[bounds[0] : bounds[-1]].tolist()))
        numbers = (array[first:last].tolist() for array in (*self._numbers.values(), self._type_ids))
        for position, ((start, end), document, line, record, types) in enumerate(
            zip(pairwise(bound - bounds[0] for bound in bounds), *numbers, strict=True), first
        ):
            yield Sentence(
                tuple(words[start:end]),
                tags=tuple(tags[start:end]),
                document=document,
                line=line,
                record=record,
                raw=() if position else self._first_lines,
                annotated_types=self._types[types],
            )

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(S,) the number of tokens of each sentence."""
        lengths = np.empty(len(self), np.int32)
        for first in range(0, len(self), _TOKEN_BLOCK):  # without a temporary array of all starts
            lengths[first : first + _TOKEN_BLOCK] = np.diff(self.starts[first : first + _TOKEN_BLOCK + 1])
        return lengths

    @property
    def document_count(self) -> int:
        """The number of documents."""
        documents = self._numbers["documents"]
        present = np.zeros(int(documents.max(initial=-1)) + 1, np.bool_)
        present[documents] = True
        return int(present.sum())

    @property
    def variant(self) -> str:
        """What distinguishes the sentences from others of the same entry: scheme and annotated types."""
        return repr((self._scheme, self._types))

    def documents(self, first: int, last: int) -> list[int]:
        """Returns the document numbers of the sentences in [first, last)."""
        numbers: list[int] = self._numbers["documents"][first:last].tolist()
        return numbers

    def in_scheme(self, scheme: Scheme) -> "StoredSentences":
        """Returns the sentences with tags in another scheme, except those with unknown tags; both are in the cache.

        Raises:
            StorageError: the cache cannot be written.
        """
        assert self.cache is not None

        def write(writer: EntryWriter) -> None:
            writer.write_value(_TABLES, self._append_tags(writer, "tags", lambda tags: _to_scheme(tags, scheme)))

        entry = self.cache.open(f"{self.name}-{scheme}", write)
        changed = copy.copy(self)
        changed.tags, changed.tag_ids, changed._scheme = tuple(entry.value(_TABLES)), entry.array("tags"), scheme
        vars(changed).pop("_pairs", None)
        return changed

    def with_annotated_types(self, types: tuple[str, ...]) -> "StoredSentences":
        """Returns the sentences annotated for types of spans, unless they have their own."""
        changed = copy.copy(self)
        changed._types = (types, *self._types[1:])
        return changed

    def count_words(self) -> Counter[str]:
        """Returns the number of tokens of each word."""
        counts = np.zeros(len(self.words), np.int64)
        for first in range(0, len(self.word_ids), _TOKEN_BLOCK):
            counts += np.bincount(self.word_ids[first : first + _TOKEN_BLOCK], minlength=len(counts))
        return Counter(dict(zip(self.words, counts.tolist(), strict=True)))

    def count_annotated_types(self) -> Counter[tuple[str, ...] | None]:
        """Returns the number of sentences that were annotated for each set of types, None for all types."""
        counts = np.zeros(len(self._types), np.int64)
        for first in range(0, len(self), _TOKEN_BLOCK):
            counts += np.bincount(self._type_ids[first : first + _TOKEN_BLOCK], minlength=len(counts))
        result: Counter[tuple[str, ...] | None] = Counter()
        for types, count in zip(self._types, counts.tolist(), strict=True):
            result[types] += count
        return +result

    def are_annotated_for_all(self, position: int) -> bool:
        """Returns whether a sentence was annotated for all types."""
        return self._types[self._type_ids[position]] is None

    def count_pairs(self) -> TagPairs:
        """Returns the pairs of tags as `schemes.count_pairs` does."""
        return self._pairs

    @cached_property
    def _pairs(self) -> TagPairs:
        size = len(self.tags) + 1  # 0 stands for the bounds of a sentence
        totals: Counter[int] = Counter()
        for first, last in self._blocks():
            starts = self.starts[first : last + 1] - self.starts[first]
            right = self.tag_ids[self.starts[first] : self.starts[last]].astype(np.int64) + 1
            left = np.concatenate([right[:1], right[:-1]])
            left[starts[:-1]] = 0
            pairs = np.concatenate([left * size + right, right[starts[1:] - 1] * size])
            if size * size <= _MAX_DENSE_PAIRS:
                counts = np.bincount(pairs)
                distinct = np.flatnonzero(counts)
                counts = counts[distinct]
            else:
                distinct, counts = np.unique(pairs, return_counts=True)
            totals.update(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))
        names = (None, *self.tags)
        return Counter({(names[pair // size], names[pair % size]): count for pair, count in totals.items()})

    def find(self, wanted: Set[tuple[str, ...]], limit: int) -> list[Sentence]:
        """Returns the sentences with given tokens, in their order; at most `limit` with the same tokens."""
        known = set(self.words) & set(chain.from_iterable(wanted))
        ids = {word: number for number, word in enumerate(self.words) if word in known}
        encoded = [np.array([ids[word] for word in tokens], np.int32) for tokens in wanted if known.issuperset(tokens)]
        counts = {each.tobytes(): 0 for each in encoded}
        if not counts:
            return []
        size = len(self.words)
        keys = np.unique([(len(each) * size + int(each[0])) * size + int(each[-1]) for each in encoded])
        matches = []
        for first, last in self._blocks():
            starts, ends = self.starts[first:last], self.starts[first + 1 : last + 1]
            block_keys = ((ends - starts) * size + self.word_ids[starts]) * size + self.word_ids[ends - 1]
            for position in np.flatnonzero(np.isin(block_keys, keys)).tolist():
                tokens = self.word_ids[starts[position] : ends[position]].tobytes()
                if counts.get(tokens, limit) < limit:
                    counts[tokens] += 1
                    matches.append(self[first + position])
        return matches

    def rewrite_tags(self, convert: Callable[[Sentence], Sentence]) -> "StoredSentences":
        """Returns sentences with other tags; the entry must not be finished.

        Args:
            convert: returns a sentence with as many tags.

        Raises:
            OSError: the disk is full.
        """
        assert self._writer is not None
        numbering = _Numbering[str]()
        for block in _batched(self, _BLOCK):
            tags = list(chain.from_iterable(convert(sentence).tags for sentence in block))
            self._writer.append("converted", numbering.encode(tags, len(tags)))
        self._writer.rename("converted", "tags")
        return StoredSentences(
            self._writer,
            self.words,
            list(numbering),
            self._types,
            self._first_lines,
            has_texts=self.has_texts,
        )

    def finish(self) -> None:
        """Writes the tables of the entry."""
        assert self._writer is not None
        value = [self.words, self.tags, self._types, self._first_lines, self.has_texts]
        self._writer.write_value(_TABLES, value)

    def _append_tags(
        self, writer: EntryWriter, name: str, convert: Callable[[tuple[str, ...]], Sequence[str]]
    ) -> list[str]:
        """Appends the converted tags of all sentences to an array of ids; returns the distinct tags."""
        numbering = _Numbering[str]()
        for first in range(0, len(self), _BLOCK):
            bounds = self.starts[first : first + _BLOCK + 1].tolist()
            tags = list(map(self.tags.__getitem__, self.tag_ids[bounds[0] : bounds[-1]].tolist()))
            parts = (convert(tuple(tags[start - bounds[0] : end - bounds[0]])) for start, end in pairwise(bounds))
            writer.append(name, numbering.encode(chain.from_iterable(parts), len(tags)))
        return list(numbering)

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yields ranges of sentences of about _TOKEN_BLOCK tokens."""
        first, count = 0, len(self)
        while first < count:
            target = int(self.starts[first]) + _TOKEN_BLOCK
            last = min(max(int(np.searchsorted(self.starts, target, "right")) - 1, first + 1), count)
            yield first, last
            first = last


def write(sentences: Iterable[Sentence], writer: EntryWriter) -> StoredSentences:
    """Writes sentences, each with tokens, into a new entry, in one pass; logs the progress.

    Raises:
        DataError: there are too many tokens.
        OSError: the disk is full.
    """
    words, tags = _Numbering[str](), _Numbering[str]()
    types = _Numbering[tuple[str, ...] | None]({None: 0})
    first_lines: tuple[str, ...] = ()
    total, has_texts, logged = 0, False, time.monotonic()
    writer.append("starts", np.zeros(1, np.int64))
    for name, dtype in (*_NUMBERS.items(), ("words", np.int32), ("tags", np.int32), ("types", np.int32)):
        writer.append(name, np.zeros(0, dtype))
    for block in _batched(sentences, _BLOCK):
        first_lines = first_lines or block[0].raw
        lengths = np.fromiter(map(len, block), np.int64, len(block))
        count = int(lengths.sum())
        writer.append("words", words.encode(chain.from_iterable(each.tokens for each in block), count))
        writer.append("tags", tags.encode(chain.from_iterable(each.tags for each in block), count))
        writer.append("starts", total + np.cumsum(lengths))
        for name, dtype in _NUMBERS.items():
            writer.append(name, np.fromiter(map(attrgetter(name[:-1]), block), dtype, len(block)))
        writer.append("types", types.encode(map(attrgetter("annotated_types"), block), len(block)))
        has_texts = has_texts or any(each.has_annotated_text for each in block)
        total += count
        if total > _MAX_TOKENS:
            raise DataError(f"the corpus has over {_MAX_TOKENS:,} tokens, more than a cache holds")
        if time.monotonic() - logged >= _LOG_SECONDS:
            logged = time.monotonic()
            log.info("encoding: %s tokens", f"{total:,}")
    return StoredSentences(writer, list(words), list(tags), list(types), first_lines, has_texts=has_texts)


def read(cache: ArrayCache, name: str, entry: Entry) -> StoredSentences:
    """Returns the sentences of an entry that `write` and `finish` wrote."""
    words, tags, types, first_lines, has_texts = entry.value(_TABLES)
    annotated = [None if each is None else tuple(each) for each in types]
    sentences = StoredSentences(entry, words, tags, annotated, first_lines, has_texts=has_texts)
    sentences.cache, sentences.name = cache, name
    return sentences


def _to_scheme(tags: tuple[str, ...], scheme: Scheme) -> tuple[str, ...]:
    return tags if UNKNOWN in tags else _convert(tags, scheme)  # what unknown tags allow depends on their own scheme


def _batched(sentences: Iterable[Sentence], size: int) -> Iterator[list[Sentence]]:
    iterator = iter(sentences)
    while block := list(islice(iterator, size)):
        yield block


def map_sentences(sentences: Sequence[Sentence], convert: Callable[[Sentence], Sentence]) -> Sequence[Sentence]:
    """Returns sentences with converted tags; stored ones must be in an entry that is being written."""
    if isinstance(sentences, StoredSentences):
        return sentences.rewrite_tags(convert)
    return tuple(map(convert, sentences))


def count_words(sentences: Sequence[Sentence]) -> Counter[str]:
    """Returns the number of tokens of each word."""
    if isinstance(sentences, StoredSentences):
        return sentences.count_words()
    return Counter(chain.from_iterable(sentence.tokens for sentence in sentences))


def count_pairs(sentences: Sequence[Sentence]) -> TagPairs:
    """Returns the pairs of tags, as `schemes.count_pairs`."""
    if isinstance(sentences, StoredSentences):
        return sentences.count_pairs()
    return schemes.count_pairs(sentence.tags for sentence in sentences)


def count_annotated_types(sentences: Sequence[Sentence]) -> Counter[tuple[str, ...] | None]:
    """Returns the number of sentences that were annotated for each set of types, None for all types."""
    if isinstance(sentences, StoredSentences):
        return sentences.count_annotated_types()
    return Counter(sentence.annotated_types for sentence in sentences)
