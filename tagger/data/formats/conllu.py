"""CoNLL-U: the tag is UPOS, XPOS or a key of MISC. Multiword ranges, empty nodes and comments stay unchanged."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tagger.data.formats import blocks, escapes
from tagger.data.formats.blocks import Block
from tagger.data.formats.reading import ReadOptions, shorten
from tagger.data.formats.writing import Sink, TextSink, WriteOptions, sentence_position
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import ConfigError, DataError
from tagger.io import line_reader
from tagger.io.line_reader import LineRun

_COLUMN_COUNT, _FORM, _MISC = 10, 1, 9
_TAG_COLUMNS = {"upos": 3, "xpos": 4}
_OUTSIDE = "O"
_NEW_DOCUMENT = re.compile(r"# ?newdoc(?:[ \t]+id[ \t]*=[ \t]*(.*\S))?")

_Words = tuple[int, tuple[str, ...], tuple[str, ...]]  # the line of the first word, the words, the tags


def check_tag(tag: str) -> None:
    """Raises ConfigError unless the field of the tag is upos, xpos or misc:KEY."""
    if tag not in _TAG_COLUMNS and not re.fullmatch(r"misc:[^|=\s]+", tag):
        raise ConfigError(f"expected upos, xpos or misc:KEY as the tag of CoNLL-U, found {tag!r}")


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each sentence of a source, untagged; see `read` for errors."""
    return records(
        options.runs_of_blocks(source),
        options.name,
        str(options.layout.tag),
        reject=options.reject,
        max_record_bytes=options.max_record_bytes,
    )


def read_tagged(source: Path | BinaryIO, options: ReadOptions, *, tagged: bool = True) -> Iterator[Sentence]:
    """Yields the sentences of a source with their tags; see `read` for errors."""
    return read(
        options.runs_of_blocks(source),
        options.name,
        str(options.layout.tag),
        tagged=tagged,
        reject=options.reject,
        max_record_bytes=options.max_record_bytes,
    )


def read(
    source: Iterable[LineRun],
    name: str,
    tag: str,
    *,
    tagged: bool,
    reject: Callable[[Reject], None] | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Sentence]:
    """Yields the sentences of a file with all their lines. A token without the MISC key of the tag has the tag O.

    Args:
        source: the lines; with `reject`, undecodable lines are `Unreadable`, so that their block is rejected.
        name: the name of the file in errors.
        tag: the field of the tag: upos, xpos or misc:KEY.
        tagged: whether to read tags.
        reject: is called with each block that cannot be read; None to raise the error.
        max_record_bytes: the maximum size of a block's lines.

    Raises:
        DataError: a row does not have ten columns, has an invalid id or an empty field; or a block is too large.
    """
    sentences = _read(source, name, tag, tagged=tagged, reject=reject, limit=max_record_bytes)
    return (sentence for sentence, _ in sentences)


def records(
    source: Iterable[LineRun],
    name: str,
    tag: str,
    *,
    reject: Callable[[Reject], None] | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Record]:
    """Yields a record for each sentence of a file, untagged. The document's id is that of newdoc, else a number.

    Arguments and errors are those of `read`.
    """
    for sentence, document_id in _read(source, name, tag, tagged=False, reject=reject, limit=max_record_bytes):
        document = sentence.document if document_id is None else document_id
        size = sum(map(len, sentence.raw))
        yield Record((sentence,), document, sentence.line, numbered=document_id is None, size=size)


def _read(
    source: Iterable[LineRun],
    name: str,
    tag: str,
    *,
    tagged: bool,
    reject: Callable[[Reject], None] | None,
    limit: int,
) -> Iterator[tuple[Sentence, str | None]]:
    """Yields each sentence with the id of its document, None if the document has no id."""
    check_tag(tag)
    tag_to_read = tag if tagged else None
    misplaced = "" if tag in _TAG_COLUMNS else f" {tag.removeprefix('misc:')}="
    document = _Document()
    for block in blocks.split(source, _is_blank, name, limit):
        document = _next_document(block, document)
        try:
            is_simple = not misplaced or not any(misplaced in line for line in block.lines)
            simple = _read_simple(block, tag_to_read) if is_simple else None
            first, tokens, tags = simple or _read_lines(block, name, tag_to_read, misplaced)
        except DataError as error:
            if reject is None:
                raise
            reject(block.to_reject(error))
        else:
            raw = (*block.lines, *block.blank)
            yield Sentence(tokens, tags=tags, document=document.number, line=first, raw=raw), document.id


class _Document(NamedTuple):
    """A document's number, its id if it has one, and whether the file had words so far."""

    number: int = 0
    id: str | None = None
    has_words: bool = False


def _next_document(block: Block, document: _Document) -> _Document:
    """Returns the document of a block, from that of the previous block."""
    number, document_id, has_words = document
    if has_words and not any("newdoc" in line for line in block.lines):
        return document
    for text in _texts(block):
        if match := _NEW_DOCUMENT.match(text):
            number, document_id = number + has_words, match[1]  # the first newdoc may follow the first sentences
        elif text.partition("\t")[0].isdecimal():
            has_words = True
    return _Document(number, document_id, has_words)


def _read_simple(block: Block, tag: str | None) -> _Words | None:
    """Returns the words of a block that has only comments and then words; None if it must be read line by line."""
    lines = block.lines
    comments = next((index for index, line in enumerate(lines) if line[0] != "#"), len(lines))
    text = "".join(lines)
    marked = "".join(lines[comments:]).replace("\n", "\t\n\t")  # a line end becomes a field of its own
    if not marked or "\r" in text or "\t\t" in marked or marked[0] == "\t":
        return None
    fields = marked.split("\t")
    step = _COLUMN_COUNT + 1
    if fields[_COLUMN_COUNT::step] != ["\n"] * (len(lines) - comments) or not block.is_readable():
        return None
    del fields[-1]  # the empty field after the last line end
    if not "".join(fields[::step]).isdecimal():
        return None
    tags = () if tag is None else _tags(fields[_TAG_COLUMNS.get(tag, _MISC) :: step], tag)
    return (block.first + comments, tuple(fields[_FORM::step]), tags) if all(tags) else None


def _read_lines(block: Block, name: str, tag: str | None, misplaced: str) -> _Words:
    block.check()
    first = 0
    words: list[str] = []
    tags: list[str] = []
    for number, text in enumerate(_texts(block), block.first):
        row = [] if text.startswith("#") else _row(text, f"{name}:{number}")
        if row and row[0].isdecimal():
            first = first or number
            words.append(row[_FORM])
            if misplaced and misplaced in row[_MISC]:
                raise DataError(
                    f"{name}:{number}: expected | between the items of MISC, found a space in {row[_MISC]!r}"
                )
            if tag is not None:
                tags += _tags([row[_TAG_COLUMNS.get(tag, _MISC)]], tag)
                if not tags[-1]:
                    raise DataError(f"{name}:{number}: expected a value of {tag}, found none in {row[_MISC]!r}")
    return first, tuple(words), tuple(tags)


def _texts(block: Block) -> Iterator[str]:
    """Yields the lines of a block without line ends and byte-order mark."""
    for number, line in enumerate(block.lines, block.first):
        yield _text(line.removeprefix("\ufeff") if number == 1 else line)


def _row(text: str, location: str) -> list[str]:
    row = text.split("\t")
    if len(row) != _COLUMN_COUNT:
        expected = f"expected {_COLUMN_COUNT} columns separated by tabs"
        raise DataError(f"{location}: {expected}, found {len(row)} in {shorten(text)!r}")
    if not row[0].replace("-", "", 1).replace(".", "", 1).isdecimal():
        raise DataError(f"{location}: expected a word's id such as 3, 3-4 or 3.1, found {row[0]!r}")
    if not all(row):
        raise DataError(f"{location}: column {row.index('')} is empty; expected _ for an empty column")
    return row


def _tags(fields: Iterable[str], tag: str) -> tuple[str, ...]:
    """Returns the tags of words from their fields in the column that holds the tag."""
    if tag in _TAG_COLUMNS:
        return escapes.unescape(tuple(fields))
    key = f"{tag.removeprefix('misc:')}="
    return escapes.unescape(tuple([_value(misc, key) if key in misc else _OUTSIDE for misc in fields]))


def _value(misc: str, key: str) -> str:
    return next((item.removeprefix(key) for item in misc.split("|") if item.startswith(key)), _OUTSIDE)


def has_tags(sentences: Iterable[Sentence], tag: str) -> bool:
    """Returns whether any token of sentences read from CoNLL-U has a value in the field of the tag."""
    if tag in _TAG_COLUMNS:
        return any(value != "_" for sentence in sentences for value in sentence.tags)
    key = f"{tag.removeprefix('misc:')}="
    return any(key in line.rpartition("\t")[2] for sentence in sentences for line in sentence.raw)


def read_touching(sentence: Sentence) -> list[bool]:
    """Returns for each token of a sentence from CoNLL-U whether it has SpaceAfter=No; False for all of others."""
    rows = [line.rstrip("\r\n").split("\t") for line in sentence.raw]
    items = [row[_MISC].split("|") for row in rows if len(row) == _COLUMN_COUNT and row[0].lstrip("\ufeff").isdecimal()]
    return ["SpaceAfter=No" in each for each in items] if len(items) == len(sentence) else [False] * len(sentence)


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of CoNLL-U. Sentences read from CoNLL-U are written back unchanged except for the tags."""
    tag, probabilities = str(options.layout.tag), options.token_probabilities
    check_tag(tag)

    def write_back(sentence: Sentence) -> str:
        return "".join(write(sentence, tag, probabilities=probabilities(sentence)))

    if options.input_format == "conllu" and options.writes_back:
        return TextSink(lambda record: "".join(map(write_back, record.sentences)))
    name = escapes.document_id(options.name, "_").replace("/", ":")  # ids hold neither space nor slash

    def write_record(record: Record) -> str:
        pieces: list[str] = []
        for number, sentence in enumerate(filter(len, record.sentences), 1):
            is_start = options.has_rows and not options.marks_starts
            if not pieces and (record.starts_document or is_start):
                pieces.append(f"# newdoc id = {escapes.document_id(str(record.document), ' ')}\n")
            position = sentence_position(record, sentence, number, options)
            pieces.append(f"# sent_id = {name}-{position}\n")
            pieces += write_new(sentence, tag, _find_touching(record, sentence), probabilities=probabilities(sentence))
        return "".join(pieces)

    return TextSink(write_record)


def _find_touching(record: Record, sentence: Sentence) -> list[bool]:
    """Returns for each token whether no white space follows it in the record's text."""
    if record.text is None:
        return [False] * len(sentence)
    touching = [end == start for (_, end), (start, _) in pairwise(sentence.offsets)]
    following = record.text[sentence.offsets[-1][1] - record.start :][:1]
    return [*touching, bool(following) and not following.isspace()]


def write_new(
    sentence: Sentence, tag: str, touching: Sequence[bool], *, probabilities: Sequence[float] = ()
) -> Iterator[str]:
    """Yields the lines of a sentence from another format: a comment with its text, and words with tags.

    White space in a tag is escaped, as is a bar in a value of MISC, and in tokens each character that would end a line.

    Args:
        sentence: the sentence.
        tag: the field of the tag: upos, xpos or misc:KEY.
        touching: whether each token touches the next one, so that it gets SpaceAfter=No.
        probabilities: one per token, written to MISC under the key Prob; or empty.
    """
    tokens = escapes.fields(sentence.tokens, escapes.LINE)
    text = "".join(token if touches else f"{token} " for token, touches in zip(tokens, touching, strict=True))
    yield f"# text = {text.removesuffix(' ')}\n"
    rows = zip(tokens, touching, _values(sentence, tag, probabilities), strict=True)
    for number, (token, touches, value) in enumerate(rows, 1):
        row = [str(number), token, *"_" * (_COLUMN_COUNT - 3), "SpaceAfter=No" if touches else "_"]
        yield "\t".join(_set(row, tag, *value)) + "\n"
    yield "\n"


def write(sentence: Sentence, tag: str, *, probabilities: Sequence[float] = ()) -> Iterator[str]:
    """Yields the lines of a sentence that was read from CoNLL-U, unchanged except for the tags.

    Args:
        sentence: the sentence.
        tag: the field of the tag: upos, xpos or misc:KEY.
        probabilities: one per token, written to MISC under the key Prob; or empty.
    """
    check_tag(tag)
    values = _values(sentence, tag, probabilities)
    for line in sentence.raw:
        row = line.split("\t")
        if len(row) == _COLUMN_COUNT and row[0].removeprefix("\ufeff").isdecimal():
            yield "\t".join(_set(row, tag, *next(values)))
        else:
            yield line


def _values(sentence: Sentence, tag: str, probabilities: Sequence[float]) -> Iterator[tuple[str, str]]:
    """Returns the tag of each token, escaped for its field, and the token's probability or an empty string."""
    tags = escapes.fields(sentence.tags, escapes.WHITE if tag in _TAG_COLUMNS else escapes.WHITE_OR_BAR)
    numbers = [f"{number:.6f}" for number in probabilities] or [""] * len(sentence)
    return zip(tags, numbers, strict=True)


def _set(row: list[str], tag: str, value: str, probability: str) -> list[str]:
    """Sets the tag of a row, and the probability unless it is empty. The last field may include the line end."""
    if tag in _TAG_COLUMNS:
        row[_TAG_COLUMNS[tag]] = value
    else:
        # A missing key is read as O.
        row[_MISC] = _with_item(row[_MISC], f"{tag.removeprefix('misc:')}=", value, add=value != _OUTSIDE)
    if probability:
        row[_MISC] = _with_item(row[_MISC], "Prob=", probability, add=True)
    return row


def _with_item(misc: str, key: str, value: str, *, add: bool) -> str:
    """Returns MISC with the value of a key replaced. A missing key becomes the last item if `add`."""
    if key not in misc and not add:
        return misc
    text = _text(misc)
    items = [] if text == "_" else text.split("|")
    index = next((index for index, item in enumerate(items) if item.startswith(key)), None)
    if index is not None:
        items[index] = key + value
    elif add:
        items.append(key + value)
    return "|".join(items) + misc[len(text) :] if items else misc


def _text(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _is_blank(text: str) -> bool:
    return not text.strip()
