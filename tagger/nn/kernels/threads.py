"""The thread pool for work that a CPU computes in parts."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


def run_both(first: Callable[[], _Result], second: Callable[[], _Result], *, threads: int) -> tuple[_Result, _Result]:
    """Returns the results of two calls, which run in parallel if `threads` is at least 2.

    Neither call may call this function: the pool may have no thread left. When an error is raised, neither call is
    still running.
    """
    if threads < 2:
        return first(), second()
    future = pool().submit(second)
    try:
        result = first()
    finally:
        future.exception()  # waits
    return result, future.result()


_pools: list[ThreadPoolExecutor] = []


def pool() -> ThreadPoolExecutor:
    """Returns the thread pool of this process, with one thread per processor."""
    if not _pools:
        _pools.append(ThreadPoolExecutor(os.cpu_count(), "nn"))
    return _pools[0]


os.register_at_fork(after_in_child=_pools.clear)  # a forked child has no threads of its parent
