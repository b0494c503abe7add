"""Splits the lines of a file into blocks at blank lines. In most formats a block holds one sentence."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from tagger.data.sentence import Reject
from tagger.errors import DataError, TruncatedError
from tagger.io import line_reader
from tagger.io.line_reader import BlockEnd, LineRun, Unreadable

_MAX_BLANK = 1 << 16  # characters of blank lines in one block


class Block(NamedTuple):
    """Consecutive lines that are not blank, and the blank lines after them.

    Attributes:
        first: the number of the first line.
        lines: the lines that are not blank. None if the block continues the blank lines of the previous block; only
            the beginning if `size_fault` is set.
        blank: the blank lines.
        truncation: the error of a source that ends within the block; the block cannot be read.
        size_fault: the message for a block that is too large; it cannot be read.
    """

    first: int
    lines: list[str]
    blank: list[str]
    truncation: TruncatedError | None = None
    size_fault: str = ""

    @property
    def raw(self) -> tuple[str, ...]:
        """All lines of the block."""
        return (*self.lines, *self.blank)

    def is_readable(self) -> bool:
        """Returns whether the block is complete and all its lines are decoded."""
        return self.truncation is None and not self.size_fault and Unreadable not in map(type, self.lines)

    def check(self) -> None:
        """Raises DataError if the block is not readable."""
        if self.truncation:
            raise self.truncation
        if self.size_fault:
            raise DataError(self.size_fault)
        for line in self.lines:
            if isinstance(line, Unreadable):
                raise DataError(line.fault)

    def to_reject(self, error: DataError) -> Reject:
        """Returns the block as rejected input."""
        return Reject(str(error), self.first, "".join(self.raw))


def split(
    source: Iterable[LineRun],
    is_blank: Callable[[str], bool],
    name: str,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Block]:
    """Yields the blocks of a file's lines.

    An unreadable line is never blank. A block of more than `max_record_bytes` is yielded with a `size_fault` as soon
    as it exceeds the limit, and the rest of it is skipped. Blank lines over 64 KiB, or after a
    `BlockEnd`, are yielded in further blocks.

    If the source raises DataError, the previous block is yielded if a blank line ends it. After a TruncatedError a
    block without a blank line is yielded too, with its `truncation`; the error that follows excludes its lines.

    Args:
        source: the lines, in runs.
        is_blank: returns whether a line is blank; called only for lines of white space.
        name: the name of the file in errors.
        max_record_bytes: the maximum size of a block's lines.
    """
    splitter = _Splitter(name, max_record_bytes)
    is_first = True
    try:
        for run in source:
            start = 0
            for end in _find_blank_lines(run.lines, is_blank, has_mark=is_first):
                if end > start:
                    yield from splitter.add_lines(run.first + start, run.lines[start:end])
                yield from splitter.add_blank(run.first + end, run.lines[end])
                start = end + 1
            if start < len(run.lines):
                yield from splitter.add_lines(run.first + start, run.lines[start:])
            is_first = False
    except DataError as error:
        if splitter.blank:
            yield splitter.take()
        elif splitter.lines and isinstance(error, TruncatedError):
            truncation = error.before(splitter.first)
            yield splitter.take()._replace(truncation=truncation)
            raise truncation from error
        raise
    if splitter.lines or splitter.blank:
        yield splitter.take()


class _Splitter:
    """The block that is being read."""

    def __init__(self, name: str, max_record_bytes: int) -> None:
        self.name, self.limit = name, max_record_bytes
        self.first = 0
        self.lines: list[str] = []
        self.blank: list[str] = []
        self._size = self._blank_size = 0  # in characters
        self._unchecked_size = max_record_bytes // 4  # over which bytes are counted
        self._is_skipping = self._is_ended = False  # of a block that is too large

    def take(self) -> Block:
        """Returns the block; the next one is empty."""
        block = Block(self.first, self.lines, self.blank)
        self.lines, self.blank, self._size, self._blank_size = [], [], 0, 0
        self._unchecked_size = self.limit // 4
        return block

    def add_lines(self, number: int, lines: list[str]) -> Iterator[Block]:
        """Adds lines that are not blank; yields the block before them, and their block if it is too large."""
        if self._is_skipping:
            if not self._is_ended:
                return
            self._is_skipping = self._is_ended = False
        if self.blank:
            yield self.take()
        if not self.lines:
            self.first = number
        self.lines += lines
        self._size += sum(map(len, lines))
        if self._size > self._unchecked_size:
            sizes = list(accumulate(map(_count_bytes, self.lines)))
            if sizes[-1] > self.limit:
                end = next(index for index, size in enumerate(sizes, 1) if size > self.limit)
                fault = _size_fault(self.name, self.first, self.limit)
                yield Block(self.first, _truncate(self.lines[:end]), [], size_fault=fault)
                self.take()
                self._is_skipping = True
            else:
                self._unchecked_size = self._size + (self.limit - sizes[-1]) // 4

    def add_blank(self, number: int, line: str) -> Iterator[Block]:
        """Adds a blank line; yields the block if it ends it at once, or has many blank lines."""
        if self._is_skipping:
            self._is_ended = True
            return
        if not self.lines and not self.blank:
            self.first = number
        self.blank.append(line)
        self._blank_size += len(line)
        if self._blank_size > _MAX_BLANK or type(line) is BlockEnd:
            yield self.take()


def _find_blank_lines(lines: Sequence[str], is_blank: Callable[[str], bool], *, has_mark: bool) -> list[int]:
    """Returns the indices of blank lines; the first line may start with a byte-order mark if `has_mark`."""
    white_lines = [index for index, line in enumerate(lines) if line.isspace()]
    if has_mark and lines[0].startswith("\ufeff"):
        white_lines.insert(0, 0)
    return [index for index in white_lines if _is_end(lines[index], is_blank, first=has_mark and not index)]


def _count_bytes(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode(errors="surrogateescape"))


def _is_end(line: str, is_blank: Callable[[str], bool], *, first: bool) -> bool:
    return type(line) is not Unreadable and is_blank(line.removeprefix("\ufeff") if first else line)


def _size_fault(name: str, first: int, limit: int) -> str:
    expected = "expected a blank line after each sentence; raise `max_record_bytes` to read it"
    return f"{name}:{first}: a block of over {line_reader.format_size(limit)}; {expected}"


def _truncate(lines: list[str]) -> list[str]:
    """Returns the lines of about the first `line_reader.MAX_REJECT_BYTES` characters; the last may be truncated."""
    remaining, retained = line_reader.MAX_REJECT_BYTES, []
    for line in lines:
        retained.append(line if len(line) <= remaining else f"{line[:remaining]}\n")
        remaining -= len(line)
        if remaining <= 0:
            break
    return retained
