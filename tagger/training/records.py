"""What a run leaves to read: metrics.jsonl, train.log, a plot and, when all is done, counts.json.

metrics.jsonl holds a record of each epoch. With `training.diagnostics` it has, under `diagnostics`, `norms`, the mean
norm of each part's gradient before clipping over the steps not skipped, and what `training.diagnostics.look` returns;
and `diagnostics_seconds`, which `seconds` and `dev_seconds` leave out.

counts.json holds what each sentence adds to the scores of the best model: for the parts dev and, if there is one, test
the hash of the gold data (`data`), what is counted (`columns`), and the counts of each sentence (`rows`).
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
from tagger.errors import ModelError
from tagger.evaluation import SPANS, TOKENS, Counts
from tagger.io import atomic, json_files, regular_file
from tagger.training.run_dir import COUNTS, LOG, METRICS, PLOT

_NORMS, _REACH = "gradient norm by part", "gradient, far input by near"
_MAX_RECORDS = 10_001  # one for each epoch and one for the test
_LOGARITHMIC = (_NORMS, _REACH)
_MAX_METRICS_BYTES = _MAX_COUNTS_BYTES = 32 << 20
_MAX_COUNT = 1_000_000_000
_MAX_SECONDS, _MAX_SCORE = 1e12, 100.001
Records = Sequence[dict[str, Any]]

log = logging.getLogger(__name__)


def write_metrics(run: Path, records: Records) -> None:
    """Writes a line of JSON for each record, in place of the lines before."""
    with atomic.wrap_os_errors(run):
        atomic.replace(run / METRICS, b"".join(json_files.dump(record) + b"\n" for record in records))


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Returns the records of a run; those of epochs are checked, others are JSON objects of any content.

    Raises:
        ModelError: they cannot be read.
    """
    data = regular_file.read(run / METRICS, limit=_MAX_METRICS_BYTES)
    if data.count(b"\n") + data.count(b"\r") > _MAX_RECORDS:
        raise ModelError(f"{run / METRICS}: cannot be read: it has over {_MAX_RECORDS} lines")
    lines = data.splitlines()
    try:
        found = [json_files.parse(bytes(line)) for line in lines]
        if not all(isinstance(record, dict) for record in found):
            raise ValueError("a line is not a JSON object")
        check_all([record for record in found if "dev" in record])
    except ValueError as error:
        raise ModelError(f"{run / METRICS}: cannot be read: {error}") from error
    return found


def check_all(records: Records) -> None:
    """Raises ValueError if a record is not one of an epoch, as a training writes them."""
    for number, record in enumerate(records, 1):
        try:
            _check(record)
        except ValueError as error:
            raise ValueError(f"record {number}: {error}") from None


def refuse_foreign(metrics: dict[str, Any], model: Path) -> None:
    """Raises ModelError if the metrics of a model are not the record of an epoch."""
    try:
        _check(metrics)
    except ValueError as error:
        raise ModelError(f"{model}/metrics.json: {error}") from error


def _check(record: dict[str, Any]) -> None:
    for name in ("epoch", "steps", "skipped"):
        if type(record.get(name)) is not int or record[name] < (name == "epoch"):
            raise ValueError(f"{name}: expected a whole number")
    for name in ("loss", "norm", "clipped", "rate"):
        if not is_number(record.get(name)):
            raise ValueError(f"{name}: expected a number")
    for name in ("seconds", "dev_seconds"):
        if not is_number(record.get(name)) or not 0 <= record[name] <= _MAX_SECONDS:
            raise ValueError(f"{name}: expected a number of seconds")
    if type(record.get("best")) is not bool:
        raise ValueError("best: expected true or false")
    check_scores(record.get("dev"), "dev")
    looked = record.get("diagnostics", {})
    parts = {"norms": 1, "reach": 1, "gates": 3}
    if not isinstance(looked, dict) or not all(_is_nested(looked.get(key, {}), depth) for key, depth in parts.items()):
        raise ValueError("diagnostics: expected the objects norms, reach and gates")


def check_scores(scores: Any, part: str) -> None:
    """Raises ValueError if a value does not hold the scores of a part of the data."""
    if not isinstance(scores, dict) or not isinstance(scores.get("signature"), str):
        raise ValueError(f"{part}: expected scores with their signature")
    for name in ("score", "accuracy", "f1", "precision", "recall"):
        value = scores.get(name, math.nan)
        if value is None and name not in ("score", "accuracy"):
            continue
        if not is_number(value) or not 0 <= value <= _MAX_SCORE:
            raise ValueError(f"{part}.{name}: expected a number from 0 to 100")


def is_number(value: Any) -> bool:
    """Returns whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_nested(value: Any, depth: int) -> bool:
    """Returns whether a value holds numbers or null under so many keys."""
    if not depth:
        return value is None or is_number(value)
    return isinstance(value, dict) and all(_is_nested(inner, depth - 1) for inner in value.values())


def write_counts(run: Path, parts: Mapping[str, Counts]) -> None:
    """Writes what each sentence of each part adds to the scores."""
    found = {part: asdict(counts) for part, counts in parts.items()}
    with atomic.wrap_os_errors(run):
        atomic.replace(run / COUNTS, json.dumps(found, separators=(",", ":")).encode() + b"\n")


def read_counts(run: Path) -> dict[str, Counts]:
    """Returns what `write_counts` wrote.

    Raises:
        ModelError: the run holds no counts, or they cannot be read.
    """
    path = run / COUNTS
    if not path.exists():
        raise ModelError(f"{run}: holds no {COUNTS}; give the directory of a run, finished with `resume=True`")
    data = regular_file.read(path, limit=_MAX_COUNTS_BYTES)
    try:
        found = json_files.parse(bytes(data))
        if not isinstance(found, dict) or not found.keys() <= {"dev", "test"}:
            raise ValueError("expected an object with the parts dev and test")
        return {part: _counts(value) for part, value in found.items()}
    except ValueError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error


def _counts(value: Any) -> Counts:
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
def logged(run: Path, notices: Sequence[logging.LogRecord]) -> Iterator[None]:
    """Writes what the package logs within the block to the run's train.log, after the notices that came before."""
    with atomic.wrap_os_errors(run):
        handler = _RunLog(TextIOWrapper(atomic.open_log(run / LOG), "utf-8", errors="backslashreplace"))
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
    """A log that gives way on a full disk: the checkpoint's own error is the one to be told."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Passes over a line that cannot be written."""

    def close(self) -> None:
        """Closes the file, written whole or not."""
        with suppress(OSError):
            self.stream.close()
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
    """Draws what records hold, diagnostics too, by epoch, if matplotlib is there (extra `[plot]`).

    A fault of the drawing or of the disk is a warning in the log.
    """
    if find_spec("matplotlib") is None:
        if any("diagnostics" in record for record in records):
            log.warning("diagnostics are in %s; %s needs matplotlib, the extra [plot]", METRICS, PLOT)
        return
    if not records:
        return
    drawn = {
        title: {name: [value if math.isfinite(value) else None for value in line] for name, line in lines.items()}
        for title, lines in panels(records).items()
    }
    try:
        picture = plotting.png(drawn, [record["epoch"] for record in records], logarithmic=_LOGARITHMIC)
        atomic.replace(run / PLOT, picture)
    except plotting.PlotError as error:
        log.warning("no %s: %s", PLOT, error)
    except OSError as error:
        log.warning("no %s: it cannot be written: %s", PLOT, error.strerror or error)


def panels(records: Records) -> dict[str, dict[str, list[float]]]:
    """Returns the lines of each panel, by its title; a value for each record, NaN where it has none."""
    found = {
        "training loss, nats per sentence": {"": [record["loss"] for record in records]},
        "dev score, %": {"": [record["dev"]["score"] for record in records]},
        "gradient norm before clipping": {"": [record["norm"] for record in records]},
    }
    looks = [record.get("diagnostics", {}) for record in records]
    if not any(looks):
        return found
    found["share of steps clipped"] = {"": [record["clipped"] for record in records]}
    found[_NORMS] = _lines([look.get("norms", {}) for look in looks])
    found[_REACH] = _lines([look.get("reach", {}) for look in looks])
    for way in dict.fromkeys(way for look in looks for way in look.get("gates", {})):
        shares = [
            {
                f"{gate} {end}": share
                for gate, its in look.get("gates", {}).get(way, {}).items()
                for end, share in its.items()
            }
            for look in looks
        ]
        found[f"{way}: share of each gate"] = _lines(shares)
    return {title: lines for title, lines in found.items() if lines}


def _lines(values: Sequence[Mapping[str, float | None]]) -> dict[str, list[float]]:
    """Returns values by name, a list of which has one for each mapping."""
    names = dict.fromkeys(name for each in values for name in each)
    found = {name: [each.get(name) for each in values] for name in names}
    return {name: [math.nan if value is None else value for value in line] for name, line in found.items()}
