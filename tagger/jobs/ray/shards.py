"""Splits inputs into shards that are tagged independently: ranges of complete lines, or of row groups."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PurePath
from typing import Any

from tagger.choices import InputFormat
from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.formats.reading import ReadOptions
from tagger.data.sentence import Record, Reject
from tagger.errors import DataError
from tagger.io import line_reader
from tagger.io.storage import Location
from tagger.jobs.inputs import strip_suffixes

SHARD_BYTES = 2**23
"""Bytes of a shard, which a single line or row group may exceed. A compressed file is one shard."""
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """A file to tag.

    Attributes:
        location: the file.
        label: the name in messages.
        name: the path relative to the folder that was searched, or the file name.
        input_format: the format.
        size: bytes, None if unknown.
        modified: modification time in nanoseconds, None if unknown.
    """

    location: Location
    label: str
    name: PurePath
    input_format: InputFormat
    size: int | None
    modified: int | None


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a file, or a complete file.

    Attributes:
        source: the index of the file.
        location: the file.
        label: the name in messages.
        input_format: the format.
        output: the relative path of the output.
        start, stop: the range of bytes, or of row groups for Parquet; the whole file if `stop` is None.
        first: the number of the first line or row, from 1.
        size: approximate bytes.
    """

    source: int
    location: Location
    label: str
    input_format: InputFormat
    output: str
    start: int = 0
    stop: int | None = None
    first: int = 1
    size: int = 0

    @property
    def range(self) -> list[int | None]:
        """`start`, `stop` and `first`, as JSON holds them."""
        return [self.start, self.stop, self.first]


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of bytes of a file to scan; for Parquet the whole file, but only its footer is read."""

    location: Location
    input_format: InputFormat
    start: int
    stop: int


ScanResult = list[tuple[int, int]]
"""For lines one pair: the number of line ends in a byte range, and the offset of the first, -1 if there is none. For
Parquet rows and bytes of each row group. Empty if the file must not be split."""


def list_scan_ranges(source: Source) -> list[ByteRange]:
    """Returns the byte ranges to scan before a file is split, none for a file that stays one shard."""
    size = source.size or 0
    if size <= SHARD_BYTES or source.name.suffix in line_reader.COMPRESSED_SUFFIXES:
        return []
    if source.input_format == "parquet":
        return [ByteRange(source.location, source.input_format, 0, size)]
    starts = range(0, size, SHARD_BYTES)
    return [ByteRange(source.location, source.input_format, start, min(start + SHARD_BYTES, size)) for start in starts]


def scan(byte_range: ByteRange) -> ScanResult:
    """Returns the scan result of a byte range; empty if the file cannot be read, which tagging will report."""
    try:
        if byte_range.input_format == "parquet":
            from tagger.data.formats import parquet  # loads Arrow, so only when it is used

            with byte_range.location.open() as file:
                return parquet.read_group_sizes(file, str(byte_range.location))
        return _count_line_ends(byte_range)
    except (DataError, OSError):
        return []


def _count_line_ends(byte_range: ByteRange) -> ScanResult:
    count, first, offset = 0, -1, byte_range.start
    with byte_range.location.open_range(byte_range.start, byte_range.stop) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            if offset == 0 and line_reader.is_compressed(str(byte_range.location), chunk):
                return []
            if first < 0 and (index := chunk.find(b"\n")) >= 0:
                first = offset + index
            count += chunk.count(b"\n")
            offset += len(chunk)
    return [(count, first)]


def split(source: Source, index: int, scan_results: Sequence[ScanResult], suffix: str) -> list[Shard]:
    """Returns the shards of a file in order, at least one; only the shard of an empty file is empty.

    Args:
        source: the file.
        index: the index of the file.
        scan_results: the scan results of its byte ranges.
        suffix: the suffix of the outputs.
    """
    ranges: list[tuple[int, int | None, int]] = [(0, None, 1)]
    if scan_results and all(scan_results):
        if source.input_format == "parquet":
            ranges = _row_group_ranges(scan_results[0])
        else:
            ranges = _line_ranges([result[0] for result in scan_results], source.size or 0)
    digits = max(5, len(str(len(ranges) - 1)))
    return [
        Shard(
            source=index,
            location=source.location,
            label=source.label,
            input_format=source.input_format,
            output=str(source.name.with_name(f"{strip_suffixes(source.name)}-{order:0{digits}}{suffix}")),
            start=start,
            stop=stop,
            first=first,
            size=min(source.size or SHARD_BYTES, SHARD_BYTES) if stop is None else SHARD_BYTES,
        )
        for order, (start, stop, first) in enumerate(ranges)
    ]


def _line_ranges(line_ends: ScanResult, size: int) -> list[tuple[int, int | None, int]]:
    """Returns start, stop and first line of ranges of complete lines.

    The first range starts at the start of the file, each other after the first line end in its byte range.
    """
    lines_before = list(accumulate((count for count, _ in line_ends), initial=0))
    starts = [(0, 1)] + [(first + 1, lines_before[k] + 2) for k, (_, first) in enumerate(line_ends) if k and first >= 0]
    starts = [(start, line) for start, line in starts if start < size]
    stops = [start for start, _ in starts[1:]] + [size]
    return [(start, stop, line) for (start, line), stop in zip(starts, stops, strict=True)]


def _row_group_ranges(groups: ScanResult) -> list[tuple[int, int | None, int]]:
    """Returns start, stop and first row of ranges of row groups."""
    ranges: list[tuple[int, int | None, int]] = []
    start, size, first, row = 0, 0, 1, 1
    for group, (rows, group_bytes) in enumerate(groups):
        if size and size + group_bytes > SHARD_BYTES:
            ranges.append((start, group, first))
            start, size, first = group, 0, row
        size, row = size + group_bytes, row + rows
    return [*ranges, (start, len(groups), first)]


def read_records(
    shard: Shard,
    *,
    reject: Callable[[Reject], None] | None,
    **options: Any,
) -> Iterator[Record]:
    """Yields the records of a shard, the same as `reader.records` yields for the whole file.

    Args:
        shard: the shard.
        reject: is called with each line or row that cannot be read; None to raise the error.
        options: the other options of `ReadOptions`.

    Raises:
        ConfigError, DataError: as `reader.records`.
    """
    if shard.input_format != "parquet":
        with shard.location.open_range(shard.start, shard.stop) as stream:
            yield from reader.read_records(
                stream,
                input_format=shard.input_format,
                layout=Layout(0),
                name=shard.label,
                reject=reject,
                first=shard.first,
                **options,
            )
        return
    from tagger.data.formats import parquet

    with shard.location.open() as stream:
        groups = None if shard.stop is None else range(shard.start, shard.stop)
        read_options = ReadOptions(shard.label, Layout(0), reject=reject, first=shard.first, **options)
        yield from parquet.read_groups(stream, read_options, groups)
