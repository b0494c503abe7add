"""CoNLL columns: a token a line, fields separated by spaces or by one tab, a blank line after each sentence."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError

DOCUMENT_START = "-DOCSTART-"
_SPACES = re.compile(r"[ ]+")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the token and the tag stand: a column's number from 0, from the end if negative, or a name in `names`.

    With None as the tag's place, tags are written into a new last column.
    """

    token: int | str = 0
    tag: int | str | None = -1
    names: tuple[str, ...] = ()

    def number(self, column: int | str) -> int:
        """Returns the number of a column.

        Raises:
            ConfigError: no column has that name.
        """
        if isinstance(column, int):
            return column
        if column not in self.names:
            known = ", ".join(self.names) or "none: name them in data.columns"
            raise ConfigError(f"no column is called '{column}'; the columns are {known}")
        return self.names.index(column)


def read(source: Iterable[tuple[int, str]], name: str, layout: Layout, *, tagged: bool) -> Iterator[Sentence]:
    """Yields the sentences of a file with all their lines; lines without a sentence come as one without tokens.

    Raises:
        DataError: a row has another width than the first, mixes tabs and spaces, lacks a column or has an empty field.
    """
    reader = _Reader(name, layout, tagged=tagged)
    for number, line in source:
        if (sentence := reader.take(number, line)) is not None:
            yield sentence
    if (sentence := reader.end()) is not None:
        yield sentence


class _Reader:
    """The state between two lines of a file."""

    def __init__(self, name: str, layout: Layout, *, tagged: bool) -> None:
        self.name, self.tagged = name, tagged
        self.columns = [layout.number(layout.token)]
        if tagged:
            if layout.tag is None:
                raise ConfigError("tags cannot be read without a tag column")
            self.columns.append(layout.number(layout.tag))
        self.tabs: bool | None = None
        self.width = 0  # 0 until a row was read
        self.document = 0
        self._begin()

    def _begin(self) -> None:
        self.raw: list[str] = []
        self.rows: list[list[str]] = []
        self.first, self.closed = 0, False

    def take(self, number: int, line: str) -> Sentence | None:
        """Takes a line; returns the sentence that it shows to have ended, if it does."""
        text = _text(number, line)
        finished = None
        if text.strip(" \t"):
            starts_document = _starts_document(text)
            if self.rows and (self.closed or starts_document):
                finished = self.end()
            if starts_document:
                self.document += bool(self.width)  # the first start in a file may follow its first sentences
            else:
                self.first = self.first or number
                self.rows.append(self._row(number, text))
        else:
            self.closed = bool(self.rows)
        self.raw.append(line)
        return finished

    def end(self) -> Sentence | None:
        """Returns what was taken since the last sentence, None if that is nothing."""
        if not self.raw:
            return None
        tokens = tuple(row[self.columns[0]] for row in self.rows)
        tags = tuple(row[self.columns[1]] for row in self.rows) if self.tagged else ()
        sentence = Sentence(tokens, tags, (), self.document, self.first, tuple(self.raw))
        self._begin()
        return sentence

    def _row(self, number: int, text: str) -> list[str]:
        row = self._fields(number, text)
        if not self.width:
            self._check_width(number, text, len(row))
            self.width = len(row)
        if len(row) != self.width:
            raise DataError(
                f"{self.name}:{number}: expected {self.width} columns as above, found {len(row)} in {_shown(text)}. "
                "Are sentences separated by a blank line?"
            )
        for column in self.columns:
            if not row[column]:
                raise DataError(f"{self.name}:{number}: column {column} is empty in {_shown(text)}")
        return row

    def _fields(self, number: int, text: str) -> list[str]:
        if self.tabs is None:
            self.tabs = "\t" in text
        if self.tabs:
            return text.split("\t")
        if "\t" in text:
            raise DataError(f"{self.name}:{number}: found a tab in {_shown(text)}, expected spaces as above")
        return _SPACES.split(text.strip(" "))

    def _check_width(self, number: int, text: str, found: int) -> None:
        least = max(column + 1 if column >= 0 else -column for column in self.columns)
        if found > 1 and found >= least and len({column % found for column in self.columns}) < len(self.columns):
            raise DataError(f"{self.name}:{number}: token and tag are one column of the {found} in {_shown(text)}")
        least = max(least, len(self.columns))
        if found < least:
            raise DataError(
                f"{self.name}:{number}: expected at least {least} columns, found {found} in {_shown(text)}. "
                "Are the token and tag columns the right ones?"
            )


def width(sentence: Sentence) -> int:
    """Returns the number of columns of a sentence that was read from them."""
    texts = (_text(2, line) for line in sentence.raw)
    text = next(text for text in texts if text.strip(" \t") and not _starts_document(text.removeprefix("\ufeff")))
    return text.count("\t") + 1 if "\t" in text else len(_SPACES.split(text.strip(" ")))


def write_anew(sentence: Sentence, separator: str) -> Iterator[str]:
    """Yields the lines of a sentence that does not come from columns: token, separator and tag, and a blank line."""
    yield from (f"{token}{separator}{tag}\n" for token, tag in zip(sentence.tokens, sentence.tags, strict=True))
    yield "\n"


def write(sentence: Sentence, layout: Layout) -> Iterator[str]:
    """Yields the lines of a sentence with its tags in the tag column, all else as it was read.

    Rows without a tag column get one at their end.
    """
    token = layout.number(layout.token)
    tag = None if layout.tag is None else layout.number(layout.tag)
    rows = [place for place, line in enumerate(sentence.raw) if _is_row(_text(2, line))]
    # A byte-order mark makes a row of what is none in the file's first line, which comes before all others.
    rows = rows[len(rows) - len(sentence) :]
    tags = dict(zip(rows, sentence.tags, strict=True))
    for place, line in enumerate(sentence.raw):
        if place in tags:
            number = sentence.line + place  # 1 for the file's first line alone
            yield _with_tag(line, _text(number, line), token, tag, tags[place])
        else:
            yield line


def _with_tag(line: str, text: str, token: int, tag: int | None, value: str) -> str:
    separator = r"\t" if "\t" in text else r" +"
    body = text if separator == r"\t" else text.strip(" ")
    pieces = re.split(f"({separator})", body)  # fields at even places, what separates them at odd ones
    width = len(pieces) // 2 + 1
    start = line.index(body)
    if tag is not None and -width <= tag < width and tag % width != token % width:
        pieces[2 * (tag % width)] = value
    else:
        pieces += [pieces[1] if width > 1 else " ", value]
    return line[:start] + "".join(pieces) + line[start + len(body) :]


def _text(number: int, line: str) -> str:
    text = line.removesuffix("\n").removesuffix("\r")
    return text.removeprefix("\ufeff") if number == 1 else text


def _is_row(text: str) -> bool:
    return bool(text.strip(" \t")) and not _starts_document(text)


def _starts_document(text: str) -> bool:
    return re.split(r"[ \t]", text, maxsplit=1)[0] == DOCUMENT_START


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
