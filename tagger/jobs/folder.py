"""The directory of a tagging job: part files that grow, get their names when they are whole, and can be gone on with.

What stands in the journal is done: the part files hold at least what it counts, and outputs that it counts as whole
get their names after it says so. What goes beyond it is done again.
"""

import glob
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, TypeVar

from tagger import files
from tagger.data.sinks import Sink
from tagger.errors import CheckpointError
from tagger.jobs.journal import Journal, State, differences
from tagger.jobs.pools import Pool, Stretch
from tagger.jobs.rejects import Rejects

_T = TypeVar("_T")

log = logging.getLogger(__name__)

JOURNAL, REJECTS = ".journal.jsonl", "rejects.jsonl"
COMMIT_SECONDS = 1.0
"""The least time between two entries of the journal; a kill costs no more work than that."""
_COMMIT_SHARE = 20  # waiting for the disk takes at most this part of the time
_THREADS = 16  # files that wait for the disk together share its round trips


class Folder:
    """The outputs of a job and its journal.

    Args:
        out: the directory, which has no other writer.
        names: the place of each output in it.
        sink: opens the sink of a number.
        rejects: the file of what is set aside, None if nothing is.

    Attributes:
        names: the place of each output in the directory.
        state: how far the job has come.
        rejects: what is set aside, None if nothing is.
    """

    def __init__(self, out: Path, names: Sequence[PurePath], sink: Callable[[int], Sink], rejects: Path | None) -> None:
        self.out, self.state = out, State()
        self.rejects: Rejects | None = None
        self.names, self._open, self._rejects_path = names, sink, rejects
        self._sinks: dict[int, Sink] = {}  # of the inputs whose outputs have no names yet
        self._journal = Journal(out / JOURNAL)
        self._committed = State()
        self._folders: set[Path] = set()  # with names that may not be on the disk yet
        self._began = time.perf_counter()
        self._due = self._began + COMMIT_SECONDS

    def begin(self, job: Mapping[str, Any], *, resume: bool) -> None:
        """Begins the job, or takes up the one that the journal tells of; without `resume` that one is removed.

        Raises:
            CheckpointError: the job to go on with is another, or its part file is not what the journal says.
        """
        found = self._journal.read()
        if found and resume:
            self._take_up(job, *found)
        else:
            if found:
                log.info(
                    "%s: what an unfinished job left here is replaced; --resume would have gone on with it", self.out
                )
                self._remove([item["output"] for item in found[0]["inputs"]])
            elif resume:
                log.info("%s: holds no unfinished job; it starts at the beginning", self.out)
            self._journal.begin(job)
        if self._rejects_path:
            size, count = self.state.rejects
            self.rejects = Rejects(self._rejects_path, size=size, count=count)
        self._committed = replace(self.state)
        self._began -= self.state.summary.seconds
        self.name()

    def _take_up(self, now: Mapping[str, Any], then: Mapping[str, Any], state: State) -> None:
        if lines := differences(then, now, state.finished):
            place = f"{self.out}: the unfinished job here is another"
            raise CheckpointError(*(f"{place}: {line}" for line in lines), "without --resume it is replaced")
        self.state = state
        for number in self._unnamed():
            _remove_rewritten(self._part(number))
        if state.finished == len(self.names) or not state.records:
            return
        part = self._part(state.finished)
        before, after = then["inputs"][state.finished], now["inputs"][state.finished]
        if before != after or after["file"] is None:
            why = "has changed" if after["file"] else "may be another stream than before"
            log.info("%s %s; it is tagged from its beginning", after["path"], why)
            state.begin_anew()
            state.rejects, state.summary.rejected = state.rejects_before, state.rejects_before[1]
        elif not part.exists() or part.stat().st_size < state.size:
            raise CheckpointError(f"{part}: holds less than the journal says; start again without --resume")

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
        if stretch.spoilt and not state.records and not stretch.records:
            state.spoilt.append(stretch.number)
            state.next_input()
            return
        sink, data = self._sink(stretch.number), b""
        if not state.records:
            state.rejects_before = stretch.rejects
            data = sink.begin()
            part.parent.mkdir(parents=True, exist_ok=True)
        data += sink.write(stretch.records)
        if stretch.ended:
            data += sink.end()
        files.extend(part, data, state.size)
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
        _each(files.sync, [part for part in parts if part.exists()])
        _each(files.sync, {part.parent for part in parts} | self._folders)
        self._folders.clear()
        if self.rejects:
            files.sync(self.rejects.part)
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
            raise CheckpointError(f"{part}: is gone, which the journal counts as whole; start again without --resume")
        if part.exists():  # else it has its name: a job was killed, or asked to stop, before it could say so
            self._sink(number).finished(part)
            files.sync(part)
            part.replace(whole)
            self._folders.add(part.parent)

    def _unnamed(self) -> list[int]:
        spoilt = set(self.state.spoilt)
        return [number for number in range(self.state.named, self.state.finished) if number not in spoilt]

    def finish(self) -> None:
        """Ends the job: everything has its name, and the journal goes."""
        if self.rejects:
            self.rejects.finish()
        _each(files.sync, {*self._folders, self.out})
        self._journal.path.unlink()

    def leave(self) -> None:
        """Leaves the job such that it can be gone on with; one that has written nothing leaves nothing."""
        if self.state.pool:
            self.commit()
        else:
            self._remove(self.names)

    def give_up(self) -> None:
        """Goes back to what the journal says, because no more could be written."""
        kept = self._committed
        if not kept.pool:
            self._remove(self.names)
            return
        self._journal.take_back()
        for number in range(kept.finished + bool(kept.records), min(self.state.finished + 1, len(self.names))):
            self._part(number).unlink(missing_ok=True)
        if kept.records:
            os.truncate(self._part(kept.finished), kept.size)

    def _remove(self, names: Iterable[PurePath | str]) -> None:
        for part in (files.part(self.out / name) for name in names):
            _remove_rewritten(part)
            part.unlink(missing_ok=True)
        for path in {self.out / REJECTS, self._rejects_path or self.out / REJECTS}:
            files.part(path).unlink(missing_ok=True)
        self._journal.path.unlink(missing_ok=True)

    def _part(self, number: int) -> Path:
        return files.part(self.out / self.names[number])


def _remove_rewritten(part: Path) -> None:
    """Removes what is left where a sink was killed while it rewrote a part file."""
    for left in part.parent.glob(f".{glob.escape(part.name)}.*.new"):
        left.unlink()


def _each(act: Callable[[_T], None], items: Iterable[_T]) -> None:
    items = list(items)
    if len(items) < _THREADS:
        for item in items:
            act(item)
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(act, items))
