"""Which sentences a batch holds, by their lengths."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

IsFull = Callable[[int, int], bool]
"""Returns whether a number of sentences, the longest with a number of tokens, exceeds the limit of a batch."""


def batch_limit(*, max_sentences: int | None = None, max_tokens: int | None = None) -> IsFull:
    """Returns the limit of a batch: a number of sentences, of tokens with padding, or both."""
    return lambda count, longest: (
        (max_sentences is not None and count > max_sentences)
        or (max_tokens is not None and count * longest > max_tokens)
    )


def split_into_batches(order: Sequence[int], lengths: Sequence[int], is_full: IsFull) -> Iterator[list[int]]:
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


def shuffled_batches(
    lengths: Sequence[int], is_full: IsFull, *, bucket_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Returns the batches of an epoch; the same seed and epoch give the same batches.

    Sentences are shuffled and divided into buckets of `bucket_size`. Each bucket is sorted by length, so that batches
    need little padding, and split into batches, which are shuffled. With a bucket size of 1 sentences are in random
    order.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(len(lengths)).tolist()
    batches: list[list[int]] = []
    step = len(order) if bucket_size == 1 else bucket_size
    for start in range(0, len(order), step):
        part = order[start : start + step]
        if bucket_size > 1:
            part.sort(key=lengths.__getitem__)
        batches.extend(split_into_batches(part, lengths, is_full))
    return [batches[index] for index in random.permutation(len(batches))]
