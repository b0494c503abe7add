"""Threads for what a CPU computes in parts."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


def both(first: Callable[[], _Result], second: Callable[[], _Result], *, threads: int) -> tuple[_Result, _Result]:
    """Returns the results of two pieces of work, done at once if there are threads for it.

    Neither piece may call this function: it may have taken the last thread. When an error comes, none is under way.
    """
    if threads < 2:
        return first(), second()
    later = pool().submit(second)
    try:
        found = first()
    finally:
        later.exception()  # waits
    return found, later.result()


_pools: list[ThreadPoolExecutor] = []


def pool() -> ThreadPoolExecutor:
    """Returns the threads of this process, as many as there are processors."""
    if not _pools:
        _pools.append(ThreadPoolExecutor(os.cpu_count(), "nn"))
    return _pools[0]


os.register_at_fork(after_in_child=_pools.clear)  # a fork leaves the threads behind
