"""The main function of a child process: it runs the task that stdin holds and reports faults to its parent."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TextIO, TypeVar

from tagger.errors import Stopped, TaggerError
from tagger.io import json_files
from tagger.signals import stop_with_parent

_Task = TypeVar("_Task")


@contextmanager
def receive_task(kind: type[_Task]) -> Iterator[tuple[_Task, TextIO]]:
    """Yields the task that stdin holds as a line of JSON, and the stream that the parent reads.

    Everything else that is written to stdout goes to stderr, as log lines do. The process stops with its parent. If
    the block raises TaggerError, its faults are written to the stream as a JSON list, and the exit code is 2.

    Args:
        kind: the dataclass of the task.

    Raises:
        SystemExit: the block raised TaggerError or Stopped.
    """
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    task = json_files.parse_as(kind, sys.stdin.readline())
    Thread(target=stop_with_parent, daemon=True).start()
    logger = logging.getLogger("tagger")
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.INFO)
    try:
        yield task, output
    except TaggerError as error:
        print(json.dumps(error.faults), file=output, flush=True)
        sys.exit(2)
    except Stopped as error:
        sys.exit(error.exit_code)
