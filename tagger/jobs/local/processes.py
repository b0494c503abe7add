"""Worker processes, forked from this one, that share its memory and convert a stream of values in order.

Each worker has pipes of its own. Those of `concurrent.futures` share one pipe, and a worker that is killed while it
writes to it blocks the others and this process.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar, cast

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


class _Reply(NamedTuple):
    """What a worker sends: the number of the task, its result or error, and the messages that were logged."""

    number: int
    result: Any = None
    error: Exception | None = None
    messages: Sequence[str] = ()


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
    seen: set[str] = set()

    def take() -> _Result:
        reply = workers.take()
        for message in reply.messages:
            if message not in seen:
                seen.add(message)
                logging.getLogger(logger).info("%s", message)
        if reply.error is not None:
            raise reply.error
        result: _Result = reply.result
        return result

    with _open_workers(function, processes, logger) as workers:
        workers.submit(first.value)
        is_large = first.is_large
        for task in tasks:
            while workers.pending and (is_large or task.is_large or workers.is_full()):
                yield take()
            workers.submit(task.value)
            is_large = task.is_large
        while workers.pending:
            yield take()


class _Worker(NamedTuple):
    """A worker process, and the pipes to it and from it."""

    process: BaseProcess
    tasks: Connection
    replies: Connection

    @classmethod
    def start(cls, function: Callable[[Any], Any], logger: str, started: Sequence["_Worker"]) -> "_Worker":
        """Returns a new worker, which closes the pipes of the others that it inherits."""
        context = multiprocessing.get_context("fork")
        task_reader, task_writer = context.Pipe(duplex=False)
        reply_reader, reply_writer = context.Pipe(duplex=False)
        inherited = [
            task_writer,
            reply_reader,
            *(pipe for worker in started for pipe in (worker.tasks, worker.replies)),
        ]
        process = context.Process(target=_work, args=(function, logger, task_reader, reply_writer, inherited))
        process.start()
        task_reader.close()
        reply_writer.close()
        return cls(process, task_writer, reply_reader)


class _Workers:
    """Workers that compute numbered tasks. A thread receives their replies, so that none waits to send one."""

    def __init__(self, workers: Sequence[_Worker]) -> None:
        self.pending = 0
        self._workers = workers
        self._submitted = 0
        self._tasks = dict.fromkeys(range(len(workers)), 0)  # of each worker that have no reply yet
        self._owners: dict[int, int] = {}  # the worker of each task that has no reply yet
        self._replies: dict[int, _Reply] = {}  # those that were not taken yet
        self._received: SimpleQueue[_Reply | None] = SimpleQueue()  # None after a worker was killed
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def is_full(self) -> bool:
        """Returns whether a reply is taken before the next task is submitted."""
        return self.pending >= _TASKS_PER_PROCESS * len(self._workers)

    def submit(self, value: object) -> None:
        """Sends a task to a worker with the fewest tasks."""
        self._collect(may_wait=False)
        worker = min(self._tasks, key=self._tasks.__getitem__)
        self._tasks[worker] += 1
        self._owners[self._submitted] = worker
        try:
            self._workers[worker].tasks.send((self._submitted, value))
        except OSError:
            raise _killed() from None
        self._submitted += 1
        self.pending += 1

    def take(self) -> _Reply:
        """Returns the reply for the first task whose reply was not taken yet."""
        number = self._submitted - self.pending
        while number not in self._replies:
            self._collect(may_wait=True)
        self.pending -= 1
        return self._replies.pop(number)

    def _collect(self, *, may_wait: bool) -> None:
        """Takes over the replies that were received; waits for one if `may_wait`."""
        while may_wait or not self._received.empty():
            reply = self._received.get()
            if reply is None:
                raise _killed()
            self._tasks[self._owners.pop(reply.number)] -= 1
            self._replies[reply.number] = reply
            may_wait = False

    def _receive(self) -> None:
        """Receives replies until the first worker ends."""
        pipes = [worker.replies for worker in self._workers]
        while True:
            for pipe in wait(pipes):
                try:
                    self._received.put(cast(Connection, pipe).recv())
                except (EOFError, OSError):
                    self._received.put(None)
                    return

    def stop(self) -> None:
        """Kills the workers; what they compute is not needed any more."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
        self._thread.join()
        for worker in self._workers:
            worker.tasks.close()
            worker.replies.close()


def _killed() -> TaggerError:
    return TaggerError("a worker process was killed, perhaps because memory was exhausted; lower `workers`")


@contextmanager
def _open_workers(function: Callable[[Any], Any], count: int, logger: str) -> Iterator[_Workers]:
    """Yields running workers; stops them when the block ends."""
    started: list[_Worker] = []
    # The processes start with these signals blocked, until they ignore them.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        for _ in range(count):
            started.append(_Worker.start(function, logger, started))
        workers = _Workers(started)
    except BaseException:
        for worker in started:
            worker.process.kill()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield workers
    finally:
        workers.stop()


class _Handler(logging.Handler):
    """Collects messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Adds a message."""
        self.messages.append(record.getMessage())


def _work(
    function: Callable[[Any], Any],
    logger: str,
    tasks: Connection,
    replies: Connection,
    inherited: Sequence[Connection],
) -> None:
    """Computes tasks in a worker process until it is killed or the first process dies."""
    for pipe in inherited:
        pipe.close()
    for signum in _SIGNALS:  # the first process handles them
        signal.signal(signum, signal.SIG_IGN)
    handler = _collect_messages(logger)
    waiting: SimpleQueue[tuple[int, Any]] = SimpleQueue()
    threading.Thread(target=_receive_tasks, args=(tasks, waiting), daemon=True).start()
    while True:
        number, value = waiting.get()
        handler.messages.clear()
        try:
            reply = _Reply(number, function(value), None, list(handler.messages))
        except Exception as error:  # the first process raises it
            reply = _Reply(number, None, error, list(handler.messages))
        replies.send(reply)


def _collect_messages(logger: str) -> _Handler:
    """Returns a handler of the messages of a logger; all others are logged nowhere."""
    handler = _Handler()
    logging.getLogger().handlers.clear()
    logging.getLogger("tagger").handlers.clear()
    logging.getLogger(logger).handlers[:] = [handler]
    logging.getLogger(logger).setLevel(logging.INFO)
    return handler


def _receive_tasks(tasks: Connection, waiting: "SimpleQueue[tuple[int, Any]]") -> None:
    """Receives tasks while others are computed; ends the process when the first process has died."""
    with suppress(EOFError, OSError):
        while True:
            waiting.put(tasks.recv())
    os._exit(1)
