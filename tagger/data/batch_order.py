"""Which sentences a batch holds, by their lengths."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Lengths = Sequence[int] | NDArray[np.integer[Any]]
"""Tokens per sentence."""

IsFull = Callable[[int, int], bool]
"""Returns whether a number of sentences, the longest with a number of tokens, exceeds the limit of a batch."""
_CHUNK = 1 << 16


def batch_limit(*, max_sentences: int | None = None, max_tokens: int | None = None) -> IsFull:
    """Returns the limit of a batch: a number of sentences, of tokens with padding, or both."""
    return lambda count, longest: (
        (max_sentences is not None and count > max_sentences)
        or (max_tokens is not None and count * longest > max_tokens)
    )


def split_into_batches(order: Iterable[int], lengths: Lengths, is_full: IsFull) -> Iterator[list[int]]:
    """Yields positions in their order as batches within a limit; a sentence that exceeds the limit is a batch of one.

    >>> list(split_into_batches([2, 0, 1], [5, 3, 5], batch_limit(max_tokens=10)))
    [[2, 0], [1]]
    """
    batch: list[int] = []
    longest = 0
    for position in order:
        longest = max(longest, lengths[position])
        if batch and is_full(len(batch) + 1, longest):
            yield batch
            batch, longest = [], lengths[position]
        batch.append(position)
    if batch:
        yield batch


class Batches(Sequence[list[int]]):
    """Batches of positions, in arrays: a list of all positions would take ten times the memory.

    Args:
        positions: (S,) the positions.
        bounds: (B + 1,) the index of the first position of each batch, and the number of positions.
        order: (B,) the order of the batches.
    """

    def __init__(self, positions: NDArray[np.int64], bounds: NDArray[np.int64], order: NDArray[np.int64]) -> None:
        self._positions, self._bounds, self._order = positions, bounds, order

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...

    @overload
    def __getitem__(self, index: slice) -> "Batches": ...

    def __getitem__(self, index: int | slice) -> "list[int] | Batches":
        if isinstance(index, slice):
            return Batches(self._positions, self._bounds, self._order[index])
        number = self._order[index]
        batch: list[int] = self._positions[self._bounds[number] : self._bounds[number + 1]].tolist()
        return batch


def shuffled_batches(lengths: Lengths, is_full: IsFull, *, bucket_size: int, seed: int, epoch: int) -> Batches:
    """Returns the batches of an epoch; the same seed and epoch give the same batches.

    Sentences are shuffled and divided into buckets of `bucket_size`. Each bucket is sorted by length, so that batches
    need little padding, and split into batches, which are shuffled. With a bucket size of 1 sentences are in random
    order.
    """
    random = np.random.default_rng((seed, epoch))
    lengths = np.asarray(lengths)
    positions = random.permutation(len(lengths))
    sizes = array("q", [0])
    if bucket_size == 1:
        sizes.extend(map(len, split_into_batches(_iterate(positions), lengths, is_full)))
    else:
        for start in range(0, len(positions), bucket_size):
            bucket = positions[start : start + bucket_size]
            bucket[:] = bucket[lengths[bucket].argsort(kind="stable")]
            in_bucket = range(len(bucket))
            sizes.extend(map(len, split_into_batches(in_bucket, lengths[bucket].tolist(), is_full)))
    return Batches(positions, np.cumsum(sizes, dtype=np.int64), random.permutation(len(sizes) - 1))


def _iterate(positions: NDArray[np.int64]) -> Iterator[int]:
    for start in range(0, len(positions), _CHUNK):
        yield from positions[start : start + _CHUNK].tolist()
