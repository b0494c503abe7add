"""The output directory of a job on Ray: its journal, the results of shards, and their sum."""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from time import time
from typing import Any

from tagger.errors import DataError, StorageError
from tagger.io import directories, json_files
from tagger.io.storage import Location
from tagger.jobs.journal import InputRecord, JobRecord, list_differences
from tagger.jobs.ray.shards import Shard, Source
from tagger.jobs.rejects import Rejects
from tagger.jobs.summary import Summary

log = logging.getLogger(__name__)

JOURNAL = ".tagger-ray-job.json"
_MADE_BY = "bilstm-crf-tagger ray"
_MARK = re.compile(rb'\{"writer": "[0-9a-f]{32}", (?="made_by": "bilstm-crf-tagger ray", )')

Result = dict[str, Any]
"""The result of a shard: `summary`, the `seconds` since the job started, the documents of the `first` and the `last`
record, `rejects`, `notices`, the `range` of the shard, and whether the rest of the file `failed`; or only the `faults`
that end the job."""


@dataclass(frozen=True, slots=True)
class OutputOwner:
    """The owner of an output directory, whose mark the journal has: the job in the journal is the owner's."""

    folder: Location
    name: str

    def claim(self, job: JobRecord) -> None:
        """Writes the journal of a job and replaces any other."""
        self._journal.write(self._mark + json_files.dump(job.to_json())[1:])

    def read(self) -> JobRecord:
        """Returns the job of the journal, whoever owns it.

        Raises:
            StorageError: the file is not the journal of such a job.
        """
        data = self._journal.read()
        try:
            if not _MARK.match(data):
                raise ValueError("it was not made by a tagging job on Ray")
            return JobRecord.parse(b"{" + _MARK.sub(b"", data, count=1), _MADE_BY)
        except ValueError as error:
            raise StorageError(f"{self._journal}: cannot resume from this journal: {error}") from None

    def check(self) -> None:
        """Raises StorageError if the journal belongs to another owner or does not exist."""
        if not self._owns_journal():
            raise StorageError(f"{self.folder}: another process is writing here")

    def release(self) -> None:
        """Removes the journal if the job has written nothing."""
        if self._owns_journal() and self.list_names() == {JOURNAL}:
            self._journal.remove()

    def list_names(self) -> set[str]:
        """Returns the names of all files in the directory, except the lock."""
        names = {file.location.name for file in self.folder.list_files()}
        if (directory := self.folder.local_path()) and directory.is_dir():
            # `list_files` lists no links, pipes and devices.
            paths = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
            names |= {str(path.relative_to(directory)) for path in paths}
        return names - {directories.LOCK}

    def _owns_journal(self) -> bool:
        if not self._journal.list_files():
            return False
        with self._journal.open() as file:  # a journal may be long: only its start is read
            head: bytes = file.read(len(self._mark))
        return head == self._mark

    @property
    def _journal(self) -> Location:
        return self.folder.join(JOURNAL)

    @property
    def _mark(self) -> bytes:
        return f'{{"writer": "{self.name}", '.encode()


def start_job(owner: OutputOwner, sources: Sequence[Source], options: dict[str, Any], *, resume: bool) -> set[str]:
    """Starts a job, or resumes the unfinished one; returns the names of the files in the directory.

    Raises:
        StorageError: the directory is not empty, or the unfinished job is another.
    """
    folder = owner.folder
    inputs = [InputRecord(str(item.location), str(item.name), (item.size, item.modified)) for item in sources]
    job = JobRecord.create(options, inputs, _MADE_BY)
    names = owner.list_names()
    if resume and JOURNAL in names:
        if lines := list_differences(owner.read(), job, len(sources)):
            raise StorageError(*(f"{folder}: the unfinished job here is another: {line}" for line in lines))
    elif names:
        hint = "; `resume=True` continues the unfinished job there" if JOURNAL in names else ""
        raise StorageError(f"{folder}: is not empty, and many files are written there; choose another `out`{hint}")
    if resume and JOURNAL not in names:
        directories.log_new_start(folder, "job")
    owner.claim(job)
    return names


@dataclass(frozen=True)
class _StoredResult:
    """The result of a complete shard in its file."""

    first: str | int | None
    last: str | int | None
    failed: bool
    seconds: float
    summary: Summary
    rejects: str
    range: tuple[int | None, int | None, int | None]


def result_name(shard: Shard) -> str:
    """Returns the name of the file with the result of a complete shard."""
    path = PurePath(shard.output)
    return str(path.with_name(f".{path.name}.done"))


def load_result(location: Location) -> Result:
    """Returns a result that a worker has stored.

    Raises:
        StorageError: the file is not a result.
    """
    try:
        result: Result = json_files.parse(location.read())
        json_files.parse_as(_StoredResult, json_files.dump(result)).summary.check()
        if not all(isinstance(json_files.parse(row), dict) for row in result["rejects"].split("\n")[:-1]):
            raise ValueError("the rejects are not rows")
    except ValueError as error:
        raise StorageError(
            f"{location}: is not the result of a worker: {error}; empty the directory and start again"
        ) from None
    return result


@dataclass(slots=True)
class ResultCollector:
    """Adds up the results of shards in their order, as the local engine would count.

    Attributes:
        rejects: the writer of rejected input, None if such input ends the job.
        start: when the job started, in seconds since the epoch.
        summary: the counts so far.
        skipped: shards that follow a failed one of the same file.
    """

    rejects: Rejects | None
    start: float
    summary: Summary = field(default_factory=Summary)
    skipped: list[Shard] = field(default_factory=list)
    _failed: bool = False
    _source: int = -1
    _document: str | int | None = None

    def add(self, shard: Shard, result: Result) -> None:
        """Adds the result of the next shard.

        Raises:
            DataError: the shard could not be read, and rejected input ends the job.
        """
        if faults := result.get("faults"):
            raise DataError(*faults)
        if shard.source != self._source:
            self._source, self._document, self._failed = shard.source, None, False
        if self._failed:
            self.skipped.append(shard)
            return
        for notice in result.get("notices", ()):
            log.info("%s: %s", shard.label, notice)
        for row in result["rejects"].split("\n")[:-1]:
            if self.rejects:
                self.rejects.add_row(json.loads(row))
        self._failed = result["failed"]
        self._count(result)
        self.summary.rejected = self.rejects.count if self.rejects else 0
        self.summary.seconds = time() - self.start

    def _count(self, result: Result) -> None:
        if result["last"] is not None:  # else it has no records
            starts_before = result["first"] == self._document  # its first document starts in the previous shard
            self.summary.merge(Summary.from_dict(result["summary"]), continues_document=starts_before)
            self._document = result["last"]
