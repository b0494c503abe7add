"""Inputs in parts that are tagged apart from one another: stretches of whole lines, or of row groups."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PurePath

from tagger.choices import InputFormat
from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.sentence import Record, Reject
from tagger.errors import DataError
from tagger.io import line_reader
from tagger.io.storage import Place
from tagger.jobs.inputs import stem

PART_BYTES = 2**23
"""The bytes of a part, before compression; a line or a row group may exceed them. A file that is packed is one part."""
_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """A file to tag.

    Attributes:
        place: where it is.
        label: how messages call it.
        name: its path within the folder it was found in, or its name.
        input_format: its format.
        size: its bytes, None if that is not known.
        changed: when it was changed, None if that is not known.
    """

    place: Place
    label: str
    name: PurePath
    input_format: InputFormat
    size: int | None
    changed: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file.

    Attributes:
        source: the file's number.
        place: the file.
        label: how messages call it.
        input_format: its format.
        output: the place of the part's output among the outputs.
        start, stop: the bytes of the part, of Parquet the row groups; without `stop` it is the whole file.
        first: the number of its first line or row in the file, from 1.
        size: about how many bytes it has.
    """

    source: int
    place: Place
    label: str
    input_format: InputFormat
    output: str
    start: int = 0
    stop: int | None = None
    first: int = 1
    size: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """What of a file, of which others may be surveyed elsewhere, is to be surveyed: bytes; of Parquet the footer."""

    place: Place
    input_format: InputFormat
    start: int
    stop: int


Survey = list[tuple[int, int]]
"""Of lines one pair: the number of line ends in a stretch, and the place of the first; of Parquet for each row group
its rows and bytes; empty if the file is not to be cut."""


def stretches(source: Source) -> list[Stretch]:
    """Returns what is to be surveyed before a file is cut, nothing for one that is not."""
    size = source.size or 0
    if size <= PART_BYTES or source.name.suffix in line_reader.PACKED_SUFFIXES:
        return []
    if source.input_format == "parquet":
        return [Stretch(source.place, source.input_format, 0, size)]
    starts = range(0, size, PART_BYTES)
    return [Stretch(source.place, source.input_format, start, min(start + PART_BYTES, size)) for start in starts]


def survey(stretch: Stretch) -> Survey:
    """Returns what is found in a stretch; nothing if the file cannot be read, which its tagging will tell."""
    try:
        if stretch.input_format == "parquet":
            from tagger.data.formats import parquet  # loads Arrow, so only when it is used

            with stretch.place.opened() as file:
                return parquet.group_sizes(file, str(stretch.place))
        return _line_ends(stretch)
    except (DataError, OSError):
        return []


def _line_ends(stretch: Stretch) -> Survey:
    count, first, place = 0, -1, stretch.start
    with stretch.place.stretch(stretch.start, stretch.stop) as stream:
        while piece := stream.read(_PIECE):
            if place == 0 and line_reader.is_packed(str(stretch.place), piece):
                return []
            if first < 0 and (found := piece.find(b"\n")) >= 0:
                first = place + found
            count += piece.count(b"\n")
            place += len(piece)
    return [(count, first)]


def cut(source: Source, number: int, surveys: Sequence[Survey], suffix: str) -> list[Part]:
    """Returns the parts of a file in their order, none of them empty unless the file is; there is one at least.

    Args:
        source: the file.
        number: its number.
        surveys: what was found in its stretches.
        suffix: how the names of outputs end.
    """
    ranges: list[tuple[int, int | None, int]] = [(0, None, 1)]
    if surveys and all(surveys):
        of_rows = source.input_format == "parquet"
        ranges = _of_rows(surveys[0]) if of_rows else _of_lines([one[0] for one in surveys], source.size or 0)
    width = max(5, len(str(len(ranges) - 1)))
    return [
        Part(
            source=number,
            place=source.place,
            label=source.label,
            input_format=source.input_format,
            output=str(source.name.with_name(f"{stem(source.name)}-{order:0{width}}{suffix}")),
            start=start,
            stop=stop,
            first=first,
            size=min(source.size or PART_BYTES, PART_BYTES) if stop is None else PART_BYTES,
        )
        for order, (start, stop, first) in enumerate(ranges)
    ]


def _of_lines(found: Survey, size: int) -> list[tuple[int, int | None, int]]:
    """Returns start, stop and first line of stretches of whole lines.

    The first begins where the file does, each other after the first line end in its bytes.
    """
    before = list(accumulate((count for count, _ in found), initial=0))
    begun = [(0, 1)] + [(first + 1, before[k] + 2) for k, (_, first) in enumerate(found) if k and first >= 0]
    begun = [(start, line) for start, line in begun if start < size]
    stops = [start for start, _ in begun[1:]] + [size]
    return [(start, stop, line) for (start, line), stop in zip(begun, stops, strict=True)]


def _of_rows(groups: Survey) -> list[tuple[int, int | None, int]]:
    """Returns the first row group, the one after the last, and the first row of stretches of row groups."""
    ranges: list[tuple[int, int | None, int]] = []
    start, size, first, row = 0, 0, 1, 1
    for number, (rows, volume) in enumerate(groups):
        if size and size + volume > PART_BYTES:
            ranges.append((start, number, first))
            start, size, first = number, 0, row
        size, row = size + volume, row + rows
    return [*ranges, (start, len(groups), first)]


def records(
    part: Part,
    *,
    language: str,
    reject: Callable[[Reject], None] | None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Record]:
    """Yields the records of a part: those that `sources.records` yields of the whole file.

    Raises:
        ConfigError, DataError: as there.
    """
    if part.input_format != "parquet":
        with part.place.stretch(part.start, part.stop) as stream:
            yield from reader.read_records(
                stream,
                input_format=part.input_format,
                layout=Layout(0),
                language=language,
                name=part.label,
                reject=reject,
                first=part.first,
                max_record_bytes=max_record_bytes,
            )
        return
    from tagger.data.formats import parquet

    with part.place.opened() as stream:
        groups = None if part.stop is None else range(part.start, part.stop)
        yield from parquet.read_groups(
            stream,
            part.label,
            language,
            groups=groups,
            first=part.first,
            reject=reject,
            max_record_bytes=max_record_bytes,
        )
