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

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return self.entry.shape[0]


class _FillReport:
    """Counts what is computed and what other processes have computed meanwhile.

    Args:
        total_tokens: tokens whose hidden states were not cached at the start.
        on_batch: called after each batch.
    """

    def __init__(self, total_tokens: int, on_batch: OnBatch | None) -> None:
        self.passages = 0
        self._total_tokens, self._on_batch = total_tokens, on_batch
        self._computed_tokens = self._cached_tokens = 0
        self._start = time.perf_counter()

    def add_computed(self, tokens: int) -> None:
        """Counts the tokens of a batch, and reports it."""
        self._computed_tokens += tokens
        if self._on_batch is not None:
            done = self._computed_tokens + self._cached_tokens
            self._on_batch(FillProgress(done, self._total_tokens, time.perf_counter() - self._start))

    def add_cached(self, passages: Sequence[_Passage]) -> None:
        """Counts passages that other processes have computed."""
        self._cached_tokens += sum(passage.tokens for passage in passages)

    def log(self) -> None:
        """Logs the number of passages, of tokens and of tokens per second."""
        seconds, tokens = time.perf_counter() - self._start, self._computed_tokens
        speed = tokens / seconds
        log.info("features: %d passages, %d tokens in %.1f s, %.0f tokens/s", self.passages, tokens, seconds, speed)
        if self._cached_tokens:
            log.info("features: other processes computed %d tokens meanwhile", self._cached_tokens)


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
        """Computes the hidden states that are not cached.

        Processes that do so at the same time share the work.
        """
        passages = {passage.entry.key: passage for passage in self._passages}
        cached = self._cache.find([passage.entry for passage in passages.values()])
        missing = [passage for key, passage in passages.items() if key not in cached]
        if not missing:
            return
        log.info("features: %d of %d passages are cached in %s", len(cached), len(passages), self._cache.location)
        progress = _FillReport(sum(passage.tokens for passage in missing), on_batch)
        locked_groups = []
        for group in _split_into_groups(missing):
            if not self._compute_group(group, progress, wait=False):
                locked_groups.append(group)
        for group in locked_groups:
            self._compute_group(group, progress, wait=True)
        progress.log()

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

    def _compute_group(self, group: Sequence[_Passage], progress: "_FillReport", *, wait: bool) -> bool:
        """Computes the passages of a group that are not cached; returns False if another process computes the group.

        Args:
            group: passages of one group.
            progress: is called with the number of tokens of each batch.
            wait: wait until no other process computes the group.
        """
        with self._cache.lock_group([passage.entry for passage in group], wait=wait) as may_compute:
            if not may_compute:
                return False
            cached = self._cache.find_reserved([passage.entry for passage in group])
            missing = [passage for passage in group if passage.entry.key not in cached]
            progress.add_cached([passage for passage in group if passage.entry.key in cached])
            for pool in self._split_into_pools(missing):
                self._compute(pool, progress.add_computed)
                progress.passages += len(pool)
        return True

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
        if pool:
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


def _split_into_groups(passages: Sequence[_Passage]) -> list[list[_Passage]]:
    """Returns passages by the groups that processes compute one at a time."""
    groups: dict[str, list[_Passage]] = {}
    for passage in passages:
        groups.setdefault(passage.entry.group, []).append(passage)
    return [groups[name] for name in sorted(groups)]


def _lay_out(encode: Encode, sentences: Sequence[Sequence[str]], passages: Sequence[int], layout: Layout) -> Windows:
    subwords = encode([token for tokens in sentences for token in tokens])
    return lay_out(subwords, list(map(len, sentences)), passages, layout)
