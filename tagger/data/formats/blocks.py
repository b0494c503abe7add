"""Splits the lines of a file into blocks at blank lines. In most formats a block holds one sentence."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tagger.data.sentence import Reject
from tagger.errors import DataError, TruncatedError
from tagger.io import line_reader
from tagger.io.line_reader import BlockEnd, Unreadable

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
    source: Iterable[tuple[int, str]],
    is_blank: Callable[[str], bool],
    name: str,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Block]:
    """Yields the blocks of a file's numbered lines.

    An unreadable line is never blank. A block of more than `max_record_bytes` is yielded with a `size_fault` as soon
    as it exceeds the limit, and the rest of it is skipped. Blank lines over 64 KiB, or after a
    `BlockEnd`, are yielded in further blocks.

    If the source raises DataError, the previous block is yielded if a blank line ends it. After a TruncatedError a
    block without a blank line is yielded too, with its `truncation`; the error that follows excludes its lines.

    Args:
        source: the numbered lines.
        is_blank: returns whether a line is blank; called only for lines of white space.
        name: the name of the file in errors.
        max_record_bytes: the maximum size of a block's lines.
    """
    first, size, unchecked_size, blank_size = 0, 0, 0, 0  # in characters; bytes are counted over `unchecked_size`
    is_skipping = is_ended = False  # whether the rest of a block is skipped, and whether its blank lines have started
    lines: list[str] = []
    blank: list[str] = []
    try:
        for number, line in source:
            is_end = (not first or line.isspace()) and _is_end(line, is_blank, first=not first)
            if not lines or blank or is_end:
                if is_skipping:
                    is_ended = is_ended or is_end
                    if is_end or not is_ended:
                        continue
                    is_skipping = is_ended = False
                if blank and not is_end:
                    yield Block(first, lines, blank)
                    lines, blank = [], []
                if not lines and not blank:
                    first, size, unchecked_size, blank_size = number, 0, max_record_bytes // 4, 0
                if is_end:
                    blank.append(line)
                    blank_size += len(line)
                    if blank_size > _MAX_BLANK or type(line) is BlockEnd:
                        yield Block(first, lines, blank)
                        lines, blank = [], []
                    continue
            lines.append(line)
            size += len(line)
            if size > unchecked_size:
                remaining = max_record_bytes - sum(map(_count_bytes, lines))
                unchecked_size = size + remaining // 4
                if remaining < 0:
                    yield Block(first, _truncate(lines), [], size_fault=_size_fault(name, first, max_record_bytes))
                    lines, is_skipping = [], True
    except DataError as error:
        if blank:
            yield Block(first, lines, blank)
        elif lines and isinstance(error, TruncatedError):
            truncation = error.before(first)
            yield Block(first, lines, blank, truncation)
            raise truncation from error
        raise
    if lines or blank:
        yield Block(first, lines, blank)


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
