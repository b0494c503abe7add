"""The lines of a file between its blank ones, in most formats a sentence: what is read, or set aside, as a whole."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tagger.data.sentence import Reject
from tagger.errors import DataError
from tagger.files import Unreadable


class Block(NamedTuple):
    """Lines none of which is blank, the blank ones that follow them, and the number of the first of all."""

    first: int
    lines: list[str]
    blank: list[str]

    @property
    def raw(self) -> tuple[str, ...]:
        """All its lines."""
        return (*self.lines, *self.blank)

    def decoded(self, text: str) -> bool:
        """Tells whether all lines could be decoded; `text` is them in one."""
        return ("\0" not in text and text.isascii()) or Unreadable not in map(type, self.lines)

    def check(self) -> None:
        """Raises DataError if a line could not be decoded."""
        for line in self.lines:
            if isinstance(line, Unreadable):
                raise DataError(line.fault)

    def refused(self, error: DataError) -> Reject:
        """Returns the block as one that cannot be read."""
        return Reject(str(error), self.first, "".join(self.raw))


def split(source: Iterable[tuple[int, str]], is_blank: Callable[[str], bool]) -> Iterator[Block]:
    """Yields the blocks of a file's numbered lines; only lines of nothing but white space are asked whether blank.

    Where the source raises DataError, the block before is still yielded if a blank line has ended it.
    """
    numbered = iter(source)
    first, line = next(numbered, (0, ""))
    if not first:
        return
    lines, blank = ([], [line]) if is_blank(line.removeprefix("\ufeff")) else ([line], [])
    try:
        for number, line in numbered:
            if line.isspace() and is_blank(line):
                blank.append(line)
            elif blank:
                yield Block(first, lines, blank)
                first, lines, blank = number, [line], []
            else:
                lines.append(line)
    except DataError:
        if blank:
            yield Block(first, lines, blank)
        raise
    yield Block(first, lines, blank)
