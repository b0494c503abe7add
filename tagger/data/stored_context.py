"""The document context of stored sentences, which is stored beside them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tagger.data.document_context import CASING_FEATURES, Occurrences, PassageNumbering, find_occurrences
from tagger.data.stored_sentences import StoredSentences
from tagger.data.word_encoding import encode_casing, number_keys
from tagger.io.array_cache import EntryWriter

_SENTENCES = 1 << 14  # whose passages are numbered at once
_TOKENS = 1 << 19  # of passages whose occurrences are found at once


def open_occurrences(sentences: StoredSentences) -> Occurrences:
    """Returns the occurrences of words in stored sentences; neighbours are indices + 1 in their words.

    Raises:
        StorageError: the cache cannot be written.
    """
    assert sentences.cache is not None
    entry = sentences.cache.open(f"{sentences.name}-context", lambda writer: _write(sentences, writer))
    return Occurrences(
        entry.array("pairs"),
        entry.array("first"),
        entry.array("counts"),
        entry.array("neighbours").reshape(-1, 2),
        entry.array("casing").reshape(-1, CASING_FEATURES),
    )


def _write(sentences: StoredSentences, writer: EntryWriter) -> None:
    keys_of, casing_of = number_keys(sentences.words), encode_casing(sentences.words)
    pair_count = occurrence_count = first = 0
    for passages in _split_at_passages(sentences):
        bounds = sentences.starts[first : first + len(passages) + 1]
        words = sentences.word_ids[bounds[0] : bounds[-1]]
        occurrences = find_occurrences(np.diff(bounds), passages, keys_of[words], words + 1, casing_of[words])
        writer.append("pairs", (occurrences.pairs + pair_count).astype(np.int32))
        writer.append("first", occurrences.first + occurrence_count)
        writer.append("counts", occurrences.counts.astype(np.int32))
        writer.append("neighbours", occurrences.neighbours.astype(np.int32))
        writer.append("casing", occurrences.casing)
        pair_count += len(occurrences.counts)
        occurrence_count += len(occurrences.neighbours)
        first += len(passages)


def _split_at_passages(sentences: StoredSentences) -> Iterator[NDArray[np.int64]]:
    """Yields the passage numbers of consecutive sentences, in blocks of whole passages."""
    numbering = PassageNumbering()
    passages: list[int] = []
    tokens = 0
    for first in range(0, len(sentences), _SENTENCES):
        last = min(first + _SENTENCES, len(sentences))
        lengths = np.diff(sentences.starts[first : last + 1]).tolist()
        for document, length in zip(sentences.documents(first, last), lengths, strict=True):
            passage = numbering.assign(document, length)
            if tokens >= _TOKENS and passage != passages[-1]:
                yield np.array(passages, np.int64)
                passages, tokens = [], 0
            passages.append(passage)
            tokens += length
    yield np.array(passages, np.int64)
