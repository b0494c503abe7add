"""One process of a server: it loads the models and answers requests at a socket, alone or beside other processes."""

import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tagger import import_path
from tagger.child_process import receive_task
from tagger.device import relaxed_garbage_collection
from tagger.errors import ConfigError
from tagger.serving import app, served_models, server
from tagger.serving.limits import Limits
from tagger.serving.metrics import FOLDER_VARIABLE, Metrics
from tagger.serving.served_models import ServedModel, ServedModels

log = logging.getLogger(__name__)
READY = "ready"
"""The line that a process writes when it accepts requests."""
_PROGRAM = "from tagger.serving import process; process.main()"
# Python's default of 5 ms is what a thread that reads and writes waits, again and again, while another one tags.
_SWITCH_SECONDS = 0.0002


@dataclass(frozen=True)
class Settings:
    """What a process serves, and how; it can be sent to another process as JSON.

    Attributes:
        models: the name and the directory of each model.
        languages: additional languages that requests may choose.
        hosts: the names that the header Host of requests may have; none for any.
        limits: the limits of requests.
        options: those of `tagger.load`.
    """

    models: tuple[tuple[str, str], ...]
    languages: tuple[str, ...]
    hosts: tuple[str, ...]
    limits: Limits
    options: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """The work of one of several processes, as it is sent to it.

    Attributes:
        settings: what it serves.
        descriptor: the file descriptor of the socket, which the process inherits.
        is_quiet: whether it logs errors only until it accepts requests, because another process logs the same.
    """

    settings: Settings
    descriptor: int
    is_quiet: bool

    def command(self) -> list[str]:
        """Returns the command of the process; its stdin takes `to_line` and stays open."""
        return import_path.command(_PROGRAM)

    def environment(self, folder: Path) -> dict[str, str]:
        """Returns the environment of the process, which counts requests in a folder."""
        threads = {"OMP_NUM_THREADS": str(self.settings.options["workers"])}
        return import_path.environment(PYTHONIOENCODING="utf-8", **{FOLDER_VARIABLE: str(folder)}, **threads)

    def to_line(self) -> str:
        """Returns the task as a line of JSON."""
        return json.dumps(asdict(self)) + "\n"


def run(
    settings: Settings, listener: socket.socket, on_start: Callable[[], None], metrics: Metrics | None = None
) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        settings: what to serve.
        listener: a socket of `server.bind`; it is closed at the end.
        on_start: is called when the process accepts requests.
        metrics: counts requests; None for those of a server of one process.

    Raises:
        ConfigError: an option does not fit.
        ModelError: a model is missing or damaged.
        Stopped: by a signal.
    """
    loaded = (served_models.load(name, Path(directory), settings.options) for name, directory in settings.models)
    models = ServedModels(loaded, settings.languages)
    for model in models:
        _warm_up(model)
    application = app.create_app(models, settings.limits, hosts=settings.hosts, metrics=metrics)
    with _process_settings(), relaxed_garbage_collection():
        server.run(application, listener, settings.limits, on_start)


@contextmanager
def _process_settings() -> Iterator[None]:
    """Runs the block with threads that wait less for one another, and without notices about single texts."""
    interval, logger = sys.getswitchinterval(), logging.getLogger("tagger.tagging")
    level = logger.level
    sys.setswitchinterval(_SWITCH_SECONDS)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        logger.setLevel(level)


def _warm_up(model: ServedModel) -> None:
    """Loads what the first requests would wait for: the tokenizer and compiled kernels."""
    try:
        model.tagger.tag_text("A first sentence.", probabilities=True)
    except ConfigError as error:
        log.warning("the model %s tags tokens, but no texts: %s", model.name, error)
    model.tagger.tag([["A", "sentence"]], probabilities=True, nbest=2)


def main() -> None:
    """Runs the task that stdin holds; writes `READY`, or faults as a JSON list, to stdout, and log lines to stderr."""
    with receive_task(Task) as (task, output):
        logger = logging.getLogger("tagger")
        logger.setLevel(logging.ERROR if task.is_quiet else logging.INFO)

        def report_start() -> None:
            logger.setLevel(logging.INFO)
            print(READY, file=output, flush=True)

        metrics = Metrics(Path(os.environ[FOLDER_VARIABLE]))
        listener = server.bind_to_same_address(socket.socket(fileno=task.descriptor))
        run(task.settings, listener, report_start, metrics)
