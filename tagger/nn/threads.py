"""A second thread for what a CPU computes in two parts."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from torch import nn

_Result = TypeVar("_Result")


class Threaded(nn.Module):
    """A module that computes in parts on a CPU.

    Attributes:
        threads: how many may be busy at once; the results are the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.threads = 1


def at_once(work: Sequence[Callable[[], _Result]], threads: int) -> list[_Result]:
    """Returns the results of one piece of work or two, in two threads if there may be as many."""
    if min(threads, len(work)) < 2:
        return [piece() for piece in work]
    second = _helper(os.getpid()).submit(work[1])
    return [work[0](), second.result()]


@cache
def _helper(process: int) -> ThreadPoolExecutor:
    """Returns the second thread of this process; one that was forked has none of its parent's."""
    return ThreadPoolExecutor(1, f"second-{process}")
