"""The lines of a file between its blank ones, in most formats a sentence: what is read, or set aside, as a whole."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tagger.data.sentence import Reject
from tagger.errors import CutError, DataError
from tagger.files import Unreadable


class Block(NamedTuple):
    """Lines none of which is blank, the blank ones that follow them, and the number of the first of all.

    With `cut`, the fault of a source that ends within them, they cannot be read.
    """

    first: int
    lines: list[str]
    blank: list[str]
    cut: CutError | None = None

    @property
    def raw(self) -> tuple[str, ...]:
        """All its lines."""
        return (*self.lines, *self.blank)

    def sound(self) -> bool:
        """Tells whether the block is whole and all its lines could be decoded."""
        return self.cut is None and Unreadable not in map(type, self.lines)

    def check(self) -> None:
        """Raises DataError if it is not."""
        if self.cut:
            raise self.cut
        for line in self.lines:
            if isinstance(line, Unreadable):
                raise DataError(line.fault)

    def refused(self, error: DataError) -> Reject:
        """Returns the block as one that cannot be read."""
        return Reject(str(error), self.first, "".join(self.raw))


def split(source: Iterable[tuple[int, str]], is_blank: Callable[[str], bool]) -> Iterator[Block]:
    """Yields the blocks of a file's numbered lines; only lines of nothing but white space are asked whether blank.

    An unreadable line, of which the end may be missing, is never blank.

    Where the source raises DataError, the block before is still yielded if a blank line has ended it; else, after a
    CutError, as one that is cut, of which the error that follows counts no line as read.
    """
    numbered = iter(source)
    first, line = next(numbered, (0, ""))
    if not first:
        return
    blank_first = type(line) is not Unreadable and is_blank(line.removeprefix("\ufeff"))
    lines, blank = ([], [line]) if blank_first else ([line], [])
    try:
        for number, line in numbered:
            if line.isspace() and type(line) is not Unreadable and is_blank(line):
                blank.append(line)
            elif blank:
                yield Block(first, lines, blank)
                first, lines, blank = number, [line], []
            else:
                lines.append(line)
    except DataError as error:
        if blank:
            yield Block(first, lines, blank)
        elif isinstance(error, CutError):
            cut = error.before(first)
            yield Block(first, lines, blank, cut)
            raise cut from error
        raise
    yield Block(first, lines, blank)
