"""Windows over sentences that are too long to be tagged at once."""

from itertools import pairwise
from typing import NamedTuple


class Window(NamedTuple):
    """A stretch [start, stop) of a sentence that is tagged by itself, of which [first, last) is kept."""

    start: int
    stop: int
    first: int
    last: int


def windows(length: int, most: int) -> list[Window]:
    """Returns windows of `most` tokens that cover a sentence; neighbours share a quarter, of which each keeps half.

    >>> windows(10, 8)
    [Window(start=0, stop=8, first=0, last=5), Window(start=2, stop=10, first=5, last=10)]
    """
    if length <= most:
        return [Window(0, length, 0, length)]
    step = max(1, most - most // 4)
    starts = [*range(0, length - most, step), length - most]
    cuts = [0, *((before + most + after) // 2 for before, after in pairwise(starts)), length]
    return [Window(start, start + most, *kept) for start, kept in zip(starts, pairwise(cuts), strict=True)]
