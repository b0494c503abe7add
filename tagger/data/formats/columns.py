"""CoNLL columns: a token a line, fields separated by spaces or by one tab, a blank line after each sentence."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from tagger.data.formats import Layout, blocks, escapes
from tagger.data.formats.blocks import Block
from tagger.data.formats.reading import ReadOptions, record_of
from tagger.data.formats.writing import Sink, TextSink, WriteOptions, conll_sink
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import ConfigError, DataError, TruncatedError
from tagger.io import line_reader

DOCUMENT_START = "-DOCSTART-"
_SPACES = re.compile(r"[ ]+")
_MOST_BEFORE = 1 << 6  # lines, and KiB, that stand before a sentence and belong to it
_MOST_COLUMNS = 100  # of rows that are read by a pattern, whose size grows with theirs


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each sentence of a source, untagged; see `read` for errors."""
    sentences = read(
        options.lines_of_blocks(source),
        options.name,
        options.layout,
        tagged=False,
        reject=options.reject,
        max_record_bytes=options.max_record_bytes,
    )
    return (record_of(sentence, sentence.document) for sentence in sentences)


def read_tagged(source: Path | BinaryIO, options: ReadOptions, *, tagged: bool = True) -> Iterator[Sentence]:
    """Yields the sentences of a source with their tags; see `read` for errors."""
    limit = options.max_record_bytes
    return read(options.lines(source), options.name, options.layout, tagged=tagged, max_record_bytes=limit)


def read(
    source: Iterable[tuple[int, str]],
    name: str,
    layout: Layout,
    *,
    tagged: bool,
    reject: Callable[[Reject], None] | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Sentence]:
    """Yields the sentences of a file with all their lines; lines without a sentence come as one without tokens.

    With `reject`, the lines between two blank ones that cannot be read go there, and reading goes on; give
    `files.Unreadable` to `files.lines`, so that lines that are no text take their block with them.

    Raises:
        DataError: a row has another width than the first, mixes tabs and spaces, lacks a column or has an empty field;
            or a block of lines has more than `max_record_bytes`.
    """
    reader = _Reader(name, layout, tagged=tagged)
    try:
        for block in blocks.split(source, _is_blank, name, max_record_bytes):
            if reader.is_full():
                yield from reader.rest()
            if (sentence := reader.at_once(block)) is not None:
                yield sentence
                continue
            try:
                sentences = reader.line_by_line(block)
            except DataError as error:
                if reject is None:
                    raise
                reject(block.refused(error))
            else:
                yield from sentences
    except TruncatedError:
        yield from reader.rest()
        raise
    yield from reader.rest()


class _Reader:
    """What the lines of a file so far tell of those that follow."""

    def __init__(self, name: str, layout: Layout, *, tagged: bool) -> None:
        self.name, self.tagged = name, tagged
        self.columns = [layout.number(layout.token)]
        if tagged:
            if layout.tag is None:
                raise ConfigError("tags cannot be read without a tag column")
            self.columns.append(layout.number(layout.tag))
        to_come = layout.tag if layout.fixed and not tagged else None
        self.to_come = None if to_come is None else layout.number(to_come)  # the place of tags that are yet to be given
        self.tabs: bool | None = None
        self.width = 0  # 0 until a row was read
        self.pattern: re.Pattern[str] | None = None  # of rows in their plainest form, once their width is known
        self.document = 0
        self.begun = False  # once a row was seen, readable or not
        self.before: tuple[str, ...] = ()  # lines before the next sentence, which belong to it

    def at_once(self, block: Block) -> Sentence | None:
        """Returns the sentence of a block of rows without anything unusual; None if it must be read line by line."""
        text = "".join(block.lines)
        if self.pattern is None or not text or DOCUMENT_START in text or not block.sound():
            return None
        found = self.pattern.findall(text)
        if len(found) != len(block.lines):
            return None
        tokens, tags = zip(*found, strict=True) if self.tagged else (found, ())
        if self.tagged and self.columns[1] % self.width < self.columns[0] % self.width:
            tokens, tags = tags, tokens
        raw = (*self.before, *block.lines, *block.blank)
        self.before = ()
        return Sentence(tuple(tokens), tags=tags, document=self.document, line=block.first, raw=raw)

    def line_by_line(self, block: Block) -> list[Sentence]:
        """Returns the sentences of a block, which document starts bound too; of a faulty block only those count."""
        texts = [_text(number, line) for number, line in enumerate(block.lines, block.first)]
        documents = [self._document(text) for text in texts]
        tabs, width = self.tabs, self.width
        sentences: list[Sentence] = []
        raw, rows, first = [*self.before], [], 0
        try:
            block.check()
            for place, text in enumerate(texts):
                if not _starts_document(text):
                    first = first or block.first + place
                    rows.append(self._row(block.first + place, text))
                elif rows:
                    sentences.append(self._sentence(rows, documents[place - 1], first, raw))
                    raw, rows, first = [], [], 0
                raw.append(block.lines[place])
        except DataError:
            self.tabs, self.width = tabs, width
            raise
        if self.pattern is None and 0 < self.width <= _MOST_COLUMNS:
            self.pattern = _row_pattern(
                self.width, {column % self.width for column in self.columns}, tabs=bool(self.tabs)
            )
        raw += block.blank
        if rows:
            sentences.append(self._sentence(rows, self.document, first, raw))
            raw = []
        self.before = tuple(raw)
        return sentences

    def is_full(self) -> bool:
        """Returns whether the lines before the next sentence are too many to wait for it."""
        before = self.before
        return len(before) > _MOST_BEFORE or (bool(before) and sum(map(len, before)) > _MOST_BEFORE << 10)

    def rest(self) -> Iterator[Sentence]:
        """Yields the lines before the next sentence, if there are any, as a sentence without tokens."""
        if self.before:
            yield Sentence((), document=self.document, raw=self.before)
            self.before = ()

    def _document(self, text: str) -> int:
        """Returns the number of the document that a line belongs to."""
        if _starts_document(text):
            self.document += self.begun  # the first start in a file may follow its first sentences
        else:
            self.begun = True
        return self.document

    def _sentence(self, rows: list[list[str]], document: int, first: int, raw: list[str]) -> Sentence:
        token, *tag = (tuple(row[column] for row in rows) for column in self.columns)
        return Sentence(token, tags=tag[0] if tag else (), document=document, line=first, raw=tuple(raw))

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
        tag = self.to_come
        if tag is not None and tag != found and not _has_place(self.columns[0], tag, found):
            raise DataError(f"{self.name}:{number}: column {tag} is no place for tags beside {_shown(text)}")
        least = max(column + 1 if column >= 0 else -column for column in self.columns)
        if found > 1 and found >= least and len({column % found for column in self.columns}) < len(self.columns):
            raise DataError(f"{self.name}:{number}: token and tag are one column of the {found} in {_shown(text)}")
        least = max(least, len(self.columns))
        if found < least:
            raise DataError(
                f"{self.name}:{number}: expected at least {least} columns, found {found} in {_shown(text)}. "
                "Are the token and tag columns the right ones?"
            )


def _row_pattern(width: int, columns: Set[int], *, tabs: bool) -> re.Pattern[str]:
    """Returns a pattern of rows in their plainest form that finds what stands in some columns, which is not empty."""
    gap, field = ("\t", r"[^\t\r\n]") if tabs else (" ", r"[^ \t\r\n]")
    some = "*+" if tabs else "++"  # possessive: a field is never shorter than it can be
    fields = [f"({field}++)" if column in columns else field + some for column in range(width)]
    return re.compile(f"^{gap.join(fields)}\n", re.MULTILINE)


def width(sentence: Sentence) -> int:
    """Returns the number of columns of a sentence that was read from them."""
    texts = (_text(2, line) for line in sentence.raw)
    text = next(text for text in texts if text.strip(" \t") and not _starts_document(text.removeprefix("\ufeff")))
    return text.count("\t") + 1 if "\t" in text else len(_SPACES.split(text.strip(" ")))


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of columns; what was read from columns is written back unchanged but for the tags."""
    layout, probabilities = options.layout, options.token_probabilities
    if options.input_format == "columns":

        def write_back(sentence: Sentence) -> str:
            return "".join(write(sentence, layout, probabilities=probabilities(sentence)))

        return TextSink(lambda record: "".join(map(write_back, record.sentences)))
    separator = " " if options.input_format == "lines" else "\t"  # in other formats a token may hold a space
    empty = "\n" if options.input_format == "lines" else ""

    def write_lines(record: Record) -> str:
        sentences = filter(len, record.sentences)
        lines = [write_anew(sentence, separator, probabilities=probabilities(sentence)) for sentence in sentences]
        return "".join(chain.from_iterable(lines)) or empty

    return conll_sink(write_lines, lambda name: f"{DOCUMENT_START} {escapes.document_id(name, '_')}\n\n", options)


def write_anew(sentence: Sentence, separator: str, *, probabilities: Sequence[float] = ()) -> Iterator[str]:
    """Yields the lines of a sentence that does not come from columns: token, separator and tag, and a blank line.

    What would break a line or begin a document is escaped.

    Probabilities, if given, one for each token, become the last column.
    """
    unsafe = escapes.LINE_OR_SPACE if separator == " " else escapes.LINE
    tokens = escapes.fields(sentence.tokens, unsafe, reserved=DOCUMENT_START)
    tags = escapes.fields(sentence.tags, unsafe)
    rows = zip(tokens, tags, _texts(probabilities, len(sentence), separator), strict=True)
    yield from (f"{token}{separator}{tag}{more}\n" for token, tag, more in rows)
    yield "\n"


def write(sentence: Sentence, layout: Layout, *, probabilities: Sequence[float] = ()) -> Iterator[str]:
    """Returns the lines of a sentence with its tags in the tag column, escaped where need be, all else as it was read.

    Rows without a tag column get one at their end. Probabilities, if given, one for each token, become the last column.
    """
    raw, end = sentence.raw, len(sentence.raw)
    while end and _is_blank(raw[end - 1]):
        end -= 1
    start = end - len(sentence)
    if start == end:
        return iter(raw)
    token = layout.number(layout.token)
    tag = None if layout.tag is None else layout.number(layout.tag)
    rows = raw[start:end]
    unsafe = escapes.LINE if "\t" in rows[0] else escapes.LINE_OR_SPACE
    tags = escapes.fields(sentence.tags, unsafe, reserved=DOCUMENT_START)
    tagged = _all_tagged(rows, token, tag, tags, probabilities)
    if tagged is None:
        values = zip(rows, tags, _texts(probabilities, len(rows), ""), strict=True)
        numbered = enumerate(values, sentence.line or 2)
        tagged = [_tagged(row, _text(number, row), token, tag, *rest) for number, (row, *rest) in numbered]
    return chain(raw[:start], tagged, raw[end:])


def _texts(probabilities: Sequence[float], rows: int, before: str) -> list[str]:
    """Returns what stands in the probabilities' column of each row, and before it; nothing if there are none."""
    if not probabilities:
        return [""] * rows
    # One formatting call per sentence takes two thirds of the time of one per number.
    return ("\n".join([f"{before}%.6f"] * len(probabilities)) % tuple(probabilities)).split("\n")


def _all_tagged(
    rows: Sequence[str], token: int, tag: int | None, tags: Sequence[str], probabilities: Sequence[float]
) -> list[str] | None:
    """Returns rows with tags, None if they hold anything unusual and must be tagged one by one."""
    text = "".join(rows)
    if not text.endswith("\n") or "\r" in text or text[0] in " \ufeff":
        return None
    gap = "\t" if "\t" in rows[0] else " "
    width = rows[0].count(gap) + 1
    if width == 1 or (gap == " " and ("  " in text or " \n" in text or "\n " in text)):
        return None
    more = _texts(probabilities, len(rows), gap)
    place = _place(token, tag, width)
    if place is not None and place < width - 1:
        fields = zip((row[:-1].split(gap) for row in rows), tags, more, strict=True)
        return [f"{gap.join((*row[:place], value, *row[place + 1 :]))}{end}\n" for row, value, end in fields]
    values = [value + end for value, end in zip(tags, more, strict=True)] if probabilities else tags
    if place is None:
        return [f"{row[:-1]}{gap}{value}\n" for row, value in zip(rows, values, strict=True)]
    return [f"{row[: row.rindex(gap)]}{gap}{value}\n" for row, value in zip(rows, values, strict=True)]


def _place(token: int, tag: int | None, width: int) -> int | None:
    """Returns the number of the column that a tag replaces, None if it becomes a new one."""
    return tag % width if tag is not None and _has_place(token, tag, width) else None


def _has_place(token: int, tag: int, width: int) -> bool:
    return -width <= tag < width and tag % width != token % width


def _tagged(line: str, text: str, token: int, tag: int | None, value: str, probability: str) -> str:
    separator = r"\t" if "\t" in text else r" +"
    body = text if separator == r"\t" else text.strip(" ")
    pieces = re.split(f"({separator})", body)  # fields at even places, what separates them at odd ones
    gap = pieces[1] if len(pieces) > 1 else " "
    start = line.index(body, len(_text(2, line)) - len(text))  # past a byte-order mark, which a token may hold too
    place = _place(token, tag, len(pieces) // 2 + 1)
    if place is None:
        pieces += [gap, value]
    else:
        pieces[2 * place] = value
    if probability:
        pieces += [gap, probability]
    return line[:start] + "".join(pieces) + line[start + len(body) :]


def _text(number: int, line: str) -> str:
    text = line.removesuffix("\n").removesuffix("\r")
    return text.removeprefix("\ufeff") if number == 1 else text


def _is_blank(line: str) -> bool:
    return not _text(2, line).strip(" \t")


def _starts_document(text: str) -> bool:
    return re.split(r"[ \t]", text, maxsplit=1)[0] == DOCUMENT_START


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
