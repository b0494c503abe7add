"""The output directory of a tagging job: part files grow, are published when complete, and allow the job to resume.

All working files of a job lie in one hidden folder, `.tagger-job`: the journal, a numbered part file for each
incomplete output, and the rejects. The journal's first bytes mark the folder as ours. Outside of this folder a job
creates only outputs and their folders. An output that exists already is an error unless `overwrite` is set.

The journal is reliable: the part files have at least the bytes that it counts, and a complete output is published
only after the journal counts it. Work that the journal does not count is done again.
"""

import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple, TypeVar

from tagger.data.formats.writing import Sink
from tagger.errors import StorageError, limit_faults
from tagger.io import atomic, directories, line_reader
from tagger.jobs.journal import JobRecord, Journal, State, list_differences
from tagger.jobs.local.writing import WrittenChunk, WrittenPool
from tagger.jobs.rejects import Rejects

_T = TypeVar("_T")

log = logging.getLogger(__name__)

JOB_FOLDER, REJECTS = ".tagger-job", "rejects.jsonl"
JOURNAL = f"{JOB_FOLDER}/journal.jsonl"
COMMIT_SECONDS = 1.0
"""Minimum time between two journal entries, and the most work that a kill loses."""
_COMMIT_INTERVAL_RATIO = 20  # of the time between commits to the time of a commit
_THREADS = 16  # concurrent syncs share the round trips to the disk
_PART, _REJECTS_PART, _INDEX_PART = re.compile(r"(part|text)-[0-9]{6,}"), "rejects", "index"
_CHUNK_BYTES = 1 << 20


class Index(NamedTuple):
    """A page that links the outputs of a job: its name, and its content for outputs by name and path."""

    name: PurePath
    build: Callable[[Iterable[tuple[PurePath, Path]]], Iterator[bytes]]


class Output(NamedTuple):
    """An output of a job: its relative path, and the path of a text that is copied beside it with the suffix .txt."""

    name: PurePath
    text: Path | None = None

    @property
    def text_name(self) -> PurePath:
        """The relative path of the copy."""
        return self.name.with_suffix(".txt")


class OutputFolder:
    """The outputs of a job and its journal.

    Args:
        out: the directory, which the caller has locked.
        outputs: the outputs, one for each input.
        open_sink: returns the sink of an output by its index.
        rejects: the file of rejected input, None if such input stops the job.
        index: the page that links the outputs, if any.
        overwrite: let outputs replace existing files.

    Attributes:
        names: the relative path of each output.
        state: the progress of the job.
        rejects: the writer of rejected input, None if such input stops the job.
    """

    def __init__(
        self,
        out: Path,
        outputs: Sequence[Output],
        open_sink: Callable[[int], Sink],
        rejects: Path | None,
        *,
        index: Index | None = None,
        overwrite: bool = False,
    ) -> None:
        self.out, self.state = out, State()
        self.rejects: Rejects | None = None
        self._job_folder, self._overwrite = out / JOB_FOLDER, overwrite
        self.names, self._outputs = [output.name for output in outputs], outputs
        self._open_sink, self._rejects_path, self._index = open_sink, rejects, index
        self._is_index_published = False
        self._sinks: dict[int, Sink] = {}  # of outputs that are not published yet
        self._journal = Journal(out / JOURNAL)
        self._committed = State()
        self._folders: set[Path] = set()  # whose new names may not be on the disk yet
        self._start_time = time.perf_counter()
        self._due = self._start_time + COMMIT_SECONDS

    def start(self, record: JobRecord, *, resume: bool) -> None:
        """Starts the job or resumes the one in the journal; without `resume` that one is removed.

        Raises:
            StorageError: the job in the journal is another, a part file does not match the journal, or a file that is
                not ours has the path of an output.
        """
        self._check_job_folder()
        unfinished = self._journal.read()
        resumes = unfinished is not None and resume
        if unfinished is not None and resume:
            self._resume_from(*unfinished, record)
            self._check_parts()
            self._check_rejects()
        self._check_paths(resumes=resumes)
        self._is_index_published = resumes and self._find_published_index()
        self._job_folder.mkdir(exist_ok=True)
        if not resumes:
            if unfinished:
                log.info("%s: the unfinished job here is replaced; `resume=True` would have continued it", self.out)
                self._remove()
                self._job_folder.mkdir(exist_ok=True)
            elif resume:
                directories.log_new_start(self.out, "job")
            self._journal.start(record)
            atomic.sync(self._job_folder)
        if self._rejects_path and not self._rejects_published:
            size, count = self.state.rejects
            self.rejects = Rejects(self._rejects_part, str(self._rejects_path), size=size, count=count)
        self._committed = replace(self.state)
        self._start_time -= self.state.summary.seconds
        self.publish()

    def _find_published_index(self) -> bool:
        """Returns whether a job that was killed at its very end has published the index."""
        if self._index is None or self.state.finished < len(self.names) or self._overwrite:
            return False
        part, path = self._index_part, self.out / self._index.name
        return atomic.is_same(part, path) or (os.path.lexists(path) and not part.exists())

    def _check_job_folder(self) -> None:
        """Raises StorageError if the job's hidden folder exists and is not ours."""
        try:
            paths = list(self._job_folder.iterdir()) if stat.S_ISDIR(self._job_folder.lstat().st_mode) else None
        except FileNotFoundError:
            return
        is_journal = paths is not None and self._journal.has_mark(may_be_truncated=True)
        if paths is None or (paths and not is_journal) or (len(paths) > 1 and not self._journal.has_mark()):
            raise StorageError(
                f"{self._job_folder}: exists and was not made by a tagging job; choose another directory"
            )

    def _check_paths(self, *, resumes: bool) -> None:
        """Raises StorageError, with a line for each, if files or folders have the paths of outputs.

        Args:
            resumes: whether outputs that the journal counts as complete may be published already.
        """
        done = self.state.finished if resumes else 0
        faults = [
            fault for number in range(len(self.names)) if (fault := self._find_obstacle(number, done=number < done))
        ]
        if self._index:
            is_published = resumes and self.state.finished == len(self.names)
            faults += filter(None, [self._find_obstacle_at(self._index.name, self._index_part, done=is_published)])
        rejects = self._rejects_path
        if rejects == self.out / REJECTS and os.path.lexists(rejects) and not self._overwrite:
            is_ours = atomic.is_same(self._rejects_part, rejects) or self._rejects_published
            faults += [] if resumes and is_ours else [_path_exists(rejects)]
        if rejects and rejects.parent == self.out and rejects.is_dir():
            faults.append(f"{rejects}: is a folder, but the rejects have this path; choose another `out`")
        if faults and not resumes and self._journal.has_mark():
            faults.insert(0, f"{self.out}: has an unfinished job; `resume=True` continues it")
        if faults:
            raise StorageError(*limit_faults(faults))

    def _find_obstacle(self, number: int, *, done: bool) -> str | None:
        """Returns why an output cannot be published, None if it can."""
        output = self._outputs[number]
        fault = self._find_obstacle_at(output.name, self._part(number), done=done)
        if fault is None and output.text is not None:
            fault = self._find_obstacle_at(output.text_name, self._text_part(number), done=done)
        return fault

    def _find_obstacle_at(self, name: PurePath, part: Path, *, done: bool) -> str | None:
        path = self.out / name
        for folder in [self.out / parent for parent in name.parents][:-1]:
            if folder.is_symlink() or (os.path.lexists(folder) and not folder.is_dir()):
                return f"{folder}: is not a folder, but {path} would be in it; choose another `out`"
        if path.is_dir() and not path.is_symlink():
            return f"{path}: is a folder, but an output has this path; choose another `out`"
        if path.exists() and not path.is_file() and not path.is_dir():
            return f"{path}: is a device or a pipe, but an output has this path; choose another `out`"
        if not os.path.lexists(path) or self._overwrite:
            return None
        return None if done and (not part.exists() or atomic.is_same(part, path)) else _path_exists(path)

    def _resume_from(self, old: JobRecord, state: State, new: JobRecord) -> None:
        if lines := list_differences(old, new, state.finished):
            prefix = f"{self.out}: the unfinished job here is another"
            raise StorageError(*(f"{prefix}: {line}" for line in lines), "without `resume` it is replaced")
        self.state = state
        if state.finished == len(self.names) or not state.records:
            return
        part = self._part(state.finished)
        before, after = old.inputs[state.finished], new.inputs[state.finished]
        if before != after or after.file is None:
            reason = "has changed" if after.file else "may be another stream"
            log.info("%s %s; it is tagged again from the start", after.path, reason)
            state.restart_input()
            state.rejects, state.summary.rejected = state.rejects_before, state.rejects_before[1]
        elif not part.exists() or part.lstat().st_size < state.size:
            raise StorageError(f"{part}: has fewer bytes than the journal says; start again without `resume`")

    def _check_parts(self) -> None:
        """Raises StorageError if a part file is a link, has other hard links, or is not a regular file."""
        published = {self._part(number): self.out / name for number, name in enumerate(self.names)}
        published |= {self._text_part(number): self.out / each.text_name for number, each in enumerate(self._outputs)}
        published[self._rejects_part] = self.out / REJECTS
        if self._index:
            published[self._index_part] = self.out / self._index.name
        for path in self._job_folder.iterdir():
            if not atomic.is_unfinished(path.name) and not atomic.is_unshared(path, published.get(path)):
                raise StorageError(f"{path}: is not a file of this job; start again without `resume`")

    def _check_rejects(self) -> None:
        """Raises StorageError if the part file of the rejects has fewer bytes than the journal says."""
        part, size = self._rejects_part, self.state.rejects[0]
        if not self._rejects_path or not size or self._rejects_published:
            return
        if not part.exists() or part.lstat().st_size < size:
            raise StorageError(f"{part}: has fewer bytes than the journal says; start again without `resume`")

    def write(self, pool: WrittenPool) -> bool:
        """Writes a tagged pool; returns whether a commit is due."""
        for chunk in pool.chunks:
            self._write_chunk(chunk)
        self.state.pools += 1
        self.state.rejects = pool.rejects
        self.state.summary.rejected = pool.rejects[1]
        self.state.summary.seconds = time.perf_counter() - self._start_time
        return time.perf_counter() >= self._due

    def _write_chunk(self, chunk: WrittenChunk) -> None:
        """Appends a chunk to the part file of its output; a corrupt input, or one without records, is marked failed."""
        state, part = self.state, self._part(chunk.index)
        if chunk.corrupt or (chunk.failed and not state.records and not chunk.records):
            state.restart_input()
            state.failed.append(chunk.index)
            state.next_input()
            return
        sink, data = self._get_sink(chunk.index), b""
        if not state.records:
            state.rejects_before = chunk.rejects
            data = sink.begin()
        data += chunk.data
        if chunk.ended:
            data += sink.end()
        atomic.write_from(part, data, state.size)
        state.size += len(data)
        state.records += chunk.records
        state.document = chunk.count_into(state.summary, state.document)
        if chunk.ended:
            state.next_input()

    def _get_sink(self, number: int) -> Sink:
        if number not in self._sinks:
            self._sinks[number] = self._open_sink(number)
        return self._sinks[number]

    def commit(self) -> None:
        """Waits until all output is on the disk, then adds the progress to the journal."""
        start, state = time.perf_counter(), self.state
        parts = [self._part(number) for number in self._unpublished()]
        if state.records:
            parts.append(self._part(state.finished))
        _call_for_all(atomic.sync, [part for part in parts if part.exists()])
        _call_for_all(atomic.sync, {self._job_folder} | self._folders)
        self._folders.clear()
        if self.rejects:
            atomic.sync(self.rejects.part)
        self._journal.add(state)
        self._committed = replace(state)
        end = time.perf_counter()
        self._due = end + max(COMMIT_SECONDS, _COMMIT_INTERVAL_RATIO * (end - start))

    def publish(self) -> None:
        """Publishes complete outputs, which must be committed, and removes the part files of failed inputs."""
        for number in self.state.failed:
            self._part(number).unlink(missing_ok=True)
        _call_for_all(self._publish_output, self._unpublished())
        for number in range(self.state.published, self.state.finished):
            self._sinks.pop(number, None)
        self.state.published, self.state.failed = self.state.finished, []

    def _publish_output(self, number: int) -> None:
        part, path = self._part(number), self.out / self.names[number]
        if not part.exists() and not path.exists():
            raise StorageError(
                f"{part}: is missing, but the journal counts it as complete; start again without `resume`"
            )
        if part.exists():  # else a job published it and was stopped before it updated the journal
            if fault := self._find_obstacle(number, done=True):
                raise StorageError(fault)
            self._get_sink(number).finish(part)
            atomic.sync(part)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._publish_text(number)
            atomic.publish(part, path, overwrite=self._overwrite)
            self._folders.add(path.parent)

    def _publish_text(self, number: int) -> None:
        """Publishes the copy of the text of an output, unless a job that was stopped did."""
        output = self._outputs[number]
        if output.text is None:
            return
        part, path = self._text_part(number), self.out / output.text_name
        if os.path.lexists(path) and not self._overwrite and not atomic.is_same(part, path):
            if not _has_content(path, output.text):
                raise StorageError(_path_exists(path))
            return
        part.unlink(missing_ok=True)
        with (
            line_reader.open_decompressed(output.text) as text,
            os.fdopen(atomic.open_regular(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as stream,
        ):
            shutil.copyfileobj(text, stream, _CHUNK_BYTES)
        atomic.sync(part)
        atomic.publish(part, path, overwrite=self._overwrite)

    def _unpublished(self) -> list[int]:
        failed = set(self.state.failed)
        return [number for number in range(self.state.published, self.state.finished) if number not in failed]

    def finish(self) -> None:
        """Ends the job: publishes the rejects and removes the working files."""
        if self.rejects and self._rejects_path == self.out / REJECTS:
            atomic.publish(self._rejects_part, self._rejects_path, overwrite=self._overwrite)
        elif self.rejects and self._rejects_path:
            atomic.copy_output(self._rejects_part, self._rejects_path)
        self._publish_index()
        _call_for_all(atomic.sync, {*self._folders, self.out})
        self._remove()

    def _publish_index(self) -> None:
        """Publishes the page that links the outputs, unless a job did that and was killed before it ended."""
        if self._index is None or self._is_index_published:
            return
        part, path = self._index_part, self.out / self._index.name
        part.unlink(missing_ok=True)
        outputs = [(name, self.out / name) for name in self.names if (self.out / name).is_file()]
        with os.fdopen(atomic.open_regular(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as stream:
            stream.writelines(self._index.build(outputs))
        atomic.sync(part)
        atomic.publish(part, path, overwrite=self._overwrite)

    def suspend(self) -> None:
        """Commits the job so that it can resume, or removes it if nothing was written."""
        if self.state.pools:
            self.commit()
        else:
            self._remove()

    def rollback(self) -> None:
        """Returns to the last commit after a failed write."""
        committed = self._committed
        if not committed.pools:
            self._remove()
            return
        self._journal.rollback()
        for number in range(
            committed.finished + bool(committed.records), min(self.state.finished + 1, len(self.names))
        ):
            self._part(number).unlink(missing_ok=True)
        if committed.records:
            atomic.truncate(self._part(committed.finished), committed.size)

    def _remove(self) -> None:
        """Removes the working files of the job, the journal last, and no other files."""
        if not self._job_folder.exists():
            return
        for path in list(self._job_folder.iterdir()):
            if (
                _PART.fullmatch(path.name)
                or path.name in (_REJECTS_PART, _INDEX_PART)
                or atomic.is_unfinished(path.name)
            ):
                path.unlink()
        self._journal.path.unlink(missing_ok=True)
        with suppress(OSError):  # it contains a file of somebody else
            self._job_folder.rmdir()

    def _part(self, number: int) -> Path:
        return self._job_folder / f"part-{number:06d}"

    def _text_part(self, number: int) -> Path:
        return self._job_folder / f"text-{number:06d}"

    @property
    def _rejects_part(self) -> Path:
        return self._job_folder / _REJECTS_PART

    @property
    def _index_part(self) -> Path:
        return self._job_folder / _INDEX_PART

    @property
    def _rejects_published(self) -> bool:
        """Whether a job that was killed at its very end has published the rejects."""
        return self.state.finished == len(self.names) and not self._rejects_part.exists()


def _has_content(path: Path, source: Path) -> bool:
    """Returns whether a file has the decompressed content of another."""
    if not path.is_file():
        return False
    with path.open("rb") as file, line_reader.open_decompressed(source) as content:
        while chunk := content.read(_CHUNK_BYTES):
            if file.read(len(chunk)) != chunk:
                return False
        return not file.read(1)


def _path_exists(path: Path) -> str:
    return f"{path}: exists; choose another `out`, or pass `overwrite=True` to replace it"


def _call_for_all(function: Callable[[_T], None], items: Iterable[_T]) -> None:
    items = list(items)
    if len(items) < _THREADS:
        for item in items:
            function(item)
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(function, items))
