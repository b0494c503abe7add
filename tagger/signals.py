"""Signals that ask a job to stop at the next safe point."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tagger.errors import Stopped


class StopRequest:
    """Records SIGINT and SIGTERM within a `with` block, so that a job can stop where it is safe.

    A second signal exits at once. Outside the main thread, where Python allows no handlers, no signal is recorded.

    Args:
        at_once: raise Stopped in the main thread as soon as a signal arrives, except within `defer` blocks.

    Attributes:
        signum: the number of the signal, 0 if none has arrived.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.signum = 0
        self._at_once, self._holds = at_once, 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for signum in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[signum] = signal.signal(signum, self._record)
            except ValueError:  # not the main thread
                return self
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]

    @contextmanager
    def defer(self) -> Iterator[None]:
        """Delays Stopped until the end of the block."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        self._raise()

    def ignore(self) -> None:
        """Records signals from now on without raising Stopped."""
        self._holds += 1

    def _record(self, signum: int, _: FrameType | None) -> None:
        if self.signum:
            os._exit(128 + signum)
        self.signum = signum
        self._raise()

    def _raise(self) -> None:
        if self.signum and self._at_once and not self._holds:
            raise Stopped(self.signum)


def describe_exit(code: int) -> str:
    """Returns how a process ended, given its exit code as `subprocess` has it.

    >>> describe_exit(2), describe_exit(-9)
    ('ended with exit code 2', 'killed by SIGKILL')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-code}"


def stop_with_parent() -> None:
    """Waits until the parent process ends or closes the pipe that is stdin; then sends this process SIGTERM."""
    os.read(sys.stdin.fileno(), 1)  # sys.stdin itself would be locked at exit
    os.kill(os.getpid(), signal.SIGTERM)
