"""The directory of a tagging job: part files that grow, get their names when they are whole, and can be gone on with.

All that a job keeps for itself lies in one hidden folder, `.tagger-job`: the journal, a numbered part file for each
output that is not whole, and the rejects. The journal's first bytes mark the folder as ours. Outside of this folder a
job creates outputs and their folders only; a name that exists is an error unless `overwrite` allows to replace it.

What stands in the journal is done: the part files hold at least what it counts, and outputs that it counts as whole
get their names after it says so. What goes beyond it is done again.
"""

import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TypeVar

from tagger.data.formats.writing import Sink
from tagger.errors import StorageError
from tagger.io import atomic
from tagger.jobs.journal import JobRecord, Journal, State, differences
from tagger.jobs.pools import Pool, Stretch
from tagger.jobs.rejects import Rejects

_T = TypeVar("_T")

log = logging.getLogger(__name__)

JOB_FOLDER, REJECTS = ".tagger-job", "rejects.jsonl"
JOURNAL = f"{JOB_FOLDER}/journal.jsonl"
COMMIT_SECONDS = 1.0
"""The least time between two entries of the journal; a kill costs no more work than that."""
_COMMIT_SHARE = 20  # waiting for the disk takes at most this part of the time
_THREADS = 16  # files that wait for the disk together share its round trips
_MOST_FAULTS = 20
_PART, _REJECTS_PART = re.compile(r"part-[0-9]{6,}"), "rejects"


class Folder:
    """The outputs of a job and its journal.

    Args:
        out: the directory, which has no other writer.
        names: the place of each output in it.
        sink: opens the sink of a number.
        rejects: the file of what is set aside, None if nothing is.
        overwrite: whether outputs may replace files that exist.

    Attributes:
        names: the place of each output in the directory.
        state: how far the job has come.
        rejects: what is set aside, None if nothing is.
    """

    def __init__(
        self,
        out: Path,
        names: Sequence[PurePath],
        sink: Callable[[int], Sink],
        rejects: Path | None,
        *,
        overwrite: bool = False,
    ) -> None:
        self.out, self.state = out, State()
        self.rejects: Rejects | None = None
        self._own, self._overwrite = out / JOB_FOLDER, overwrite
        self.names, self._open, self._rejects_path = names, sink, rejects
        self._sinks: dict[int, Sink] = {}  # of the inputs whose outputs have no names yet
        self._journal = Journal(out / JOURNAL)
        self._committed = State()
        self._folders: set[Path] = set()  # with names that may not be on the disk yet
        self._began = time.perf_counter()
        self._due = self._began + COMMIT_SECONDS

    def begin(self, record: JobRecord, *, resume: bool) -> None:
        """Begins the job, or takes up the one that the journal tells of; without `resume` that one is removed.

        Raises:
            StorageError: the job to go on with is another, its part file is not what the journal says, or a name
                that the job needs exists and is not ours.
        """
        self._check_own_folder()
        found = self._journal.read()
        if found and resume:
            self._take_up(record, *found)
            self._check_parts()
            self._check_rejects()
        self._check_names(resumes=bool(found and resume))
        self._own.mkdir(exist_ok=True)
        if not (found and resume):
            if found:
                log.info(
                    "%s: what an unfinished job left here is replaced; `resume=True` would have continued it", self.out
                )
                self._remove()
                self._own.mkdir(exist_ok=True)
            elif resume:
                log.info("%s: holds no unfinished job; it starts at the beginning", self.out)
            self._journal.begin(record)
            atomic.sync(self._own)
        if self._rejects_path and not self._rejects_published:
            size, count = self.state.rejects
            self.rejects = Rejects(self._rejects_part, str(self._rejects_path), size=size, count=count)
        self._committed = replace(self.state)
        self._began -= self.state.summary.seconds
        self.name()

    def _check_own_folder(self) -> None:
        """Raises StorageError if the folder that the job keeps for itself is there and is not ours."""
        try:
            inside = list(self._own.iterdir()) if stat.S_ISDIR(self._own.lstat().st_mode) else None
        except FileNotFoundError:
            return
        marked = inside is not None and self._journal.is_ours()
        if inside is None or (inside and not marked) or (len(inside) > 1 and not self._journal.is_marked()):
            raise StorageError(f"{self._own}: exists and was not made by a tagging job; choose another directory")

    def _check_names(self, *, resumes: bool) -> None:
        """Raises StorageError, with a line for each, where an output has a name that is taken or leads elsewhere.

        Args:
            resumes: whether whole outputs that the journal counts may have their names already.
        """
        done = self.state.finished if resumes else 0
        faults = [fault for number in range(len(self.names)) if (fault := self._fault(number, done=number < done))]
        rejects = self._rejects_path
        if rejects == self.out / REJECTS and os.path.lexists(rejects) and not self._overwrite:
            ours = atomic.is_same(self._rejects_part, rejects) or self._rejects_published
            faults += [] if resumes and ours else [_taken(rejects)]
        if rejects and rejects.parent == self.out and rejects.is_dir():
            faults.append(f"{rejects}: is a folder, and the rejects have this name; choose another `out`")
        if faults and not resumes and self._journal.is_marked():
            faults.insert(0, f"{self.out}: holds an unfinished job; `resume=True` continues it")
        if faults:
            more = len(faults) - _MOST_FAULTS
            raise StorageError(*faults[:_MOST_FAULTS], *([f"… and {more} more"] if more > 0 else []))

    def _fault(self, number: int, *, done: bool) -> str | None:
        """Returns why an output cannot have its name; None if nothing is in its way."""
        path = self.out / self.names[number]
        for folder in [self.out / parent for parent in self.names[number].parents][:-1]:
            if folder.is_symlink() or (os.path.lexists(folder) and not folder.is_dir()):
                return f"{folder}: is not a folder, and {path} would lie in it; choose another `out`"
        if path.is_dir() and not path.is_symlink():
            return f"{path}: is a folder, and an output has this name; choose another `out`"
        if path.exists() and not path.is_file() and not path.is_dir():
            return f"{path}: is a device or a pipe, and an output has this name; choose another `out`"
        if not os.path.lexists(path) or self._overwrite:
            return None
        part = self._part(number)
        return None if done and (not part.exists() or atomic.is_same(part, path)) else _taken(path)

    def _take_up(self, now: JobRecord, then: JobRecord, state: State) -> None:
        if lines := differences(then, now, state.finished):
            place = f"{self.out}: the unfinished job here is another"
            raise StorageError(*(f"{place}: {line}" for line in lines), "without `resume` it is replaced")
        self.state = state
        if state.finished == len(self.names) or not state.records:
            return
        part = self._part(state.finished)
        before, after = then.inputs[state.finished], now.inputs[state.finished]
        if before != after or after.file is None:
            why = "has changed" if after.file else "may be another stream than before"
            log.info("%s %s; it is tagged from its beginning", after.path, why)
            state.begin_anew()
            state.rejects, state.summary.rejected = state.rejects_before, state.rejects_before[1]
        elif not part.exists() or part.lstat().st_size < state.size:
            raise StorageError(f"{part}: holds less than the journal says; start again without `resume`")

    def _check_parts(self) -> None:
        """Raises StorageError if a part file is a link, has another name, or is not a file at all."""
        published = {self._part(number): self.out / name for number, name in enumerate(self.names)}
        published[self._rejects_part] = self.out / REJECTS
        for path in self._own.iterdir():
            if not atomic.is_unfinished(path.name) and not atomic.is_unshared(path, published.get(path)):
                raise StorageError(f"{path}: is not a file of this job; start again without `resume`")

    def _check_rejects(self) -> None:
        """Raises StorageError if the part file of the rejects holds less than the journal says."""
        part, size = self._rejects_part, self.state.rejects[0]
        if not self._rejects_path or not size or self._rejects_published:
            return
        if not part.exists() or part.lstat().st_size < size:
            raise StorageError(f"{part}: holds less than the journal says; start again without `resume`")

    def write(self, pool: Pool) -> bool:
        """Writes a tagged pool; tells whether it is time to commit."""
        for stretch in pool.stretches:
            self._put(stretch)
        self.state.pool += 1
        self.state.rejects = pool.rejects
        self.state.summary.rejected = pool.rejects[1]
        self.state.summary.seconds = time.perf_counter() - self._began
        return time.perf_counter() >= self._due

    def _put(self, stretch: Stretch) -> None:
        state, part = self.state, self._part(stretch.number)
        if stretch.corrupt or (stretch.spoilt and not state.records and not stretch.records):
            state.begin_anew()
            state.spoilt.append(stretch.number)
            state.next_input()
            return
        sink, data = self._sink(stretch.number), b""
        if not state.records:
            state.rejects_before = stretch.rejects
            data = sink.begin()
        data += sink.write(stretch.records)
        if stretch.ended:
            data += sink.end()
        atomic.write_from(part, data, state.size)
        state.size += len(data)
        state.records += len(stretch.records)
        state.document = state.summary.add(stretch.records, state.document)
        if stretch.ended:
            state.next_input()

    def _sink(self, number: int) -> Sink:
        if number not in self._sinks:
            self._sinks[number] = self._open(number)
        return self._sinks[number]

    def commit(self) -> None:
        """Waits until all that was written is on the disk, then says so in the journal."""
        began, state = time.perf_counter(), self.state
        parts = [self._part(number) for number in self._unnamed()]
        if state.records:
            parts.append(self._part(state.finished))
        _each(atomic.sync, [part for part in parts if part.exists()])
        _each(atomic.sync, {self._own} | self._folders)
        self._folders.clear()
        if self.rejects:
            atomic.sync(self.rejects.part)
        self._journal.add(state)
        self._committed = replace(state)
        ended = time.perf_counter()
        self._due = ended + max(COMMIT_SECONDS, _COMMIT_SHARE * (ended - began))

    def name(self) -> None:
        """Gives whole outputs, just committed, their names, and removes what is left of inputs set aside."""
        for number in self.state.spoilt:
            self._part(number).unlink(missing_ok=True)
        _each(self._name, self._unnamed())
        for number in range(self.state.named, self.state.finished):
            self._sinks.pop(number, None)
        self.state.named, self.state.spoilt = self.state.finished, []

    def _name(self, number: int) -> None:
        part, whole = self._part(number), self.out / self.names[number]
        if not part.exists() and not whole.exists():
            raise StorageError(f"{part}: is gone, which the journal counts as whole; start again without `resume`")
        if part.exists():  # else it has its name: a job was killed, or asked to stop, before it could say so
            if fault := self._fault(number, done=True):
                raise StorageError(fault)
            self._sink(number).finish(part)
            atomic.sync(part)
            whole.parent.mkdir(parents=True, exist_ok=True)
            atomic.publish(part, whole, overwrite=self._overwrite)
            self._folders.add(whole.parent)

    def _unnamed(self) -> list[int]:
        spoilt = set(self.state.spoilt)
        return [number for number in range(self.state.named, self.state.finished) if number not in spoilt]

    def finish(self) -> None:
        """Ends the job: everything has its name, and the journal goes."""
        if self.rejects and self._rejects_path == self.out / REJECTS:
            atomic.publish(self._rejects_part, self._rejects_path, overwrite=self._overwrite)
        elif self.rejects and self._rejects_path:
            atomic.copy_output(self._rejects_part, self._rejects_path)
        _each(atomic.sync, {*self._folders, self.out})
        self._remove()

    def leave(self) -> None:
        """Leaves the job such that it can be gone on with; one that has written nothing leaves nothing."""
        if self.state.pool:
            self.commit()
        else:
            self._remove()

    def give_up(self) -> None:
        """Goes back to what the journal says, because no more could be written."""
        kept = self._committed
        if not kept.pool:
            self._remove()
            return
        self._journal.take_back()
        for number in range(kept.finished + bool(kept.records), min(self.state.finished + 1, len(self.names))):
            self._part(number).unlink(missing_ok=True)
        if kept.records:
            atomic.truncate(self._part(kept.finished), kept.size)

    def _remove(self) -> None:
        """Removes what the job keeps for itself, the journal last, and nothing that has another name."""
        if not self._own.exists():
            return
        for path in list(self._own.iterdir()):
            if _PART.fullmatch(path.name) or path.name == _REJECTS_PART or atomic.is_unfinished(path.name):
                path.unlink()
        self._journal.path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody else put a file there
            self._own.rmdir()

    def _part(self, number: int) -> Path:
        return self._own / f"part-{number:06d}"

    @property
    def _rejects_part(self) -> Path:
        return self._own / _REJECTS_PART

    @property
    def _rejects_published(self) -> bool:
        """Whether a job that was killed at its very end has given the rejects their name."""
        return self.state.finished == len(self.names) and not self._rejects_part.exists()


def _taken(path: Path) -> str:
    return f"{path}: exists; choose another `out`, or pass `overwrite=True` to replace it"


def _each(act: Callable[[_T], None], items: Iterable[_T]) -> None:
    items = list(items)
    if len(items) < _THREADS:
        for item in items:
            act(item)
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(act, items))
