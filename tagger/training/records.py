"""The records of a run: metrics.jsonl, train.log, a plot and, when the run is finished, counts.json.

metrics.jsonl holds the record of each epoch (`EpochRecord`) and, when the training is finished and there is test data,
a last line with the scores on it (`test`) and the `epoch` of the model that was scored.

counts.json holds the counts of each sentence from which the scores of the best model are computed. For dev and, if any,
test, it has the hash of the gold data (`data`), the names of the counts (`columns`) and a row per sentence (`rows`).
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from tagger import plotting
from tagger.errors import ModelError, StorageError
from tagger.evaluation import SPANS, TOKENS, Counts, Report
from tagger.io import atomic, json_files, regular_file
from tagger.plotting import Panel, Series, Style
from tagger.training.epoch_record import EpochRecord
from tagger.training.run_dir import COUNTS, LOG, METRICS, PLOT

_NORMS, _REACH = "gradient norm by part", "gradient, far input by near"
_MAX_RECORDS = 10_001  # one for each epoch and one for the test data
_LOGARITHMIC = (_NORMS, _REACH)
_MAX_METRICS_BYTES = _MAX_COUNTS_BYTES = 32 << 20
_MAX_COUNT = 1_000_000_000
Panels = dict[str, dict[str, list[float]]]

log = logging.getLogger(__name__)


def write_metrics(run_dir: Path, history: Sequence[EpochRecord], test: Report | None = None) -> None:
    """Writes metrics.jsonl: a line for each epoch and, if `test` is given, one for the best model's test scores."""
    values = [record.to_json() for record in history]
    if test is not None:
        best = max(record.epoch for record in history if record.best)
        values.append({"test": {"score": test.score} | test.to_json(), "epoch": best})
    with atomic.wrap_os_errors(run_dir):
        atomic.replace(run_dir / METRICS, b"".join(json_files.dump(value) + b"\n" for value in values))


def read_metrics(run_dir: Path) -> tuple[list[EpochRecord], Report | None]:
    """Returns the record of each epoch of a run, and the test scores of a finished run with test data.

    Raises:
        StorageError: metrics.jsonl is missing, too large or not a regular file.
        ModelError: metrics.jsonl cannot be parsed.
    """
    data = regular_file.read(run_dir / METRICS, limit=_MAX_METRICS_BYTES)
    if data.count(b"\n") + data.count(b"\r") > _MAX_RECORDS:
        raise ModelError(f"{run_dir / METRICS}: cannot be read: it has over {_MAX_RECORDS} lines")
    try:
        return _parse_metrics([json_files.parse(bytes(line)) for line in data.splitlines()])
    except ValueError as error:
        raise ModelError(f"{run_dir / METRICS}: cannot be read: {error}") from error


def _parse_metrics(values: Sequence[Any]) -> tuple[list[EpochRecord], Report | None]:
    if not all(isinstance(value, dict) for value in values):
        raise ValueError("a line is not a JSON object")
    has_test = bool(values) and "test" in values[-1]
    history = []
    for number, value in enumerate(values[:-1] if has_test else values, 1):
        try:
            history.append(EpochRecord.from_json(value))
        except ValueError as error:
            raise ValueError(f"record {number}: {error}") from None
    if not has_test:
        return history, None
    test = values[-1]["test"]
    if not isinstance(test, dict):
        raise ValueError("test: expected an object")
    try:
        return history, Report.from_json({name: figure for name, figure in test.items() if name != "score"})
    except ValueError as error:
        raise ValueError(f"test: {error}") from None


def write_counts(run_dir: Path, parts: Mapping[str, Counts]) -> None:
    """Writes counts.json: by part of the data, the counts of each sentence."""
    values = {part: asdict(counts) for part, counts in parts.items()}
    with atomic.wrap_os_errors(run_dir):
        atomic.replace(run_dir / COUNTS, json.dumps(values, separators=(",", ":")).encode() + b"\n")


def read_counts(run_dir: Path) -> dict[str, Counts]:
    """Returns the counts that `write_counts` wrote.

    Raises:
        StorageError: counts.json is missing, too large or not a regular file.
        ModelError: counts.json cannot be parsed.
    """
    path = run_dir / COUNTS
    if not path.exists():
        raise StorageError(f"{run_dir}: found no {COUNTS}; expected the directory of a finished training run")
    data = regular_file.read(path, limit=_MAX_COUNTS_BYTES)
    try:
        values = json_files.parse(bytes(data))
        if not isinstance(values, dict) or not values.keys() <= {"dev", "test"}:
            raise ValueError("expected an object with the parts dev and test")
        return {part: _parse_counts(value) for part, value in values.items()}
    except ValueError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error


def _parse_counts(value: Any) -> Counts:
    if not isinstance(value, dict) or value.keys() != {"data", "columns", "rows"}:
        raise ValueError("each part must have data, columns and rows")
    data, columns, rows = value["data"], value["columns"], value["rows"]
    if not isinstance(data, str) or columns not in (list(SPANS), list(TOKENS)) or not isinstance(rows, list):
        raise ValueError(f"columns must be {', '.join(SPANS)} or {', '.join(TOKENS)}, and rows a list")
    for row in rows:
        if not isinstance(row, list) or len(row) != len(columns):
            raise ValueError(f"each row must hold {', '.join(columns)}")
        if not all(type(count) is int and 0 <= count <= _MAX_COUNT for count in row):
            raise ValueError(f"a count is not a whole number from 0 to {_MAX_COUNT}")
    return Counts(data, tuple(columns), tuple(map(tuple, rows)))


@contextmanager
def log_to_file(run_dir: Path, notices: Sequence[logging.LogRecord]) -> Iterator[None]:
    """Appends `notices`, then every record that the package logs within the block, to the run's train.log."""
    with atomic.wrap_os_errors(run_dir):
        handler = _RunLog(TextIOWrapper(atomic.open_log(run_dir / LOG), "utf-8", errors="backslashreplace"))
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


class _RunLog(logging.StreamHandler[TextIO]):
    """A log handler that ignores a full disk, which the next checkpoint reports."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Skips a line that cannot be written."""

    def close(self) -> None:
        """Closes the file, even if not all of it was written."""
        with suppress(OSError):
            self.stream.close()
        super().close()


class LogBuffer(logging.Handler):
    """Collects the records that the package logs within a `with` block, for a log file that does not exist yet.

    Within the block the package's logger has the level INFO.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Adds a record."""
        self.records.append(record)

    def __enter__(self) -> "LogBuffer":
        logger = logging.getLogger("tagger")
        logger.addHandler(self)
        self._level = logger.level
        logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("tagger").removeHandler(self)
        logging.getLogger("tagger").setLevel(self._level)


def plot(run_dir: Path, history: Sequence[EpochRecord]) -> None:
    """Draws the records, diagnostics included, by epoch into training.png, if matplotlib is installed (extra `[plot]`).

    A failure to draw or to write is logged as a warning.
    """
    if find_spec("matplotlib") is None:
        if any(record.diagnostics for record in history):
            log.warning("diagnostics are in %s; %s needs matplotlib, the extra [plot]", METRICS, PLOT)
        return
    if not history:
        return
    try:
        picture = plotting.draw_png(_drawable(history))
        atomic.replace(run_dir / PLOT, picture)
    except plotting.PlotError as error:
        log.warning("no %s: %s", PLOT, error)
    except OSError as error:
        log.warning("no %s: it cannot be written: %s", PLOT, error.strerror or error)


def _drawable(history: Sequence[EpochRecord]) -> list[Panel]:
    epochs = [record.epoch for record in history]
    return [
        Panel(
            title,
            [
                Series(epochs, [value if math.isfinite(value) else None for value in line], name, _style(name))
                for name, line in lines.items()
            ],
            y_logarithmic=title in _LOGARITHMIC,
        )
        for title, lines in panels(history).items()
    ]


def _style(name: str) -> Style:
    return "dashed" if name.endswith(" closed") else "line"


def panels(history: Sequence[EpochRecord]) -> Panels:
    """Returns the lines of each panel by its title; each has a value for every epoch, NaN where there is none."""
    score = history[0].dev.name if history else "score"
    result: Panels = {
        "training loss, nats per sentence": {"": [record.loss for record in history]},
        f"dev {score}, %": {"": [record.dev.score for record in history]},
        "gradient norm before clipping": {"": [record.gradient_norm for record in history]},
    }
    diagnostics = [record.diagnostics for record in history]
    if not any(diagnostics):
        return result
    result["fraction of steps clipped"] = {"": [record.clipped_fraction for record in history]}
    result[_NORMS] = _lines([each.norms if each else {} for each in diagnostics])
    result[_REACH] = _lines([each.reach if each else {} for each in diagnostics])
    gates = [each.gates if each else {} for each in diagnostics]
    for direction in dict.fromkeys(direction for each in gates for direction in each):
        fractions = [
            {
                f"{gate} {state}": fraction
                for gate, states in each.get(direction, {}).items()
                for state, fraction in states.items()
            }
            for each in gates
        ]
        result[f"{direction}: fractions of gate activations"] = _lines(fractions)
    return {title: lines for title, lines in result.items() if lines}


def _lines(values: Sequence[Mapping[str, float | None]]) -> dict[str, list[float]]:
    """Returns one line per key, with a value for each mapping: NaN for a missing or undefined one."""
    names = dict.fromkeys(name for each in values for name in each)
    lines = {name: [each.get(name) for each in values] for name in names}
    return {name: [math.nan if value is None else value for value in line] for name, line in lines.items()}
