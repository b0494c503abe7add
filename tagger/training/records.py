"""What a run leaves to read: metrics.jsonl, train.log and a plot."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tagger import files

METRICS, LOG, PLOT = "metrics.jsonl", "train.log", "training.png"
Records = Sequence[dict[str, Any]]


def write_metrics(run: Path, records: Records) -> None:
    """Writes a line of JSON for each record, in place of the lines before."""
    with files.writing(run):
        files.replace(run / METRICS, "".join(json.dumps(record) + "\n" for record in records).encode())


@contextmanager
def logged(run: Path, notices: Sequence[logging.LogRecord]) -> Iterator[None]:
    """Writes what the package logs within the block to the run's train.log, after the notices that came before."""
    with files.writing(run):
        handler = _RunLog(run / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for notice in notices:
        handler.handle(notice)
    logger = logging.getLogger("tagger")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


class _RunLog(logging.FileHandler):
    """A log that gives way on a full disk: the checkpoint's own error is the one to be told."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Passes over a line that cannot be written."""

    def close(self) -> None:
        """Closes the file, written whole or not."""
        with suppress(OSError):
            super().close()


class Noted(logging.Handler):
    """Keeps what the package logs within a `with` block, for a log file that does not exist yet.

    Within it the package logs its notices, whatever level its logger had.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a record."""
        self.records.append(record)

    def __enter__(self) -> "Noted":
        logger = logging.getLogger("tagger")
        logger.addHandler(self)
        self._level = logger.level
        logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("tagger").removeHandler(self)
        logging.getLogger("tagger").setLevel(self._level)


def plot(run: Path, records: Records) -> None:
    """Draws loss, dev score and gradient norm by epoch, if matplotlib is there (extra `[plot]`)."""
    if find_spec("matplotlib") is None or not records:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    epochs = [record["epoch"] for record in records]
    panels = (
        ("training loss, nats per sentence", [record["loss"] for record in records]),
        ("dev score, %", [record["dev"]["score"] for record in records]),
        ("gradient norm before clipping", [record["norm"] for record in records]),
    )
    for place, (title, values) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), place)
        axes.plot(epochs, values, marker=".")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    with files.writing(run), files.atomic_file(run / PLOT) as stream:
        figure.savefig(stream, format="png", dpi=120)
