"""Overlapping windows over sentences that are too long to be tagged at once."""

from itertools import pairwise
from typing import NamedTuple


class Window(NamedTuple):
    """Tokens [start, stop) of a sentence, which are tagged separately; the tags of [used_start, used_stop) are used."""

    start: int
    stop: int
    used_start: int
    used_stop: int


def split_into_windows(length: int, max_tokens: int) -> list[Window]:
    """Returns windows of `max_tokens` tokens that cover a sentence and overlap by a quarter.

    Of the tokens that two windows share, the first half is used from the first window.

    >>> split_into_windows(10, 8)
    [Window(start=0, stop=8, used_start=0, used_stop=5), Window(start=2, stop=10, used_start=5, used_stop=10)]
    """
    if length <= max_tokens:
        return [Window(0, length, 0, length)]
    step = max(1, max_tokens - max_tokens // 4)
    starts = [*range(0, length - max_tokens, step), length - max_tokens]
    seams = [0, *((left + max_tokens + right) // 2 for left, right in pairwise(starts)), length]
    return [Window(start, start + max_tokens, *used) for start, used in zip(starts, pairwise(seams), strict=True)]
