"""The lines of a file between its blank ones, in most formats a sentence: what is read, or set aside, as a whole."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tagger.data.sentence import Reject
from tagger.errors import DataError, TruncatedError
from tagger.io import line_reader
from tagger.io.line_reader import Unreadable

_BLANK = 1 << 16  # bytes of blank lines that one block holds


class Block(NamedTuple):
    """Lines none of which is blank, the blank ones that follow them, and the number of the first of all.

    With `cut`, the fault of a source that ends within them, they cannot be read. With `too_large`, a fault, `lines`
    holds only their beginning. A block without `lines` goes on with the blank lines of the block before.
    """

    first: int
    lines: list[str]
    blank: list[str]
    cut: TruncatedError | None = None
    too_large: str = ""

    @property
    def raw(self) -> tuple[str, ...]:
        """All its lines."""
        return (*self.lines, *self.blank)

    def sound(self) -> bool:
        """Tells whether the block is whole and all its lines could be decoded."""
        return self.cut is None and not self.too_large and Unreadable not in map(type, self.lines)

    def check(self) -> None:
        """Raises DataError if it is not."""
        if self.cut:
            raise self.cut
        if self.too_large:
            raise DataError(self.too_large)
        for line in self.lines:
            if isinstance(line, Unreadable):
                raise DataError(line.fault)

    def refused(self, error: DataError) -> Reject:
        """Returns the block as one that cannot be read."""
        return Reject(str(error), self.first, "".join(self.raw))


def split(
    source: Iterable[tuple[int, str]],
    is_blank: Callable[[str], bool],
    name: str,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Block]:
    """Yields the blocks of a file's numbered lines; only lines of nothing but white space are asked whether blank.

    An unreadable line, of which the end may be missing, is never blank. A block of more than `max_record_bytes` before
    its first blank line comes as one that is too large as soon as it is; the rest of it is read and not held. Of many
    blank lines those over 64 KiB come in blocks of their own.

    Where the source raises DataError, the block before is still yielded if a blank line has ended it; else, after a
    CutError, as one that is cut, of which the error that follows counts no line as read.
    """
    first, size, enough, blank_size = 0, 0, 0, 0  # sizes in characters; at `enough` bytes are counted
    rejected = ended = False  # whether the rest of a block is passed over, and whether its blank lines have begun
    lines: list[str] = []
    blank: list[str] = []
    try:
        for number, line in source:
            is_end = (not first or line.isspace()) and _is_end(line, is_blank, first=not first)
            if not lines or blank or is_end:
                if rejected:
                    ended = ended or is_end
                    if is_end or not ended:
                        continue
                    rejected = ended = False
                if blank and not is_end:
                    yield Block(first, lines, blank)
                    lines, blank = [], []
                if not lines and not blank:
                    first, size, enough, blank_size = number, 0, max_record_bytes // 4, 0
                if is_end:
                    blank.append(line)
                    blank_size += len(line)
                    if blank_size > _BLANK:
                        yield Block(first, lines, blank)
                        lines, blank = [], []
                    continue
            lines.append(line)
            size += len(line)
            if size > enough:
                left = max_record_bytes - sum(map(_bytes, lines))
                enough = size + left // 4
                if left < 0:
                    yield Block(first, _beginning(lines), [], too_large=_fault(name, first, max_record_bytes))
                    lines, rejected = [], True
    except DataError as error:
        if blank:
            yield Block(first, lines, blank)
        elif lines and isinstance(error, TruncatedError):
            cut = error.before(first)
            yield Block(first, lines, blank, cut)
            raise cut from error
        raise
    if lines or blank:
        yield Block(first, lines, blank)


def _bytes(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode(errors="surrogateescape"))


def _is_end(line: str, is_blank: Callable[[str], bool], *, first: bool) -> bool:
    return type(line) is not Unreadable and is_blank(line.removeprefix("\ufeff") if first else line)


def _fault(name: str, first: int, limit: int) -> str:
    expected = "expected a blank line after each sentence; raise `max_record_bytes` to read it"
    return f"{name}:{first}: a block of over {line_reader.format_size(limit)}; {expected}"


def _beginning(lines: list[str]) -> list[str]:
    """Returns the lines of about the first `files.SHOWN_BYTES` characters; the last may be cut."""
    left, shown = line_reader.MAX_REJECT_BYTES, []
    for line in lines:
        shown.append(line if len(line) <= left else f"{line[:left]}\n")
        left -= len(line)
        if left <= 0:
            break
    return shown
