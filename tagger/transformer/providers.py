"""Providers of a transformer's part of batches: the hidden states of a frozen one, or the subwords for a trainable one.

Shapes in this module: N tokens, L layers, D size of a token's hidden states.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tagger.data.batching import SubwordTensors
from tagger.data.word_arrays import token_indices
from tagger.data.word_cache import Ids
from tagger.transformer.hidden_state_cache import CachedHiddenStates, Entry, HiddenStateCache
from tagger.transformer.hidden_states import HiddenStateComputer
from tagger.transformer.windows import Layout, Subwords, Windows, lay_out

log = logging.getLogger(__name__)

Encode = Callable[[Sequence[str]], Subwords]
"""Returns the subwords of tokens."""
_VERSION = 2  # of how hidden states are computed; another version does not read the cache of this one
_POOL_BYTES = 1 << 27  # of hidden states that are computed together and then written


@dataclass(frozen=True)
class FrozenTransformer:
    """Computes the hidden states of sentences.

    Attributes:
        computer: computes the hidden states of windows.
        encode: splits tokens into subwords.
        layout: how windows are formed.
        digest: hash of the weights, the settings and the tokenizer of the transformer.
    """

    computer: HiddenStateComputer
    encode: Encode
    layout: Layout
    digest: str

    def lay_out(self, sentences: Sequence[Sequence[str]], passages: Sequence[int]) -> Windows:
        """Returns the windows of sentences, given the passage number of each."""
        return _lay_out(self.encode, sentences, passages, self.layout)

    def entry(self, sentences: Sequence[Sequence[str]]) -> Entry:
        """Returns the entry in the cache for a passage."""
        computer = self.computer
        settings = (computer.layers, computer.pooling, computer.averages_layers, astuple(self.layout))
        digest = hashlib.sha256(repr((_VERSION, self.digest, settings)).encode())
        for tokens in sentences:
            digest.update(b"%d;" % len(tokens))
            for token in tokens:
                data = token.encode(errors="surrogatepass")
                digest.update(b"%d:%b" % (len(data), data))
        shape = sum(map(len, sentences)), computer.layer_count, computer.pooled_dim
        return Entry(digest.hexdigest(), shape)


@dataclass(frozen=True)
class FillProgress:
    """How far the hidden states of a corpus are computed.

    Attributes:
        tokens: tokens whose hidden states were computed.
        total_tokens: tokens whose hidden states were not cached.
        seconds: time since the start.
    """

    tokens: int
    total_tokens: int
    seconds: float


OnBatch = Callable[[FillProgress], None]
"""Called after each batch; may raise to interrupt the computation. The cache retains the passages written before."""


class _Passage(NamedTuple):
    """The sentences of a passage, and where its hidden states are."""

    sentences: Sequence[Sequence[str]]
    entry: Entry


class HiddenStateProvider:
    """The hidden states of sentences by a frozen transformer, from a cache; implements `batching.TransformerProvider`.

    Args:
        sentences: the tokens of each sentence.
        passages: the passage number of each sentence; equal numbers are consecutive.
        transformer: computes the hidden states.
        cache: stores the hidden states.
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[str]],
        passages: Sequence[int],
        transformer: FrozenTransformer,
        cache: HiddenStateCache,
    ) -> None:
        self._transformer, self._cache = transformer, cache
        self._lengths = list(map(len, sentences))
        self._passages: list[_Passage] = []
        self._rows: list[tuple[int, int]] = []  # of each sentence: its passage, and its first token there
        for _, group in groupby(range(len(sentences)), passages.__getitem__):
            members = [sentences[position] for position in group]
            ends = np.cumsum([len(tokens) for tokens in members]).tolist()
            self._rows += [(len(self._passages), first) for first in (0, *ends[:-1])]
            self._passages.append(_Passage(members, transformer.entry(members)))
        self._lock = threading.Lock()

    def fill(self, on_batch: OnBatch | None = None) -> None:
        """Computes the hidden states that are not cached."""
        passages = {passage.entry.key: passage for passage in self._passages}
        cached = self._cache.find([passage.entry for passage in passages.values()])
        missing = [passage for key, passage in passages.items() if key not in cached]
        if not missing:
            return
        log.info("features: %d of %d passages are cached in %s", len(cached), len(passages), self._cache.location)
        start, tokens = time.perf_counter(), 0
        total = sum(passage.entry.shape[0] for passage in missing)

        def report(count: int) -> None:
            nonlocal tokens
            tokens += count
            if on_batch is not None:
                on_batch(FillProgress(tokens, total, time.perf_counter() - start))

        for pool in self._split_into_pools(missing):
            self._compute(pool, report)
        seconds = time.perf_counter() - start
        log.info(
            "features: %d passages, %d tokens in %.1f s, %.0f tokens/s", len(missing), total, seconds, total / seconds
        )

    def read(self, positions: Sequence[int]) -> Tensor:
        """Returns the hidden states (N, L, D) of the tokens of the sentences at these positions, in float16."""
        lengths = [self._lengths[position] for position in positions]
        hidden_states: CachedHiddenStates = np.empty((sum(lengths), *self._passages[0].entry.shape[1:]), np.float16)
        row = 0
        for position, length in zip(positions, lengths, strict=True):
            number, first = self._rows[position]
            self._read_passage(self._passages[number], first, hidden_states[row : row + length])
            row += length
        return torch.from_numpy(hidden_states)

    def _read_passage(self, passage: _Passage, first: int, target: CachedHiddenStates) -> None:
        try:
            self._cache.read(passage.entry, first, target)
        except OSError as error:
            with self._lock:
                log.warning("features: a passage of the cache cannot be read and is computed again: %s", error.strerror)
                self._compute([passage], lambda _: None)
            self._cache.read(passage.entry, first, target)

    def _split_into_pools(self, passages: Sequence[_Passage]) -> Iterator[list[_Passage]]:
        """Yields passages that are computed together, so that batches are full and the memory is bounded."""
        pool: list[_Passage] = []
        size = 0
        for passage in passages:
            size += passage.entry.file_bytes
            if pool and size > _POOL_BYTES:
                yield pool
                pool, size = [], passage.entry.file_bytes
            pool.append(passage)
        yield pool

    def _compute(self, pool: Sequence[_Passage], report: Callable[[int], None]) -> None:
        """Computes and stores the hidden states of passages; calls `report` with the number of tokens of each batch."""
        sentences = [tokens for passage in pool for tokens in passage.sentences]
        numbers = [number for number, passage in enumerate(pool) for _ in passage.sentences]
        computer = self._transformer.computer
        windows = self._transformer.lay_out(sentences, numbers)
        hidden_states: CachedHiddenStates = np.empty(
            (len(windows.windows), computer.layer_count, computer.pooled_dim), np.float16
        )
        with closing(computer.iterate(windows, dtype=torch.float16)) as batches:
            for tokens, batch in batches:
                hidden_states[tokens] = batch.numpy()
                report(len(tokens))
        start = 0
        for passage in pool:
            stop = start + passage.entry.shape[0]
            self._cache.write(passage.entry, hidden_states[start:stop])
            start = stop


class SubwordProvider:
    """The subwords of sentences, for a trainable transformer; implements `batching.TransformerProvider`.

    Args:
        sentences: the tokens of each sentence.
        passages: the passage number of each sentence; equal numbers are consecutive.
        encode: splits tokens into subwords.
        layout: how windows are formed; each sentence needs a window of its own.
        padding_id: the tokenizer's padding id.
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[str]],
        passages: Sequence[int],
        encode: Encode,
        layout: Layout,
        padding_id: int,
    ) -> None:
        if layout.is_shared:
            raise ValueError("sentences that share a window cannot be read one by one")
        self._windows = _lay_out(encode, sentences, passages, layout)
        self._lengths: Ids = np.fromiter(map(len, sentences), np.int64, len(sentences))
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._padding_id = padding_id

    def read(self, positions: Sequence[int]) -> SubwordTensors:
        """Returns the subwords of the tokens of the sentences at these positions."""
        tokens = token_indices(self._starts, self._lengths, positions)
        return self._windows.select(tokens).to_tensors(self._padding_id)


def _lay_out(encode: Encode, sentences: Sequence[Sequence[str]], passages: Sequence[int], layout: Layout) -> Windows:
    subwords = encode([token for tokens in sentences for token in tokens])
    return lay_out(subwords, list(map(len, sentences)), passages, layout)
