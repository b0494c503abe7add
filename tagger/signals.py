"""Signals that ask a job to stop at the next safe point."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tagger.errors import Stopped


class StopRequest:
    """Notes SIGINT and SIGTERM within a `with` block, so that a job can stop where it is safe; a second one kills.

    `signum` is the signal that came, or 0. Outside the main thread, where Python takes no handlers, none comes.

    Args:
        at_once: raise Stopped wherever the main thread is, but for blocks that are `held`.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.signum = 0
        self._at_once, self._holds = at_once, 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for signum in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[signum] = signal.signal(signum, self._note)
            except ValueError:  # not the main thread
                return self
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps a request from breaking off the block; one that came meanwhile raises Stopped at its end."""
        self.hold()
        try:
            yield
        finally:
            self._holds -= 1
        self._raise()

    def hold(self) -> None:
        """Lets a request from now on break off nothing."""
        self._holds += 1

    def _note(self, signum: int, _: FrameType | None) -> None:
        if self.signum:
            os._exit(128 + signum)
        self.signum = signum
        self._raise()

    def _raise(self) -> None:
        if self.signum and self._at_once and not self._holds:
            raise Stopped(self.signum)
