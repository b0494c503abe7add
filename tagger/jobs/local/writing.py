"""Converts tagged pools to the bytes of their outputs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from tagger.data.formats.writing import Sink
from tagger.jobs.pools import InputChunk, Pool
from tagger.jobs.summary import Summary


@dataclass(frozen=True, slots=True)
class WrittenChunk:
    """The tagged records of an `InputChunk` as bytes of their output, without its head and foot.

    Attributes:
        index: the index of the input.
        data: the bytes of the records.
        records: the number of records.
        counts: the counts of the records.
        first: the document of the first record, None without records.
        last: the document of the last record.
        ended: as in `InputChunk`, like the following ones.
        failed: as in `InputChunk`.
        corrupt: as in `InputChunk`.
        rejects: as in `InputChunk`.
    """

    index: int
    data: bytes = b""
    records: int = 0
    counts: Summary = field(default_factory=Summary)
    first: str | int | None = None
    last: str | int | None = None
    ended: bool = False
    failed: bool = False
    corrupt: bool = False
    rejects: tuple[int, int] = (0, 0)

    def count_into(self, summary: Summary, document: str | int | None) -> str | int | None:
        """Adds the counts to those of the records before, whose last document is given; returns the last document."""
        if not self.records:
            return document
        summary.merge(self.counts, continues_document=self.first == document)
        return self.last


class WrittenPool(NamedTuple):
    """The chunks of a pool, and bytes and rows in the file of rejects after the pool was read."""

    chunks: list[WrittenChunk]
    rejects: tuple[int, int] = (0, 0)


class PoolWriter:
    """Converts tagged pools to bytes.

    Args:
        open_sink: returns the sink of an output by the index of its input.
    """

    def __init__(self, open_sink: Callable[[int], Sink]) -> None:
        self._open_sink = open_sink
        self._sink: tuple[int, Sink] | None = None  # of the last input

    def write(self, pool: Pool) -> WrittenPool:
        """Returns the bytes of a tagged pool."""
        return WrittenPool(list(map(self._write_chunk, pool.chunks)), pool.rejects)

    def _write_chunk(self, chunk: InputChunk) -> WrittenChunk:
        ending = {"ended": chunk.ended, "failed": chunk.failed, "corrupt": chunk.corrupt, "rejects": chunk.rejects}
        if not chunk.records:
            return WrittenChunk(chunk.index, **ending)  # type: ignore[arg-type]
        counts = Summary()
        last = counts.add(chunk.records, None)
        return WrittenChunk(
            chunk.index,
            self._find_sink(chunk.index).write(chunk.records),
            len(chunk.records),
            counts,
            chunk.records[0].document,
            last,
            **ending,  # type: ignore[arg-type]
        )

    def _find_sink(self, index: int) -> Sink:
        if self._sink is None or self._sink[0] != index:
            self._sink = index, self._open_sink(index)
        return self._sink[1]
