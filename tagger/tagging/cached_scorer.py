"""The scorer that caches what depends on a word alone."""

import threading
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from tagger.data.document_context import OccurrenceIndex, find_occurrences
from tagger.data.word_arrays import token_indices
from tagger.data.word_cache import Ids, WordCache
from tagger.data.word_encoding import EncodedWords, encode_words, number_keys
from tagger.model import TaggerModel
from tagger.nn.kernels.scorer import MeanScorer
from tagger.tagging import forking
from tagger.tagging.scorer import PreparedPool
from tagger.tagging.transformer_runner import TransformerRunner

CACHE_BYTES = 2**28
"""Default size of the word cache. Sentences that are being tagged may take more."""
_WORD_BYTES = 200  # of a word's string and its entry in the cache
_KEY_BYTES = 200  # of its lower-cased form in `_RowWords`
_RESERVED_ROWS = 2**15  # beyond the capacity, so that the table is seldom copied to a larger one


class CachedScorer:
    """Scores on a CPU from cached word projections, with the weights at construction or at the last `update_weights`.

    Several threads may score.

    Args:
        model: the model.
        cache_bytes: the size of the word cache, CACHE_BYTES if None.
        transformer: computes the transformer features, if the network has any.

    Raises:
        ModelError: the features of a word are not finite.
    """

    is_concurrent = True

    def __init__(
        self, model: TaggerModel, cache_bytes: int | None = None, transformer: TransformerRunner | None = None
    ) -> None:
        self._words, self._characters, self._network = model.known_words, model.characters, model.network
        self._scorer = MeanScorer(model.network.members)
        self._transformer = transformer.without_cache() if transformer else None
        self._uses_context = model.network.embedding.document_context is not None
        word_bytes = _WORD_BYTES + _KEY_BYTES * self._uses_context
        capacity = max(1, (cache_bytes or CACHE_BYTES) // (self._scorer.row_bytes + word_bytes))
        self.cache = WordCache(capacity)
        self._reserved_rows = capacity + _RESERVED_ROWS
        self._row_words = _RowWords(self._reserved_rows) if self._uses_context else None
        self._scorer.reserve(self._reserved_rows)  # unused rows take no physical memory
        self._retained: list[tuple[Ids, EncodedWords]] | None = None  # rows and words, in the order of adding
        self._lock = threading.Lock()  # guards the cache
        self._threads: dict[int, int] = {}  # thread of each active lease
        forking.register(self)
        pool = self.prepare([["a"]], [0])
        pool.score([0])  # a compiler that does not work is detected here
        pool.release()
        self._transformer = transformer

    @property
    def cache_hit_rate(self) -> float | None:
        """Fraction of tokens so far whose word was in the cache."""
        return 1 - self.cache.misses / max(1, self.cache.lookups)

    def prepare(self, sentences: Sequence[Sequence[str]], passages: Sequence[int]) -> PreparedPool:
        """Prepares a pool of sentences, whose words keep their rows until the pool is released."""
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        starts = np.cumsum(lengths) - lengths
        with self._lock:
            lease, rows, new = self.cache.acquire(chain.from_iterable(sentences), int(lengths.sum()))
            try:
                self._add(new)
                keys, casings = self._row_words.read(rows) if self._row_words else (rows, rows)
            except BaseException:
                self.cache.release(lease)
                raise
            self._threads[lease] = threading.get_ident()
        try:
            occurrences = None
            if self._uses_context and len(sentences):
                occurrences = OccurrenceIndex(
                    find_occurrences(lengths, np.array(passages, np.int64), keys, rows + 1, casings)
                )
            pool_features = self._transformer.prepare(sentences, passages) if self._transformer else None
        except BaseException:
            with self._lock:
                self._release(lease)
            raise

        def score(positions: Sequence[int]) -> tuple[Tensor, Tensor]:
            features = None if pool_features is None else pool_features.read(positions).numpy()
            tokens = token_indices(starts, lengths, positions)
            context = None if occurrences is None else occurrences.select(tokens)
            counts = lengths[positions]
            emissions = self._scorer.emissions(rows[tokens], counts, context, features)
            return torch.from_numpy(emissions), torch.from_numpy(counts)

        def release() -> None:
            with self._lock:
                self._release(lease)

        return PreparedPool(score, release)

    def _release(self, lease: int) -> None:
        self._threads.pop(lease, None)
        self.cache.release(lease)

    def before_fork(self) -> None:
        """Waits until no words are being added."""
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Allows adding words again; in the child, releases the leases of threads that do not exist there."""
        if in_child:
            for lease in [lease for lease, thread in self._threads.items() if thread != threading.get_ident()]:
                self._release(lease)
        self._lock.release()

    def retain_words(self) -> None:
        """Stores how words are encoded, those in the cache and later ones; the memory grows with each new word."""
        with self._lock:
            if self._retained is None:
                self._retained = [self._encode(list(self.cache))]

    def update_weights(self) -> None:
        """Recomputes all cached words with the network's current weights; no thread may be scoring.

        Raises:
            ModelError: the features of a word are not finite.
        """
        self.retain_words()
        with self._lock:
            assert self._retained is not None
            if self._transformer is not None:
                self._transformer.update_weights()
            self._scorer = MeanScorer(self._network.members)
            self._scorer.reserve(max(self._reserved_rows, self.cache.row_count))
            for rows, encoded in self._retained:
                self._scorer.add(rows, *encoded)

    def _encode(self, words: list[str]) -> tuple[Ids, EncodedWords]:
        """Returns the rows of words in the cache, and the words as arrays."""
        rows = np.fromiter(map(self.cache.__getitem__, words), np.int64, len(words))
        return rows, encode_words(words, self._words, self._characters)

    def _add(self, words: list[str]) -> None:
        if words:
            self._scorer.reserve(self.cache.row_count)
            rows, encoded = self._encode(words)
            self._scorer.add(rows, *encoded)
            if self._row_words is not None:
                self._row_words.add(rows, words, encoded.casing, self.cache)
            if self._retained is not None:
                self._retained.append((rows, encoded))
        self.cache.confirm()


class _RowWords:
    """Key and casing of the word in each row of the cache; words that share document context have the same key.

    Args:
        max_keys: the number of keys above which those of words that have left the cache are removed.

    Attributes:
        keys: (R,) key of the word in each row.
        casings: (R,) its casing id.
    """

    def __init__(self, max_keys: int) -> None:
        self.keys, self.casings = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._numbers: dict[str, int] = {}  # by lower-cased word
        self._max_keys = max_keys

    def read(self, rows: Ids) -> tuple[Ids, Ids]:
        """Returns the keys and the casings of rows."""
        return self.keys[rows], self.casings[rows]

    def add(self, rows: Ids, words: Sequence[str], casings: Ids, cache: Mapping[str, int]) -> None:
        """Adds words to rows (U,), given their casing ids (U,) and the rows of all words in the cache."""
        missing = rows.max() + 1 - len(self.keys)
        if missing > 0:
            padding = np.zeros(missing + len(self.keys) // 4, np.int64)
            self.keys, self.casings = np.concatenate([self.keys, padding]), np.concatenate([self.casings, padding])
        self.casings[rows] = casings
        self.keys[rows] = number_keys(words, self._numbers)
        if len(self._numbers) > self._max_keys:
            self._numbers = {}
            self.keys[np.fromiter(cache.values(), np.int64, len(cache))] = number_keys(cache, self._numbers)
            self._max_keys = max(self._max_keys, 2 * len(self._numbers))
