"""Several trainings: one after the other, or in processes that save their state and exit when the parent exits."""

import json
import logging
import signal
import subprocess
import traceback
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock

import torch

from tagger import import_path, training
from tagger.child_process import receive_task
from tagger.config import Config, loader
from tagger.errors import ConfigError, Stopped, TaggerError
from tagger.experiments import runs
from tagger.io import json_files
from tagger.signals import StopRequest, describe_exit
from tagger.training import Callback, EpochEnd, EpochRecord, Event, Inputs, records
from tagger.training.launch import read_launch
from tagger.training.run_dir import METRICS

log = logging.getLogger(__name__)

_MAX_OUTPUT = 1 << 20  # bytes
_POLL_SECONDS = 0.1
_PROGRAM = "from tagger.experiments import processes; processes.main()"

Faults = tuple[str, ...]
Monitor = Callable[["Task", EpochRecord], bool]


@dataclass(frozen=True)
class Task:
    """A training to start or to resume, as it is sent to a process.

    Attributes:
        name: the training in messages, such as `seed 1`.
        run_dir: the directory of the run.
        seed: replaces the recipe's seed.
        recipe: a YAML file.
        device: auto, cpu, cuda or cuda:N.
        init_from: the directory of the model to take the first weights from.
        threads: the number of torch's threads.
        positions: the training sentences to train on, numbered from 0; None for all.
    """

    name: str
    run_dir: str
    seed: int
    recipe: str
    device: str
    init_from: str | None
    threads: int
    positions: tuple[int, ...] | None = None

    @property
    def is_started(self) -> bool:
        """Whether its directory holds a checkpoint to resume from."""
        return runs.is_started(Path(self.run_dir))


def threads_per_job(jobs: int) -> int:
    """Returns the number of torch's threads of each of several trainings in parallel."""
    return max(1, torch.get_num_threads() // jobs)


def run_task(task: Task, *, callback: Callback = lambda event: None, inputs: Inputs | None = None) -> None:
    """Starts or resumes a training in this process.

    Raises:
        TaggerError: the training fails.
        Stopped: a signal stopped the training after a checkpoint.
    """
    run_dir, config = Path(task.run_dir), load_config(task)
    if task.positions is not None and inputs is None:
        needs_tables = not task.is_started and task.init_from is None
        inputs = training.read_inputs(config, is_new=needs_tables, positions=task.positions)
    if task.is_started:
        training.resume(run_dir, device=task.device, callback=callback, inputs=inputs, config=config)
        return
    init_from = Path(task.init_from) if task.init_from else None
    training.train(config, run_dir, device=task.device, init_from=init_from, callback=callback, inputs=inputs)


def load_config(task: Task) -> Config:
    """Returns the recipe of a task, with its seed."""
    return with_seed(loader.load(task.recipe), task.seed)


def check_alone() -> None:
    """Raises ConfigError if torchrun has launched several processes, which train one model only."""
    if (count := read_launch().count) > 1:
        raise ConfigError(
            f"torchrun has started {count} processes, which train one model with one seed together; start several"
            " trainings without torchrun"
        )


def with_seed(config: Config, seed: int) -> Config:
    """Returns a config with another seed."""
    return config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})


class _EndedByMonitor(Exception):  # noqa: N818  # not an error
    """The monitor ended a training after an epoch."""


def run_tasks(
    next_task: Callable[[], Task | None],
    *,
    jobs: int,
    callback: Callback = lambda event: None,
    read_inputs: Callable[[Task], Inputs | None] = lambda task: None,
    monitor: Monitor | None = None,
) -> Generator[tuple[Task, Faults], None, None]:
    """Runs tasks, `jobs` at a time; yields each task when it ends, with its faults if it failed.

    A single job runs in this process; several jobs are processes, which read their inputs themselves.

    Args:
        next_task: returns the next training; None if there is none before a running one ends. It is called when a
            training can start.
        jobs: the number of trainings in parallel.
        callback: is called with the events of the trainings if `jobs` is 1.
        read_inputs: returns the data of a task if `jobs` is 1; None to read it from the files.
        monitor: is called with the records of a task's epochs, in order and in this thread, and returns whether the
            training continues; it may be called with a record again. A training that it ends has no faults.

    Raises:
        ConfigError: torchrun has launched several processes.
        Stopped: a signal stopped the trainings after they had written checkpoints.
    """
    check_alone()
    watch = _Watch(monitor)
    if jobs == 1:
        return _run_here(next_task, callback, read_inputs, watch)
    return _run_in_processes(next_task, jobs, watch)


class _Watch:
    """Calls a monitor with the records of finished epochs, from the files of the runs."""

    def __init__(self, monitor: Monitor | None) -> None:
        self._monitor = monitor
        self._seen: dict[str, tuple[int, int]] = {}  # time of the file, and the number of its records
        self._ended: set[str] = set()

    def is_continued(self, task: Task) -> bool:
        """Calls the monitor with the new records of a task; returns whether the training continues."""
        path = Path(task.run_dir) / METRICS
        if self._monitor is None or not path.exists():
            return True
        if task.run_dir in self._ended:
            return False
        time, count = self._seen.get(task.run_dir, (0, 0))
        changed = path.stat().st_mtime_ns
        if changed == time:
            return True
        history, _ = records.read_metrics(path.parent)
        self._seen[task.run_dir] = changed, len(history)
        if all(self._monitor(task, record) for record in history[count:]):
            return True
        self._ended.add(task.run_dir)
        return False


def _run_here(
    next_task: Callable[[], Task | None],
    callback: Callback,
    read_inputs: Callable[[Task], Inputs | None],
    watch: _Watch,
) -> Generator[tuple[Task, Faults], None, None]:
    def report(task: Task, event: Event) -> None:
        callback(event)
        if isinstance(event, EpochEnd) and not watch.is_continued(task):
            raise _EndedByMonitor

    while task := next_task():
        log.info("%s", task.name)
        try:
            if watch.is_continued(task):
                run_task(task, callback=partial(report, task), inputs=read_inputs(task))
        except Stopped:
            raise
        except _EndedByMonitor:
            yield task, ()
        except TaggerError as error:
            yield task, error.faults
        except Exception as error:
            yield task, (_log_internal_error(error, task),)
        else:
            yield task, ()


def _run_in_processes(
    next_task: Callable[[], Task | None], jobs: int, watch: _Watch
) -> Generator[tuple[Task, Faults], None, None]:
    children = _Children()
    with StopRequest() as stop, ThreadPoolExecutor(jobs) as pool:
        pending: dict[Future[Faults], Task] = {}
        try:
            while not stop.signum:
                while len(pending) < jobs and (task := next_task()):
                    pending[pool.submit(children.run, task)] = task
                if not pending:
                    break
                ended = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED).done
                for task in pending.values():
                    if not watch.is_continued(task):
                        children.stop(task)
                for future in ended:
                    yield pending.pop(future), future.result()
        finally:
            children.stop_all()
    if stop.signum:
        raise Stopped(stop.signum)


class _Children:
    """The running processes."""

    def __init__(self) -> None:
        self._lock, self._stopping = Lock(), False
        self._running: dict[str, subprocess.Popen[str]] = {}  # by the directory of the run
        self._ended_early: set[str] = set()

    def stop_all(self) -> None:
        """Asks every process to stop and starts no further ones."""
        with self._lock:
            self._stopping = True
            for child in self._running.values():
                child.send_signal(signal.SIGTERM)

    def stop(self, task: Task) -> None:
        """Asks the process of a task to stop, which is no fault of the task."""
        with self._lock:
            child = self._running.get(task.run_dir)
            if child and task.run_dir not in self._ended_early:
                child.send_signal(signal.SIGTERM)
            self._ended_early.add(task.run_dir)

    def run(self, task: Task) -> Faults:
        """Runs a task in a process and logs its output; returns its faults, or none if the training is finished."""
        try:
            with TemporaryFile() as output:
                with self._lock:
                    if self._stopping:
                        return ("not started",)
                    child = _start(task, output.fileno())
                    self._running[task.run_dir] = child
                try:
                    with child:
                        last_line = _run_child(task, child)
                finally:
                    with self._lock:
                        del self._running[task.run_dir]
                output.seek(0)
                faults, code = _parse_faults(output.read(_MAX_OUTPUT)), child.returncode
        except Exception as error:
            return (_log_internal_error(error, task),)
        if task.run_dir in self._ended_early:
            return ()
        if faults:
            return faults
        if code:
            return (describe_exit(code) + f": {last_line}" * (code > 0),)
        return () if _is_complete(task) else ("ended with exit code 0 before the training was finished",)


def _is_complete(task: Task) -> bool:
    """Returns whether the run of a task is finished, with all epochs of the recipe."""
    return runs.is_complete(Path(task.run_dir), loader.load(task.recipe))


def _run_child(task: Task, child: "subprocess.Popen[str]") -> str:
    """Sends a process its task and logs the lines that it prints; returns the last line."""
    assert child.stdin is not None
    assert child.stderr is not None
    line = ""
    try:
        try:
            child.stdin.write(json.dumps(asdict(task)) + "\n")
            child.stdin.flush()  # stays open: when this process ends, the pipe closes and the child stops
        except BrokenPipeError:  # the process has ended already; its exit code is reported
            with suppress(BrokenPipeError):
                child.stdin.close()
        for text in child.stderr:
            line = text.rstrip()
            log.info("%s: %s", task.name, line)
    except BaseException:
        child.kill()
        raise
    return line


def _log_internal_error(error: Exception, task: Task) -> str:
    """Logs the traceback of an unexpected error and returns it as a fault of the task."""
    trace = "".join(traceback.format_exception(error)).rstrip()
    log.error("%s: internal error; the other trainings continue", task.name)
    for line in trace.splitlines():
        log.error("%s", line)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _parse_faults(output: bytes) -> Faults:
    """Returns the faults in the last line of a process's output, or none if it is not a JSON list of strings."""
    try:
        return tuple(json_files.parse_as(list[str], output.rstrip().rpartition(b"\n")[2]))
    except ValueError:
        return ()


def _start(task: Task, output: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        import_path.command(_PROGRAM),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="backslashreplace",
        env=import_path.environment(PYTHONIOENCODING="utf-8", OMP_NUM_THREADS=str(task.threads)),
        process_group=0,  # a terminal's Ctrl-C reaches this process only, which stops the others
    )


def main() -> None:
    """Runs the task that stdin holds in JSON; writes faults to stdout, as a JSON list, and log lines to stderr."""
    with receive_task(Task) as (task, _):
        torch.set_num_threads(task.threads)
        run_task(task)
