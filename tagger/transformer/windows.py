"""Windows of subwords: each sentence with context from its document, within a transformer's maximum length.

Shapes in this module: N tokens of all sentences concatenated, M subwords of these tokens, S sentences, W windows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import torch

from tagger.data.batching import SubwordTensors
from tagger.data.windows import split_into_windows
from tagger.data.word_cache import Ids
from tagger.nn.packing import PackedWindows


class Subwords(NamedTuple):
    """The subwords of tokens.

    Attributes:
        ids: (M,) subword ids, token after token.
        counts: (N,) subwords per token, at least 1.
    """

    ids: Ids
    counts: Ids


@dataclass(frozen=True)
class Layout:
    """How windows are formed.

    Attributes:
        max_subwords: largest number of subwords in a window, special tokens included.
        context: subwords of the same document on each side of a core, if there are so many.
        is_shared: whether consecutive sentences share a window, so that each subword is read about once; otherwise
            each sentence has a window of its own.
        prefix: ids of the special tokens before a window.
        suffix: ids of the special tokens after a window.
    """

    max_subwords: int
    context: int
    is_shared: bool
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]

    @property
    def capacity(self) -> int:
        """Largest number of subwords in a window without special tokens."""
        return self.max_subwords - len(self.prefix) - len(self.suffix)


@dataclass(frozen=True)
class Windows:
    """Windows of subwords, and the subwords of each token in them.

    Attributes:
        ids: the subword ids of each window, special tokens included.
        cores: (W, 2) bounds [start, stop) of the subwords of a window's own sentences; the others are context.
        windows: (N,) window that each token is read in.
        first: (N,) index in its window of the first subword of each token.
        last: (N,) index in its window of the last subword of each token.
    """

    ids: Sequence[Ids]
    cores: Ids
    windows: Ids
    first: Ids
    last: Ids

    def select(self, tokens: Ids) -> "Windows":
        """Returns the windows that the tokens of these indices are read in, with these tokens only, in their order."""
        used, windows = np.unique(self.windows[tokens], return_inverse=True)
        return Windows(
            [self.ids[window] for window in used.tolist()],
            self.cores[used],
            windows,
            self.first[tokens],
            self.last[tokens],
        )

    def to_tensors(self, padding_id: int) -> SubwordTensors:
        """Returns the windows as tensors, padded to the longest one."""
        lengths = np.fromiter(map(len, self.ids), np.int64, len(self.ids))
        padded = np.full((len(lengths), lengths.max()), padding_id, np.int64)
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.concatenate(self.ids)
        return SubwordTensors(
            *map(torch.from_numpy, (padded, lengths, self.cores, self.windows, self.first, self.last))
        )

    def pack(self, min_subwords: int) -> PackedWindows:
        """Returns the windows one after another, the longest first, and repeated until they have enough subwords."""
        lengths = np.fromiter(map(len, self.ids), np.int64, len(self.ids))
        order = np.argsort(-lengths, kind="stable")
        starts = np.empty_like(lengths)
        starts[order] = np.cumsum(lengths[order]) - lengths[order]
        ids = np.concatenate([self.ids[window] for window in order.tolist()])
        times = -(-min_subwords // len(ids))
        first, last = (torch.from_numpy(starts[self.windows] + subwords) for subwords in (self.first, self.last))
        return PackedWindows(torch.from_numpy(np.tile(ids, times)), lengths[order].tolist() * times, first, last)


class _Core(NamedTuple):
    """Subwords [start, stop) of a passage that form a window, and the tokens [first, end) that are read in it."""

    start: int
    stop: int
    first: int
    end: int


def lay_out(subwords: Subwords, lengths: Sequence[int], passages: Sequence[int], layout: Layout) -> Windows:
    """Returns the windows of sentences.

    Context never crosses the bounds of a passage: a document, or a part of a long one. A sentence longer than a window
    is read in overlapping windows; each token counts in the window where it is farther from the edges.

    Args:
        subwords: the subwords of the tokens of all sentences.
        lengths: (S,) tokens per sentence, at least 1.
        passages: (S,) passage number of each sentence; equal numbers are consecutive.
        layout: how windows are formed.
    """
    ends = np.cumsum(subwords.counts)
    starts = ends - subwords.counts
    prefix, suffix = (np.array(special, np.int64) for special in (layout.prefix, layout.suffix))
    ids: list[Ids] = []
    cores: list[tuple[int, int]] = []
    windows, shifts, limits = (np.zeros(len(ends), np.int64) for _ in range(3))
    first_token = 0
    for _, group in groupby(zip(passages, lengths, strict=True), lambda entry: entry[0]):
        bounds = first_token + np.cumsum([0, *(length for _, length in group)])
        passage = int(starts[bounds[0]]), int(ends[bounds[-1] - 1])
        for core in _split_into_cores(starts, ends, bounds.tolist(), layout):
            left, right = _context_sizes(core, passage, layout)
            tokens = slice(core.first, core.end)
            windows[tokens], shifts[tokens] = len(ids), core.start - left - len(prefix)
            limits[tokens] = len(prefix) + left + core.stop - core.start - 1
            cores.append((len(prefix) + left, len(prefix) + left + core.stop - core.start))
            ids.append(np.concatenate([prefix, subwords.ids[core.start - left : core.stop + right], suffix]))
        first_token = int(bounds[-1])
    # A token of more subwords than a window holds is cut.
    last = np.minimum(ends - 1 - shifts, limits)
    return Windows(ids, np.array(cores, np.int64).reshape(-1, 2), windows, np.minimum(starts - shifts, last), last)


def _split_into_cores(starts: Ids, ends: Ids, bounds: Sequence[int], layout: Layout) -> Iterator[_Core]:
    """Yields the cores of a passage, given the subwords of tokens and the bounds of its sentences in tokens."""
    shared = layout.capacity - 2 * layout.context if layout.is_shared and layout.context else 0
    pending: _Core | None = None
    for first, end in pairwise(bounds):
        start, stop = int(starts[first]), int(ends[end - 1])
        if pending and stop - pending.start <= shared:
            pending = pending._replace(stop=stop, end=end)
            continue
        if pending:
            yield pending
        pending = _Core(start, stop, first, end)
        if stop - start > layout.capacity:
            yield from _split_sentence(starts, ends, pending, layout.capacity)
            pending = None
    if pending:
        yield pending


def _split_sentence(starts: Ids, ends: Ids, sentence: _Core, capacity: int) -> Iterator[_Core]:
    """Yields overlapping cores of a sentence that is longer than a window; each token belongs to one of them."""
    tokens = slice(sentence.first, sentence.end)
    token_starts, token_ends = starts[tokens] - sentence.start, ends[tokens] - sentence.start
    cores = split_into_windows(sentence.stop - sentence.start, capacity)
    counts: list[int] = []  # tokens that belong to each core or one before it
    for left, right in pairwise(cores):
        nearer = np.searchsorted(token_starts + token_ends, left.stop + right.start, side="right")
        # A token longer than the overlap is read, in part, where it starts.
        counts.append(int(max(nearer, np.searchsorted(token_starts, right.start))))
    counts.append(len(token_starts))
    first = sentence.first
    for core, count in zip(cores, counts, strict=True):
        end = sentence.first + count
        if end > first:
            yield _Core(sentence.start + core.start, sentence.start + core.stop, first, end)
        first = max(first, end)


def _context_sizes(core: _Core, passage: tuple[int, int], layout: Layout) -> tuple[int, int]:
    """Returns the subwords of context to the left and to the right of a core, as even as the window allows."""
    left, right = min(layout.context, core.start - passage[0]), min(layout.context, passage[1] - core.stop)
    spare = max(0, layout.capacity - (core.stop - core.start))
    if left + right > spare:
        left = min(left, max(spare // 2, spare - right))
        right = min(right, spare - left)
    return left, right
