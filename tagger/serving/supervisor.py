"""The supervisor of a server of several processes: it starts them, restarts those that die, and ends them."""

import logging
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO

from tagger.errors import Stopped, TaggerError
from tagger.io import json_files, temporary
from tagger.serving.limits import STOP_SECONDS
from tagger.serving.metrics import count_restart, forget_process
from tagger.serving.process import READY, Settings, Task
from tagger.signals import StopRequest, describe_exit

log = logging.getLogger(__name__)
MAX_RESTARTS = 3
"""Restarts of a process in a row; one that has served for a minute starts from 0 again."""
_STABLE_SECONDS = 60
_PAUSE_SECONDS = 1.0  # before the second restart in a row; the first is immediate
_POLL_SECONDS = 0.1
_FOLDER_PREFIX = "tagger-serve-"  # of the folder in which the processes count requests
_MARKER, _MARKER_CONTENT = ".tagger-serve", b"bilstm-crf-tagger server\n"
_KILL_SECONDS = 5  # that a process may take to end, apart from `STOP_SECONDS`


def run(settings: Settings, listener: socket.socket, processes: int, on_start: Callable[[], None]) -> None:
    """Serves in several processes, which share an address, until SIGINT or SIGTERM.

    Args:
        settings: what each process serves.
        listener: a socket of `server.bind`; it is closed at the end.
        processes: the number of processes.
        on_start: is called once, when all processes accept requests.

    Raises:
        TaggerError: a process cannot start, or dies again and again.
        Stopped: by a signal.
    """
    with temporary.open_directory(_FOLDER_PREFIX, _MARKER, _MARKER_CONTENT) as folder, StopRequest() as stop:
        tasks = [Task(settings, listener.fileno(), is_quiet=number > 0) for number in range(processes)]
        children = [_Child(number, task, folder) for number, task in enumerate(tasks, 1)]
        try:
            _watch(children, stop, on_start)
        finally:
            listener.close()
            _end(children)
        raise Stopped(stop.signum, saved=False)


def _watch(children: Sequence["_Child"], stop: StopRequest, on_start: Callable[[], None]) -> None:
    """Starts the processes and restarts those that die, until a signal arrives."""
    is_started = False
    for child in children:
        child.start()
    while not stop.signum:
        for child in children:
            child.check()
        if not is_started and all(child.is_ready for child in children):
            is_started = True
            on_start()
        time.sleep(_POLL_SECONDS)


def _end(children: Sequence["_Child"]) -> None:
    """Ends all processes, after the requests in flight or a time limit."""
    for child in children:
        child.terminate()
    end = time.monotonic() + STOP_SECONDS + _KILL_SECONDS
    for child in children:
        child.wait(end - time.monotonic())


class _Child:
    """A process of the server, and those that replace it when it dies.

    Args:
        number: its number in messages, from 1.
        task: its task.
        folder: the folder in which it counts requests.

    Attributes:
        is_ready: whether it accepts requests.
    """

    def __init__(self, number: int, task: Task, folder: Path) -> None:
        self.is_ready = False
        self._number, self._task, self._folder = number, task, folder
        self._process: subprocess.Popen[str] | None = None
        self._threads: list[Thread] = []
        self._faults: tuple[str, ...] = ()
        self._has_served, self._restarts, self._next_start, self._ready_since = False, 0, 0.0, 0.0

    def start(self) -> None:
        """Starts the process."""
        self._faults = ()
        self._process = process = subprocess.Popen(
            self._task.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            env=self._task.environment(self._folder),
            pass_fds=(self._task.descriptor,),
            process_group=0,  # a terminal's Ctrl-C reaches this process only, which ends the others
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has died already
            process.stdin.write(self._task.to_line())
            process.stdin.flush()  # stays open: when this process ends, the pipe closes and the child stops
        targets = ((self._read_output, process.stdout), (self._log_errors, process.stderr))
        self._threads = [Thread(target=target, args=(stream,), daemon=True) for target, stream in targets]
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Restarts the process if it has died.

        Raises:
            TaggerError: it cannot start, or has died too often.
        """
        if self._process is None:
            if time.monotonic() >= self._next_start:
                self.start()
        elif self._process.poll() is not None:
            self._prepare_restart(self._process)

    def _prepare_restart(self, process: "subprocess.Popen[str]") -> None:
        self._clean_up(process)
        served = time.monotonic() - self._ready_since if self.is_ready else 0
        self.is_ready, self._process = False, None
        if self._faults and not self._has_served:
            raise TaggerError(*self._faults)
        if served > _STABLE_SECONDS:
            self._restarts = 0
        reason = "; ".join((describe_exit(process.returncode), *self._faults))
        if self._restarts == MAX_RESTARTS:
            raise TaggerError(f"process {self._number} was restarted {MAX_RESTARTS} times and died again: {reason}")
        self._next_start = time.monotonic() + _PAUSE_SECONDS * self._restarts
        self._restarts += 1
        with suppress(OSError):  # a full disk must not end the server
            count_restart(self._folder)
        log.error("process %d: %s; restart %d of at most %d", self._number, reason, self._restarts, MAX_RESTARTS)

    def terminate(self) -> None:
        """Asks the process to end."""
        if self._process is not None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Waits until the process has ended; kills it after some seconds."""
        if self._process is None:
            return
        try:
            self._process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            log.error("process %d: killed; it did not end in time", self._number)
            self._process.kill()
            self._process.wait()
        self._clean_up(self._process)

    def _clean_up(self, process: "subprocess.Popen[str]") -> None:
        """Reads what a process that has ended has written, and closes its pipes."""
        for thread in self._threads:
            thread.join(_KILL_SECONDS)  # they end with the process, unless one that it started has the pipes still
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        forget_process(self._folder, process.pid)

    def _read_output(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                if line.strip() == READY:
                    self._has_served, self.is_ready, self._ready_since = True, True, time.monotonic()
                else:
                    with suppress(ValueError):
                        self._faults = tuple(json_files.parse_as(list[str], line))

    def _log_errors(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                log.info("process %d: %s", self._number, line.rstrip())
