"""The journal of a tagging job: how far it has come, so that a job that was killed goes on from there."""

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
_MARK = f'{{"made_by": "{MADE_BY}", '.encode()
_MAX_LINE = 1 << 26  # bytes: some 500,000 inputs
_MAX_NUMBER = 1 << 62
_MAX_VALUES = 2_000_000  # arrays and objects of a line


@dataclass(frozen=True, slots=True)
class InputRecord:
    """An input of a job: its path and output; if it is a file, its size in bytes and time of change in nanoseconds."""

    path: str
    output: str
    file: tuple[int | None, int | None] | None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as its journal holds it: who made the journal, what the outputs depend on, and the inputs."""

    made_by: str
    options: dict[str, Any]
    inputs: list[InputRecord]

    @classmethod
    def of(cls, options: Mapping[str, Any], inputs: list[InputRecord], made_by: str = MADE_BY) -> "JobRecord":
        """Returns the record of a job, its options as JSON gives them back."""
        return cls(made_by, json_files.parse(json_files.dump(options)), inputs)

    def to_json(self) -> dict[str, Any]:
        """Returns the record as plain values by name."""
        inputs = [{"path": one.path, "output": one.output, "file": one.file} for one in self.inputs]
        return {"made_by": self.made_by, "options": self.options, "inputs": inputs}


@dataclass(slots=True)
class State:
    """How far a job has come, at the end of a pool.

    Attributes:
        pool: pools written.
        finished: inputs written to their end, or to where they could be read.
        named: of these, those whose outputs have their names.
        spoilt: numbers of inputs of which nothing could be read, or is to be kept, among those not named.
        records: records written of the input at hand.
        size: bytes in the part file of its output.
        document: the document of its last record.
        rejects: bytes and rows in the file of rejects, and `rejects_before`: what it held before the input at hand.
        summary: what was done, and `before`: what was done before the input at hand.
    """

    pool: int = 0
    finished: int = 0
    named: int = 0
    spoilt: list[int] = field(default_factory=list)
    records: int = 0
    size: int = 0
    document: str | int | None = None
    rejects: tuple[int, int] = (0, 0)
    summary: Summary = field(default_factory=Summary)
    before: Summary = field(default_factory=Summary)
    rejects_before: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        """Returns the state as plain values by name."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"summary": self.summary.stored(), "before": self.before.stored()}

    def check(self, inputs: int) -> None:
        """Raises ValueError unless a job with so many inputs can have come so far."""
        numbers = [self.pool, self.named, self.records, self.size, *self.rejects, *self.rejects_before, *self.spoilt]
        if (
            min(numbers) < 0
            or max(numbers) > _MAX_NUMBER
            or not self.named <= self.finished <= inputs
            or max(self.spoilt, default=0) >= inputs
        ):
            raise ValueError("a number is out of range")
        if (self.records or self.size) and self.finished == inputs:
            raise ValueError("it counts records after the last input")
        self.summary.check()
        self.before.check()

    def next_input(self) -> None:
        """Passes on to the next input."""
        self.finished += 1
        self.records, self.size, self.document = 0, 0, None
        self.before = self.summary.copy()

    def begin_anew(self) -> None:
        """Takes back what was done of the input at hand."""
        self.records, self.size, self.document = 0, 0, None
        rejected, seconds = self.summary.rejected, self.summary.seconds
        self.summary = self.before.copy()
        self.summary.rejected, self.summary.seconds = rejected, seconds


class Journal:
    """A file of JSON lines: the first tells the job, each other how far it had come when the line was written.

    Args:
        path: where it stands.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0

    def is_ours(self) -> bool:
        """Returns whether the file is a journal, or the beginning of one that a crash left."""
        with suppress(OSError):
            if not stat.S_ISREG(self.path.lstat().st_mode):
                return False
            with self.path.open("rb") as stream:
                return _MARK.startswith(stream.read(len(_MARK)))
        return False

    def is_marked(self) -> bool:
        """Returns whether the file begins with the whole mark of a journal."""
        with suppress(OSError):
            if stat.S_ISREG(self.path.lstat().st_mode):
                with self.path.open("rb") as stream:
                    return stream.read(len(_MARK)) == _MARK
        return False

    def begin(self, job: JobRecord) -> None:
        """Starts the journal of a job anew.

        Raises:
            StorageError: the job has more inputs than a journal can hold.
        """
        line = json_files.dump(job.to_json()) + b"\n"
        if len(line) >= _MAX_LINE:
            raise StorageError(f"{len(job.inputs)} inputs are too many for one job; divide them into several jobs")
        self._size = 0
        self._append(line)
        atomic.sync(self.path.parent)

    def add(self, state: State) -> None:
        """Takes up how far the job has come; what it counts must be on the disk."""
        self._append(json_files.dump(state.to_json()) + b"\n")

    def take_back(self) -> None:
        """Takes back a line that could not be written to the disk."""
        atomic.truncate(self.path, self._size)

    def _append(self, data: bytes) -> None:
        atomic.write_from(self.path, data, self._size)
        atomic.sync(self.path)
        self._size += len(data)

    def read(self) -> tuple[JobRecord, State] | None:
        """Returns the job and how far it had come; None if there is no journal. A truncated last line does not count.

        Raises:
            StorageError: the file is not a journal that this version of the toolkit has written.
        """
        job: JobRecord | None = None
        state = State()
        self._size = 0
        if not self.is_ours():
            return None
        with self.path.open("rb") as stream:
            while (line := stream.readline(_MAX_LINE)).endswith(b"\n"):
                try:
                    if line.count(b"[") + line.count(b"{") > _MAX_VALUES:
                        raise ValueError("a line holds too many values")
                    if job is None:
                        job = json_files.parse_as(JobRecord, line)
                    else:
                        state = json_files.parse_as(State, line)
                        state.check(len(job.inputs))
                except ValueError as error:
                    raise StorageError(f"{self.path}: cannot resume from this journal: {error}") from None
                self._size += len(line)
        if len(line) == _MAX_LINE:
            raise StorageError(f"{self.path}: cannot resume from this journal: a line is too long")
        return None if job is None else (job, state)


def differences(then: JobRecord, now: JobRecord, finished: int) -> list[str]:
    """Returns a line for each way in which a job differs from one whose first inputs, so many, are finished.

    An input that is not finished may have changed; what was done of it is then done again.
    """
    lines = [
        f"{key if ' ' in key else f'`{key}`'} was {then.options.get(key)!r}, now {value!r}"
        for key, value in now.options.items()
        if then.options.get(key) != value
    ]
    before, after = ([item.path for item in job.inputs] for job in (then, now))
    if before != after:
        index = next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
        lines.append(
            f"the inputs were {len(before)}, now {len(after)}; they differ from number {min(index, len(after)) + 1} on"
        )
        return lines
    pairs = zip(then.inputs[:finished], now.inputs[:finished], strict=True)
    return lines + [f"{new.path} has changed since it was tagged" for old, new in pairs if old != new]
