"""Trainings side by side, each in a process of its own that leaves, its state saved, when this one does."""

import json
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock, Thread

import torch

from tagger import config, import_path, training
from tagger.config import Config
from tagger.errors import Stopped, TaggerError
from tagger.experiments import runs
from tagger.io import json_files
from tagger.signals import StopRequest
from tagger.training import Callback, Inputs
from tagger.training.run_dir import CONFIG

log = logging.getLogger(__name__)

_MAX_ANSWER = 1 << 20  # bytes
_LOOK = 0.1  # seconds between two looks for a signal
_PROGRAM = "from tagger.experiments import processes; processes.main()"

Faults = tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A training to begin or to go on with.

    Attributes:
        run: its directory.
        seed: its seed.
        recipe: a YAML file; its seed does not count.
        device: auto, cpu or cuda.
        init_from: the directory of the model whose weights to start from.
        threads: how many to compute with.
    """

    run: str
    seed: int
    recipe: str
    device: str
    init_from: str | None
    threads: int


def train(task: Task, *, callback: Callback = lambda event: None, inputs: Inputs | None = None) -> None:
    """Trains in this process, or goes on where an earlier one stopped.

    Raises:
        TaggerError: what stops a training.
        Stopped: by a signal, after a checkpoint.
    """
    run = Path(task.run)
    settings = seeded(config.load(task.recipe), task.seed)
    if runs.is_begun(run):
        training.resume(run, device=task.device, callback=callback, inputs=inputs, settings=settings)
        return
    init_from = Path(task.init_from) if task.init_from else None
    training.fit(settings, run, device=task.device, init_from=init_from, callback=callback, inputs=inputs)


def seeded(settings: Config, seed: int) -> Config:
    """Returns a recipe with another seed."""
    return settings.model_copy(update={"training": settings.training.model_copy(update={"seed": seed})})


def train_all(tasks: Sequence[Task], *, jobs: int) -> Generator[tuple[Task, Faults], None, None]:
    """Yields each task when it is over, with what stopped it if it is not finished; `jobs` run at a time.

    Raises:
        Stopped: by a signal, after the processes have written their checkpoints.
    """
    children = _Children()
    with StopRequest() as stop, ThreadPoolExecutor(jobs) as pool:
        left: dict[Future[Faults], Task] = {pool.submit(children.train, task): task for task in tasks}
        try:
            while left and not stop.signum:
                for future in wait(left, timeout=_LOOK, return_when=FIRST_COMPLETED).done:
                    yield left.pop(future), future.result()
        finally:
            children.stop()
    if stop.signum:
        raise Stopped(stop.signum)


class _Children:
    """The processes that are there, until all are asked to stop."""

    def __init__(self) -> None:
        self._lock, self._stopping = Lock(), False
        self._running: set[subprocess.Popen[str]] = set()

    def stop(self) -> None:
        """Asks every process to stop, and starts none any more."""
        with self._lock:
            self._stopping = True
            for child in self._running:
                child.send_signal(signal.SIGTERM)

    def train(self, task: Task) -> Faults:
        """Runs a task in a process, passing on what it logs; returns what stopped it, nothing if it is finished."""
        try:
            with TemporaryFile() as answer:
                with self._lock:
                    if self._stopping:
                        return ("not begun",)
                    child = _start(task, answer.fileno())
                    self._running.add(child)
                try:
                    with child:
                        last = _followed(task, child)
                finally:
                    with self._lock:
                        self._running.remove(child)
                answer.seek(0)
                faults, code = _parsed(answer.read(_MAX_ANSWER)), child.returncode
        except Exception as error:
            return (unexpected(error, task),)
        if faults:
            return faults
        if code < 0:
            return (f"killed by {_signal_name(-code)}",)
        if code:
            return (f"ended with exit code {code}: {last}",)
        return () if _has_finished(task) else ("ended with exit code 0 before it was finished",)


def _has_finished(task: Task) -> bool:
    """Returns whether the run of a task is finished, for as many epochs as the recipe asks for."""
    run = Path(task.run)
    epochs = config.load(task.recipe).training.epochs
    return runs.is_finished(run) and config.load(str(run / CONFIG)).training.epochs >= epochs


def _followed(task: Task, child: "subprocess.Popen[str]") -> str:
    """Gives a process its task and passes on what it logs; returns the last line."""
    assert child.stdin is not None
    assert child.stderr is not None
    last = ""
    try:
        try:
            child.stdin.write(json.dumps(asdict(task)) + "\n")
            child.stdin.flush()  # and stays open: its end tells the process that this one is gone
        except BrokenPipeError:  # it is gone at once, and its exit code says why
            with suppress(BrokenPipeError):
                child.stdin.close()
        for line in child.stderr:
            last = line.rstrip()
            log.info("seed %d: %s", task.seed, last)
    except BaseException:
        child.kill()
        raise
    return last


def unexpected(error: Exception, task: Task) -> str:
    """Returns the fault of a seed that an error of this program stopped, and logs where it came from."""
    trace = "".join(traceback.format_exception(error)).rstrip()
    log.error("seed %d: internal error; the other seeds go on", task.seed)
    for line in trace.splitlines():
        log.error("%s", line)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _parsed(answer: bytes) -> Faults:
    """Returns the faults in the last line of what a process wrote, none if it wrote anything else."""
    try:
        return tuple(json_files.parse_as(list[str], answer.rstrip().rpartition(b"\n")[2]))
    except ValueError:
        return ()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _start(task: Task, answer: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        import_path.command(_PROGRAM),
        stdin=subprocess.PIPE,
        stdout=answer,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="backslashreplace",
        env=import_path.environment(PYTHONIOENCODING="utf-8", OMP_NUM_THREADS=str(task.threads)),
        process_group=0,  # a terminal's Ctrl-C is for this process, which asks the others once
    )


def main() -> None:
    """Does the task that stdin gives, in JSON; what stops it goes to stdout, as a list in JSON, all else to stderr."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    task = Task(**json.loads(sys.stdin.readline()))
    Thread(target=_leave_with_parent, daemon=True).start()
    logger = logging.getLogger("tagger")
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.INFO)
    torch.set_num_threads(task.threads)
    try:
        train(task)
    except TaggerError as error:
        answer.write(json.dumps(error.faults))
        answer.close()
        sys.exit(2)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)


def _leave_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the pipe's other end is closed; sys.stdin would be locked at the exit
    os.kill(os.getpid(), signal.SIGTERM)
