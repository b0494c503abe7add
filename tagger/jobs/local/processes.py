"""Worker processes, forked from this one, that share its memory and convert a stream of values in order."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, Generic, NamedTuple, TypeVar

from tagger.errors import TaggerError

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")
_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_TASKS_PER_PROCESS = 2  # one is computed, the other waits

can_fork = sys.platform == "linux"
"""Whether processes can be forked safely; on macOS, system libraries do not work in forked processes."""


class Task(NamedTuple, Generic[_Value]):
    """A value, and whether it is so large that its result is awaited before the next value is read."""

    value: _Value
    is_large: bool = False


class _Output(NamedTuple, Generic[_Result]):
    """A result, and the messages that the process logged."""

    value: _Result
    messages: list[str]


def map_in_processes(
    function: Callable[[_Value], _Result], tasks: Iterator[Task[_Value]], processes: int, *, logger: str
) -> Iterator[_Result]:
    """Yields the results of a function for values, in order; reads two values for each process ahead.

    The processes are forked when the first value is there. They end with the iterator, and if this process dies.

    Args:
        function: is called in a forked process, so it may refer to any object of this process. Values and results
            are pickled.
        tasks: the values.
        processes: the number of processes.
        logger: the name of the logger whose messages in the processes are logged in this one; each message once.

    Raises:
        TaggerError: a process was killed.
    """
    first = next(tasks, None)
    if first is None:
        return
    pending: deque[Future[_Output[_Result]]] = deque()
    seen: set[str] = set()

    def take() -> _Result:
        try:
            result = pending.popleft().result()
        except BrokenProcessPool:
            raise TaggerError(
                "a worker process was killed, perhaps because memory was exhausted; lower `workers`"
            ) from None
        for message in result.messages:
            if message not in seen:
                seen.add(message)
                logging.getLogger(logger).info("%s", message)
        return result.value

    with _open_processes(function, processes, logger) as submit:
        pending.append(submit(first.value))
        is_large = first.is_large
        for task in tasks:
            while pending and (is_large or task.is_large or len(pending) >= _TASKS_PER_PROCESS * processes):
                yield take()
            pending.append(submit(task.value))
            is_large = task.is_large
        while pending:
            yield take()


@contextmanager
def _open_processes(
    function: Callable[[_Value], _Result], processes: int, logger: str
) -> Iterator[Callable[[_Value], "Future[_Output[_Result]]"]]:
    """Yields a function that submits a value; kills the processes when the block ends."""
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("fork"),
        _start_process,
        (function, logger),
    )
    # The processes start with these signals blocked, until their handlers are their own.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        executor.submit(os.getpid).result()
        children = set(multiprocessing.active_children()) - before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield lambda value: executor.submit(_call, value)
    finally:
        for child in children:
            child.kill()  # what it computes now is not needed any more
        executor.shutdown(cancel_futures=True)


_function: Callable[[Any], Any]
_messages: list[str] = []


class _Handler(logging.Handler):
    """Collects the messages of this process."""

    def emit(self, record: logging.LogRecord) -> None:
        """Adds a message."""
        _messages.append(record.getMessage())


def _start_process(function: Callable[[Any], Any], logger: str) -> None:
    """Prepares a worker process: the first process stops it, and a signal to both does not."""
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    logging.getLogger().handlers.clear()
    logging.getLogger("tagger").handlers.clear()
    target = logging.getLogger(logger)
    target.setLevel(logging.INFO)
    target.handlers[:] = [_Handler()]


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _call(value: Any) -> _Output[Any]:
    _messages.clear()
    return _Output(_function(value), list(_messages))
