"""CoNLL columns: one token per line, columns separated by spaces or one tab, a blank line after each sentence.

A sentence may start with comment lines. Documents start at `-DOCSTART-`, at a comment `# newdoc`, or at the line
`#begin document` of CoNLL-2012, whose sentences may have different numbers of columns.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import chain
from operator import add
from pathlib import Path
from typing import BinaryIO

from tagger.data.formats import Layout, blocks, escapes, headers
from tagger.data.formats.blocks import Block
from tagger.data.formats.reading import ReadOptions, record_of, shorten
from tagger.data.formats.writing import Sink, TextSink, WriteOptions, conll_sink
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import ConfigError, DataError, TruncatedError
from tagger.io import line_reader
from tagger.io.line_reader import LineRun

log = logging.getLogger(__name__)

DOCUMENT_START = "-DOCSTART-"
_CONLL_2012 = re.compile(r"#(?:begin|end) document\b")
_NEW_DOCUMENT = re.compile(r"#begin document\b|# newdoc\b")
_KNOWN_COMMENT = re.compile(
    r"#(?:begin|end) document\b|# (?:id|sent_id|sentence_id|doc_id) |# new(?:doc|par)\b|# [A-Za-z_][\w:]* = "
)
_SPACES = re.compile(r"[ ]+")
_MAX_PRECEDING = 1 << 6  # lines, and KiB, before a sentence that are attached to it
_MAX_PATTERN_COLUMNS = 100  # the size of a row pattern grows with the number of columns


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each sentence of a source, untagged; see `read` for errors."""
    sentences = read(
        options.runs_of_blocks(source),
        options.name,
        options.layout,
        tagged=False,
        reject=options.reject,
        max_record_bytes=options.max_record_bytes,
    )
    return (record_of(sentence, sentence.document) for sentence in sentences)


def read_tagged(source: Path | BinaryIO, options: ReadOptions, *, tagged: bool = True) -> Iterator[Sentence]:
    """Yields the sentences of a source with their tags; see `read` for errors."""
    return read(
        options.runs_of_blocks(source),
        options.name,
        options.layout,
        tagged=tagged,
        reject=options.reject,
        max_record_bytes=options.max_record_bytes,
    )


def read(
    source: Iterable[LineRun],
    name: str,
    layout: Layout,
    *,
    tagged: bool,
    reject: Callable[[Reject], None] | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Sentence]:
    """Yields the sentences of a file with all their lines; lines outside sentences form a sentence without tokens.

    Args:
        source: the lines; with `reject`, undecodable lines are `Unreadable`, so that their block is rejected.
        name: the name of the file in errors.
        layout: the columns of token and tag.
        tagged: whether to read tags.
        reject: is called with each block that cannot be read; None to raise the error.
        max_record_bytes: the maximum size of a block's lines.

    Raises:
        DataError: a row has fewer or more columns than the first row, mixes tabs and spaces, lacks a column or has an
            empty field; the first row is a header; or a block is too large.
    """
    reader = _Reader(name, layout, tagged=tagged)
    try:
        for block in blocks.split(source, _is_blank, name, max_record_bytes):
            if reader.is_full():
                yield from reader.flush()
            if (sentence := reader.read_simple(block)) is not None:
                yield sentence
                continue
            try:
                sentences = reader.read_lines(block)
            except DataError as error:
                if reject is None:
                    raise
                reject(block.to_reject(error))
            else:
                yield from sentences
    except TruncatedError:
        yield from reader.flush()
        raise
    yield from reader.flush()


class _Reader:
    """Reads blocks, and remembers the separator and the number of columns of the rows before."""

    def __init__(self, name: str, layout: Layout, *, tagged: bool) -> None:
        self.name, self.tagged = name, tagged
        self.columns = [layout.number(layout.token)]
        if tagged:
            if layout.tag is None:
                raise ConfigError("tags cannot be read without a tag column")
            self.columns.append(layout.number(layout.tag))
        output_tag = layout.tag if layout.fixed and not tagged else None
        self.output_column = None if output_tag is None else layout.number(output_tag)  # for tags to be written
        self.has_tabs: bool | None = None
        self.column_count = 0  # 0 until a row was read
        self.pattern: re.Pattern[str] | None = None  # of simple rows, once the number of columns is known
        self.document = 0
        self.has_rows = False  # whether a row was seen, readable or not
        self.comments = "#" if layout.comments == "auto" else "" if layout.comments == "none" else layout.comments
        self.is_auto = layout.comments == "auto"
        self.has_comments = self.is_conll_2012 = False
        self.preceding: tuple[str, ...] = ()  # lines that belong to the next sentence

    def read_simple(self, block: Block) -> Sentence | None:
        """Returns the sentence of a block of simple rows; None if the block must be read line by line."""
        lines, start = block.lines, 0
        if self.comments and lines and lines[0].startswith(self.comments):
            start = self._count_comments([_text(2, line) for line in lines])
        text = "".join(lines[start:])
        if self.pattern is None or not text or DOCUMENT_START in text or not block.is_readable():
            return None
        if (start and _NEW_DOCUMENT.search("".join(lines[:start]))) or (self.is_conll_2012 and "#end" in text):
            return None
        rows = self.pattern.findall(text)
        if len(rows) != len(lines) - start:
            return None
        tokens, tags = zip(*rows, strict=True) if self.tagged else (rows, ())
        if self.tagged and self.columns[1] % self.column_count < self.columns[0] % self.column_count:
            tokens, tags = tags, tokens
        if self.tagged and "\\" in text:
            tags = escapes.unescape(tags)
        raw = (*self.preceding, *block.lines, *block.blank)
        self.preceding = ()
        return Sentence(tuple(tokens), tags=tags, document=self.document, line=block.first + start, raw=raw)

    def read_lines(self, block: Block) -> list[Sentence]:
        """Returns the sentences of a block; document starts separate sentences too.

        Raises:
            DataError: the block has a fault. Its document starts count nevertheless.
        """
        texts = [_text(number, line) for number, line in enumerate(block.lines, block.first)]
        comments = self._find_comments(texts, block.first)
        documents = [self._next_document(text, is_row=index not in comments) for index, text in enumerate(texts)]
        has_tabs, column_count = self.has_tabs, self.column_count
        if self.is_conll_2012:
            self.column_count = 0
        sentences: list[Sentence] = []
        raw, rows, first = [*self.preceding], [], 0
        try:
            block.check()
            for index, text in enumerate(texts):
                if index not in comments:
                    first = first or block.first + index
                    rows.append(self._parse_row(block.first + index, text))
                elif rows:
                    sentences.append(self._build_sentence(rows, documents[index - 1], first, raw))
                    raw, rows, first = [], [], 0
                raw.append(block.lines[index])
        except DataError:
            self.has_tabs, self.column_count = has_tabs, column_count
            raise
        if self.pattern is None and 0 < self.column_count <= _MAX_PATTERN_COLUMNS:
            columns = {column % self.column_count for column in self.columns}
            self.pattern = _row_pattern(self.column_count, columns, has_tabs=bool(self.has_tabs))
        raw += block.blank
        if rows:
            sentences.append(self._build_sentence(rows, self.document, first, raw))
            raw = []
        self.preceding = tuple(raw)
        return sentences

    def is_full(self) -> bool:
        """Returns whether the lines before the next sentence must be flushed before that sentence is read."""
        lines = self.preceding
        return len(lines) > _MAX_PRECEDING or (bool(lines) and sum(map(len, lines)) > _MAX_PRECEDING << 10)

    def flush(self) -> Iterator[Sentence]:
        """Yields the lines before the next sentence, if there are any, as a sentence without tokens."""
        if self.preceding:
            yield Sentence((), document=self.document, raw=self.preceding)
            self.preceding = ()

    def _find_comments(self, texts: Sequence[str], first: int) -> set[int]:
        """Returns the indices of the lines of a block that are no rows: comments and document starts."""
        comments: set[int] = set()
        start = 0  # of a sentence
        while start < len(texts):
            count = self._count_comments(texts[start:])
            if count and self.is_auto and not self.has_comments:
                self._notice_comments(first + start, texts[start])
            start += count
            comments.update(range(start - count, start))
            while start < len(texts) and not self._is_separator(texts[start]):
                start += 1
            if start < len(texts):
                comments.add(start)
                start += 1
        return comments

    def _count_comments(self, texts: Sequence[str]) -> int:
        """Returns how many lines at the start of a sentence are comments."""
        if not self.comments:
            return 0
        limit = next((index for index, text in enumerate(texts) if not text.startswith(self.comments)), len(texts))
        if not self.is_auto or not limit:
            return limit
        row = texts[limit] if limit < len(texts) and not _starts_document(texts[limit]) else ""
        count = len(_split(row)) if row else self.column_count
        has_tabs = "\t" in row if row else self.has_tabs
        looks_like_comment = (_looks_like_comment(text, count, has_tabs=has_tabs) for text in texts[:limit])
        return next((index for index, is_comment in enumerate(looks_like_comment) if not is_comment), limit)

    def _notice_comments(self, number: int, text: str) -> None:
        self.has_comments = True
        self.is_conll_2012 = bool(_CONLL_2012.match(text))
        if self.tagged and not self.is_conll_2012:
            log.info(
                "%s:%d: lines such as %s are read as comments; data.comments chooses how comments start",
                self.name,
                number,
                _excerpt(text),
            )

    def _is_separator(self, text: str) -> bool:
        """Returns whether a line ends a sentence without a blank line."""
        return _starts_document(text) or (self.is_conll_2012 and bool(_CONLL_2012.match(text)))

    def _next_document(self, text: str, *, is_row: bool) -> int:
        """Returns the number of the document that a line belongs to."""
        if is_row:
            self.has_rows = True
        elif _starts_document(text) or _NEW_DOCUMENT.match(text):
            self.document += self.has_rows  # the first start in a file may follow its first sentences
        return self.document

    def _build_sentence(self, rows: list[list[str]], document: int, first: int, raw: list[str]) -> Sentence:
        tokens, *tags = (tuple(row[column] for row in rows) for column in self.columns)
        tags = [escapes.unescape(column) for column in tags]
        return Sentence(tokens, tags=tags[0] if tags else (), document=document, line=first, raw=tuple(raw))

    def _parse_row(self, number: int, text: str) -> list[str]:
        row = self._split_fields(number, text)
        if not self.column_count:
            self._check_first_row(number, text, row)
            self._check_columns(number, text, len(row))
            self.column_count = len(row)
        if len(row) != self.column_count:
            raise self._fault(
                number,
                f"expected {self.column_count} columns as above, found {len(row)} in {_excerpt(text)}. "
                "Are sentences separated by a blank line?",
            )
        for column in self.columns:
            if not row[column]:
                raise self._fault(number, f"expected a value in column {column}, found none in {_excerpt(text)}")
        return row

    def _split_fields(self, number: int, text: str) -> list[str]:
        if self.has_tabs is None:
            self.has_tabs = "\t" in text
        if self.has_tabs:
            return text.split("\t")
        if "\t" in text:
            raise self._fault(number, f"expected spaces between columns as above, found a tab in {_excerpt(text)}")
        return _split(text)

    def _check_first_row(self, number: int, text: str, row: Sequence[str]) -> None:
        """Checks that the first row is no header, and not a whole file whose lines end with carriage returns."""
        if self.pattern is None and headers.is_header(row):
            advice = "remove it, or read the file as csv (data.format or `input_format`)"
            raise self._fault(number, f"found the header line {_excerpt(text)}; {advice}")
        lines = list(filter(None, text.split("\r")))
        if len(lines) > 2 and all(len(list(filter(None, _split(line)))) > 1 for line in lines):
            raise self._fault(number, "found lines that end with carriage returns alone; expected \\n or \\r\\n")

    def _check_columns(self, number: int, text: str, count: int) -> None:
        """Checks that the first row has the columns that are read and the one to write."""
        tag = self.output_column
        if tag is not None and tag != count and not _has_tag(self.columns[0], tag, count):
            expected = "expected a column other than the token's, at most one after the last"
            raise self._fault(number, f"tags cannot be written to column {tag} of {_excerpt(text)}; {expected}")
        minimum = max(column + 1 if column >= 0 else -column for column in self.columns)
        if count > 1 and count >= minimum and len({column % count for column in self.columns}) < len(self.columns):
            raise self._fault(number, f"expected token and tag in different columns, found one in {_excerpt(text)}")
        minimum = max(minimum, len(self.columns))
        if count < minimum:
            raise self._fault(
                number,
                f"expected at least {minimum} columns, found {count} in {_excerpt(text)}. "
                "Are the token and tag columns the right ones?",
            )

    def _fault(self, number: int, message: str) -> DataError:
        return DataError(f"{self.name}:{number}: {message}")


def _row_pattern(column_count: int, columns: Set[int], *, has_tabs: bool) -> re.Pattern[str]:
    """Returns a pattern of simple rows with a group for each of `columns`, which must not be empty."""
    separator, character = ("\t", r"[^\t\r\n]") if has_tabs else (" ", r"[^ \t\r\n]")
    repeat = "*+" if has_tabs else "++"  # possessive: no backtracking into a field
    fields = [f"({character}++)" if column in columns else character + repeat for column in range(column_count)]
    return re.compile(f"^{separator.join(fields)}\n", re.MULTILINE)


def count_columns(sentence: Sentence) -> int:
    """Returns the number of columns of a sentence that was read from a file of columns."""
    start, _ = _find_rows(sentence)
    return len(_split(_text(2, sentence.raw[start])))


def _find_rows(sentence: Sentence) -> tuple[int, int]:
    """Returns the indices of the first row of a sentence in its lines, and of the line after its last row."""
    raw, end = sentence.raw, len(sentence.raw)
    while end and raw[end - 1].isspace() and _is_blank(raw[end - 1]):
        end -= 1
    return end - len(sentence), end


def _looks_like_comment(text: str, column_count: int, *, has_tabs: bool | None) -> bool:
    """Returns whether a line that starts with # is a comment, from the columns of the rows around it.

    Args:
        text: the line.
        column_count: the number of columns of rows; 0 if it is not known.
        has_tabs: whether rows have tabs; None if that is not known.
    """
    if has_tabs is None and "\t" in text:
        return False
    is_known = _KNOWN_COMMENT.match(text) is not None
    fields = text.split("\t") if has_tabs else _split(text)
    differs = column_count > 0 and len(fields) != column_count and text[1:2] in ("", " ", "\t")
    return differs or (is_known and (not has_tabs or len(fields) != column_count))


def _split(text: str) -> list[str]:
    """Returns the fields of a row, separated by tabs if there are any."""
    return text.split("\t") if "\t" in text else _SPACES.split(text.strip(" "))


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of columns. Sentences read from columns are written back unchanged except for the tags."""
    layout, probabilities = options.layout, options.token_probabilities
    if options.input_format == "columns" and options.writes_back:

        def write_back(sentence: Sentence) -> str:
            return "".join(write(sentence, layout, probabilities=probabilities(sentence)))

        return TextSink(lambda record: "".join(map(write_back, record.sentences)))
    # In other formats a token may contain a space.
    separator = " " if options.input_format == "lines" and not options.has_spaces else "\t"
    empty = "\n" if options.input_format == "lines" else ""

    def write_lines(record: Record) -> str:
        sentences = filter(len, record.sentences)
        lines = [write_new(sentence, separator, probabilities=probabilities(sentence)) for sentence in sentences]
        return "".join(chain.from_iterable(lines)) or empty

    return conll_sink(write_lines, lambda name: f"{DOCUMENT_START} {escapes.document_id(name, '_')}\n\n", options)


def write_new(sentence: Sentence, separator: str, *, probabilities: Sequence[float] = ()) -> Iterator[str]:
    """Yields the lines of a sentence from another format: token, separator and tag, and a blank line.

    Characters that would end a line or start a document are escaped.

    Args:
        sentence: the sentence.
        separator: a tab or a space.
        probabilities: one per token, written into the last column; or empty.
    """
    unsafe = escapes.LINE_OR_SPACE if separator == " " else escapes.LINE
    tokens = escapes.fields(sentence.tokens, unsafe, reserved=DOCUMENT_START)
    tags = escapes.fields(sentence.tags, unsafe)
    if any(not token.strip(" ") for token in tokens):  # with a tag of spaces, the row would be a blank line
        pairs = zip(tokens, tags, strict=True)
        tags = [tag if (token + tag).strip(" ") else escapes.field(tag, escapes.LINE_OR_SPACE) for token, tag in pairs]
    rows = zip(tokens, tags, _format_probabilities(probabilities, len(sentence), separator), strict=True)
    yield from (f"{token}{separator}{tag}{probability}\n" for token, tag, probability in rows)
    yield "\n"


def write(sentence: Sentence, layout: Layout, *, probabilities: Sequence[float] = ()) -> Iterator[str]:
    """Returns the text of a sentence, in pieces, with its tags in the tag column, escaped where needed.

    Rows without a tag column get a new last column.

    Args:
        sentence: the sentence, read from columns.
        layout: the columns of token and tag.
        probabilities: one per token, written into a new last column; or empty.
    """
    raw = sentence.raw
    start, end = _find_rows(sentence)
    if start == end:
        return iter(raw)
    token = layout.number(layout.token)
    tag = None if layout.tag is None else layout.number(layout.tag)
    rows = raw[start:end]
    unsafe = escapes.LINE if "\t" in rows[0] else escapes.LINE_OR_SPACE
    tags = escapes.fields(sentence.tags, unsafe, reserved=DOCUMENT_START)
    simple = _tag_simple_rows(rows, token, tag, tags, probabilities)
    tagged = [] if simple is None else [simple]
    if simple is None:
        values = zip(rows, tags, _format_probabilities(probabilities, len(rows), ""), strict=True)
        numbered = enumerate(values, sentence.line or 2)
        tagged = [_tag_row(row, _text(number, row), token, tag, *rest) for number, (row, *rest) in numbered]
    return chain(raw[:start], tagged, raw[end:])


def _format_probabilities(probabilities: Sequence[float], row_count: int, prefix: str) -> list[str]:
    """Returns the prefix and the probability of each row; empty strings without probabilities."""
    if not probabilities:
        return [""] * row_count
    # One formatting call per sentence takes two thirds of the time of one per number.
    return ("\n".join([f"{prefix}%.6f"] * len(probabilities)) % tuple(probabilities)).split("\n")


def _tag_simple_rows(
    rows: Sequence[str], token: int, tag: int | None, tags: Sequence[str], probabilities: Sequence[float]
) -> str | None:
    """Returns the text of rows with tags; None if the rows are not simple and must be tagged one by one."""
    text = "".join(rows)
    if not text.endswith("\n") or "\r" in text or text[0] in " \ufeff":
        return None
    separator = "\t" if "\t" in rows[0] else " "
    column_count = rows[0].count(separator) + 1
    if column_count == 1 or (separator == " " and ("  " in text or " \n" in text or "\n " in text)):
        return None
    fields = text.replace("\n", f"\n{separator}").split(separator)[:-1]  # the last field of a row keeps its line end
    column, last = _tag_column(token, tag, column_count), slice(column_count - 1, None, column_count)
    if len(fields) != column_count * len(rows) or "".join(fields[last]).count("\n") != len(rows):
        return None
    ends = [f"{suffix}\n" for suffix in _format_probabilities(probabilities, len(rows), separator)]
    if column is not None and column < column_count - 1:
        fields[column::column_count] = tags
        values: Iterable[str] = [field[:-1] for field in fields[last]] if probabilities else ()
    elif column is None:
        values = [f"{field[:-1]}{separator}{value}" for field, value in zip(fields[last], tags, strict=True)]
    else:
        values = tags
    if values:
        fields[last] = map(add, values, ends)
    return separator.join(fields).replace(f"\n{separator}", "\n")


def _tag_column(token: int, tag: int | None, column_count: int) -> int | None:
    """Returns the number of the column that the tag replaces; None if it becomes a new column."""
    return tag % column_count if tag is not None and _has_tag(token, tag, column_count) else None


def _has_tag(token: int, tag: int, column_count: int) -> bool:
    return -column_count <= tag < column_count and tag % column_count != token % column_count


def _tag_row(line: str, text: str, token: int, tag: int | None, value: str, probability: str) -> str:
    separator = r"\t" if "\t" in text else r" +"
    body = text if separator == r"\t" else text.strip(" ")
    pieces = re.split(f"({separator})", body)  # fields at even indices, separators at odd ones
    gap = pieces[1] if len(pieces) > 1 else " "
    start = line.index(body, len(_text(2, line)) - len(text))  # after a byte-order mark; a token may contain one too
    column = _tag_column(token, tag, len(pieces) // 2 + 1)
    if column is None:
        pieces += [gap, value]
    else:
        pieces[2 * column] = value
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


def _excerpt(text: str) -> str:
    return repr(shorten(text))
