"""The journal of a tagging job: its progress, from which a killed job can resume."""

import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tagger.errors import StorageError
from tagger.io import atomic, json_files
from tagger.jobs.summary import Summary

MADE_BY = "bilstm-crf-tagger tag"
FORMAT = 2
_MARK = f'{{"made_by": "{MADE_BY}", '.encode()
_MAX_LINE = 1 << 26  # bytes: about 500,000 inputs
_MAX_NUMBER = 1 << 62
_MAX_VALUES = 2_000_000  # arrays and objects in a line


@dataclass(frozen=True, slots=True)
class InputRecord:
    """An input of a job: path, output, and, for a file, its size in bytes and modification time in nanoseconds."""

    path: str
    output: str
    file: tuple[int | None, int | None] | None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job in a journal: the engine that wrote it, the options that the outputs depend on, and the inputs."""

    made_by: str
    format: int
    options: dict[str, Any]
    inputs: list[InputRecord]

    @classmethod
    def create(cls, options: Mapping[str, Any], inputs: list[InputRecord], made_by: str = MADE_BY) -> "JobRecord":
        """Returns the record of a job, with options as they are read back from JSON."""
        return cls(made_by, FORMAT, json_files.parse(json_files.dump(options)), inputs)

    def to_json(self) -> dict[str, Any]:
        """Returns the record as plain values by name."""
        inputs = [{"path": item.path, "output": item.output, "file": item.file} for item in self.inputs]
        return {"made_by": self.made_by, "format": self.format, "options": self.options, "inputs": inputs}

    @classmethod
    def parse(cls, line: bytes, made_by: str = MADE_BY) -> "JobRecord":
        """Returns the record of a JSON text.

        Raises:
            ValueError: the text is not a record of this format.
        """
        if not line.startswith(f'{{"made_by": "{made_by}", "format": {FORMAT}, '.encode()):
            raise ValueError(f"it does not have format {FORMAT}; remove it and start again")
        return json_files.parse_as(cls, line)


@dataclass(slots=True)
class State:
    """The progress of a job at the end of a pool.

    Attributes:
        pools: number of pools written.
        finished: number of inputs written to their end, or to the point where reading failed.
        published: number of finished inputs whose outputs have their final names.
        failed: indices of finished inputs that have no output and are not published yet.
        records: number of records written of the current input.
        size: bytes in the part file of the current input's output.
        document: the document of the last record.
        rejects: bytes and rows in the file of rejects.
        summary: counts of all that was written.
        summary_before: counts before the current input.
        rejects_before: bytes and rows in the file of rejects before the current input.
    """

    pools: int = 0
    finished: int = 0
    published: int = 0
    failed: list[int] = field(default_factory=list)
    records: int = 0
    size: int = 0
    document: str | int | None = None
    rejects: tuple[int, int] = (0, 0)
    summary: Summary = field(default_factory=Summary)
    summary_before: Summary = field(default_factory=Summary)
    rejects_before: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        """Returns the state as plain values by name."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"summary": self.summary.to_dict(), "summary_before": self.summary_before.to_dict()}

    def check(self, inputs: int) -> None:
        """Raises ValueError if a job with a number of inputs cannot have this state."""
        numbers = [
            self.pools,
            self.published,
            self.records,
            self.size,
            *self.rejects,
            *self.rejects_before,
            *self.failed,
        ]
        if (
            min(numbers) < 0
            or max(numbers) > _MAX_NUMBER
            or not self.published <= self.finished <= inputs
            or max(self.failed, default=0) >= inputs
        ):
            raise ValueError("a number is out of range")
        if (self.records or self.size) and self.finished == inputs:
            raise ValueError("it has records after the last input")
        self.summary.check()
        self.summary_before.check()

    def next_input(self) -> None:
        """Moves to the next input."""
        self.finished += 1
        self.records, self.size, self.document = 0, 0, None
        self.summary_before = self.summary.copy()

    def restart_input(self) -> None:
        """Discards the progress in the current input."""
        self.records, self.size, self.document = 0, 0, None
        rejected, seconds = self.summary.rejected, self.summary.seconds
        self.summary = self.summary_before.copy()
        self.summary.rejected, self.summary.seconds = rejected, seconds


class Journal:
    """A file of JSON lines: the first line is the job, each further line the progress when it was written.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0

    def has_mark(self, *, may_be_truncated: bool = False) -> bool:
        """Returns whether the file starts with the mark of a journal, or is the start of one that a crash truncated."""
        with suppress(OSError):
            if stat.S_ISREG(self.path.lstat().st_mode):
                with self.path.open("rb") as stream:
                    head = stream.read(len(_MARK))
                return _MARK.startswith(head) if may_be_truncated else head == _MARK
        return False

    def start(self, job: JobRecord) -> None:
        """Starts a new journal.

        Raises:
            StorageError: the job has too many inputs for a journal.
        """
        line = json_files.dump(job.to_json()) + b"\n"
        if len(line) >= _MAX_LINE:
            raise StorageError(f"{len(job.inputs)} inputs are too many for one job; divide them into several jobs")
        self._size = 0
        self._append(line)
        atomic.sync(self.path.parent)

    def add(self, state: State) -> None:
        """Adds the progress of the job; all output that it counts must be on the disk."""
        self._append(json_files.dump(state.to_json()) + b"\n")

    def rollback(self) -> None:
        """Removes an incomplete last line after a failed write."""
        atomic.truncate(self.path, self._size)

    def _append(self, data: bytes) -> None:
        atomic.write_from(self.path, data, self._size)
        atomic.sync(self.path)
        self._size += len(data)

    def read(self) -> tuple[JobRecord, State] | None:
        """Returns the job and its progress, None if there is no journal; ignores a truncated last line.

        Raises:
            StorageError: the journal is damaged or has another format.
        """
        job: JobRecord | None = None
        state = State()
        self._size = 0
        if not self.has_mark(may_be_truncated=True):
            return None
        with self.path.open("rb") as stream:
            while (line := stream.readline(_MAX_LINE)).endswith(b"\n"):
                try:
                    if line.count(b"[") + line.count(b"{") > _MAX_VALUES:
                        raise ValueError("a line has too many values")
                    if job is None:
                        job = JobRecord.parse(line)
                    else:
                        state = json_files.parse_as(State, line)
                        state.check(len(job.inputs))
                except ValueError as error:
                    raise StorageError(f"{self.path}: cannot resume from this journal: {error}") from None
                self._size += len(line)
        if len(line) == _MAX_LINE:
            raise StorageError(f"{self.path}: cannot resume from this journal: a line is too long")
        return None if job is None else (job, state)


def list_differences(old: JobRecord, new: JobRecord, finished: int) -> list[str]:
    """Returns a line for each difference between two jobs. The old job has finished its first `finished` inputs.

    An input that is not finished may differ: it is then tagged again.
    """
    lines = [
        f"{key if ' ' in key else f'`{key}`'} was {old.options.get(key)!r}, now {value!r}"
        for key, value in new.options.items()
        if old.options.get(key) != value
    ]
    before, after = ([item.path for item in job.inputs] for job in (old, new))
    if before != after:
        index = next((n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), len(before))
        lines.append(
            f"the inputs were {len(before)}, now {len(after)}; they differ from number {min(index, len(after)) + 1} on"
        )
        return lines
    pairs = zip(old.inputs[:finished], new.inputs[:finished], strict=True)
    return lines + [f"{now.path} has changed since it was tagged" for then, now in pairs if then != now]
