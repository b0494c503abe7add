"""CoNLL-U: the tag is UPOS, XPOS or a key of MISC; multiword ranges, empty nodes and comments stay as they are."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tagger.data.formats import blocks, escapes
from tagger.data.formats.blocks import Block
from tagger.data.formats.reading import ReadOptions
from tagger.data.formats.writing import Sink, TextSink, WriteOptions, conll_sink
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import ConfigError, DataError
from tagger.io import line_reader

_WIDTH, _FORM, _MISC = 10, 1, 9
_COLUMNS = {"upos": 3, "xpos": 4}
_OUTSIDE = "O"
_NEW_DOCUMENT = re.compile(r"# ?newdoc(?:[ \t]+id[ \t]*=[ \t]*(.*\S))?")

_Words = tuple[int, tuple[str, ...], tuple[str, ...]]  # the first word's line, the words, their tags


def check_tag(tag: str) -> None:
    """Raises ConfigError unless a tag's place is upos, xpos or misc:KEY."""
    if tag not in _COLUMNS and not re.fullmatch(r"misc:[^|=\s]+", tag):
        raise ConfigError(f"in CoNLL-U the tag must be upos, xpos or misc:KEY, got {tag!r}")


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each sentence of a source, untagged; see `read` for errors."""
    return records(
        options.lines_of_blocks(source),
        options.name,
        str(options.layout.tag),
        reject=options.reject,
        max_record_bytes=options.max_record_bytes,
    )


def read_tagged(source: Path | BinaryIO, options: ReadOptions, *, tagged: bool = True) -> Iterator[Sentence]:
    """Yields the sentences of a source with their tags; see `read` for errors."""
    tag, limit = str(options.layout.tag), options.max_record_bytes
    return read(options.lines(source), options.name, tag, tagged=tagged, max_record_bytes=limit)


def read(
    source: Iterable[tuple[int, str]],
    name: str,
    tag: str,
    *,
    tagged: bool,
    reject: Callable[[Reject], None] | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Sentence]:
    """Yields the sentences of a file with all their lines; a token without the MISC key that is asked for has tag O.

    With `reject`, the lines between two blank ones that cannot be read go there, and reading goes on; give
    `files.Unreadable` to `files.lines`, so that lines that are no text take their block with them.

    Raises:
        DataError: a row has not ten columns, an id is none, or a field that is needed is empty; or a block of
            lines has more than `max_record_bytes`.
    """
    found = _read(source, name, tag, tagged=tagged, reject=reject, limit=max_record_bytes)
    return (sentence for sentence, _ in found)


def records(
    source: Iterable[tuple[int, str]],
    name: str,
    tag: str,
    *,
    reject: Callable[[Reject], None] | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Record]:
    """Yields the sentences of a file, untagged, each of the document that its newdoc line gives an id, else a number.

    Arguments and errors as of `read`.
    """
    for sentence, called in _read(source, name, tag, tagged=False, reject=reject, limit=max_record_bytes):
        document = sentence.document if called is None else called
        size = sum(map(len, sentence.raw))
        yield Record((sentence,), document, sentence.line, numbered=called is None, size=size)


def _read(
    source: Iterable[tuple[int, str]],
    name: str,
    tag: str,
    *,
    tagged: bool,
    reject: Callable[[Reject], None] | None,
    limit: int,
) -> Iterator[tuple[Sentence, str | None]]:
    """Yields the sentences, each with the id of its document if that has one."""
    check_tag(tag)
    wanted = tag if tagged else None
    document = _Document()
    for block in blocks.split(source, _is_blank, name, limit):
        document = _document(block, document)
        try:
            first, tokens, tags = _at_once(block, wanted) or _line_by_line(block, name, wanted)
        except DataError as error:
            if reject is None:
                raise
            reject(block.refused(error))
        else:
            raw = (*block.lines, *block.blank)
            yield Sentence(tokens, tags=tags, document=document.number, line=first, raw=raw), document.called


class _Document(NamedTuple):
    """A document's number and its id, if it has one; and whether words were seen so far."""

    number: int = 0
    called: str | None = None
    begun: bool = False


def _document(block: Block, document: _Document) -> _Document:
    """Returns the document of a block, after that of the block before."""
    number, called, begun = document
    if begun and not any("newdoc" in line for line in block.lines):
        return document
    for text in _texts(block):
        if found := _NEW_DOCUMENT.match(text):
            number, called = number + begun, found[1]  # the first newdoc in a file may follow its first sentences
        elif text.partition("\t")[0].isdecimal():
            begun = True
    return _Document(number, called, begun)


def _at_once(block: Block, tag: str | None) -> _Words | None:
    """Returns the words of a block of comments and then words alone; None if it must be read line by line."""
    lines = block.lines
    comments = next((place for place, line in enumerate(lines) if line[0] != "#"), len(lines))
    text = "".join(lines)
    marked = "".join(lines[comments:]).replace("\n", "\t\n\t")  # a line end becomes a field of its own
    if not marked or "\r" in text or "\t\t" in marked or marked[0] == "\t":
        return None
    fields = marked.split("\t")
    step = _WIDTH + 1
    if fields[_WIDTH::step] != ["\n"] * (len(lines) - comments) or not block.sound():
        return None
    del fields[-1]  # what follows the last line end
    if not "".join(fields[::step]).isdecimal():
        return None
    tags = () if tag is None else _tags(fields[_COLUMNS.get(tag, _MISC) :: step], tag)
    return (block.first + comments, tuple(fields[_FORM::step]), tags) if all(tags) else None


def _line_by_line(block: Block, name: str, tag: str | None) -> _Words:
    block.check()
    first = 0
    words: list[str] = []
    tags: list[str] = []
    for number, text in enumerate(_texts(block), block.first):
        row = [] if text.startswith("#") else _row(text, f"{name}:{number}")
        if row and row[0].isdecimal():
            first = first or number
            words.append(row[_FORM])
            if tag is not None:
                tags += _tags([row[_COLUMNS.get(tag, _MISC)]], tag)
                if not tags[-1]:
                    raise DataError(f"{name}:{number}: {tag} has no value in {row[_MISC]!r}")
    return first, tuple(words), tuple(tags)


def _texts(block: Block) -> Iterator[str]:
    """Yields the lines of a block without line ends and byte-order mark."""
    for number, line in enumerate(block.lines, block.first):
        yield _text(line.removeprefix("\ufeff") if number == 1 else line)


def _row(text: str, place: str) -> list[str]:
    row = text.split("\t")
    if len(row) != _WIDTH:
        shown = repr(text if len(text) <= 60 else f"{text[:60]}…")
        raise DataError(f"{place}: expected {_WIDTH} columns separated by tabs, found {len(row)} in {shown}")
    if not row[0].replace("-", "", 1).replace(".", "", 1).isdecimal():
        raise DataError(f"{place}: expected a word's id such as 3, 3-4 or 3.1, found {row[0]!r}")
    if not all(row):
        raise DataError(f"{place}: column {row.index('')} is empty; CoNLL-U writes _ there")
    return row


def _tags(fields: Iterable[str], tag: str) -> tuple[str, ...]:
    """Returns the tags that words have by the fields of the column where a tag stands."""
    if tag in _COLUMNS:
        return tuple(fields)
    key = f"{tag.removeprefix('misc:')}="
    return tuple(_value(misc, key) if key in misc else _OUTSIDE for misc in fields)


def _value(misc: str, key: str) -> str:
    return next((item.removeprefix(key) for item in misc.split("|") if item.startswith(key)), _OUTSIDE)


def tagged(sentences: Iterable[Sentence], tag: str) -> bool:
    """Tells whether any token of sentences that were read has something in a tag's place."""
    if tag in _COLUMNS:
        return any(found != "_" for sentence in sentences for found in sentence.tags)
    key = f"{tag.removeprefix('misc:')}="
    return any(key in line.rpartition("\t")[2] for sentence in sentences for line in sentence.raw)


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of CoNLL-U; what was read from CoNLL-U is written back unchanged but for the tags."""
    tag, as_read, probabilities = str(options.layout.tag), options.input_format == "conllu", options.token_probabilities
    check_tag(tag)

    def write_sentence(sentence: Sentence) -> str:
        return "".join(write(sentence, tag, as_read=as_read, probabilities=probabilities(sentence)))

    def write_record(record: Record) -> str:
        return "".join(_text_comment(record, each) + write_sentence(each) for each in record.sentences if each.tokens)

    if as_read:
        return TextSink(lambda record: "".join(map(write_sentence, record.sentences)))
    return conll_sink(write_record, lambda name: f"# newdoc id = {escapes.document_id(name, ' ')}\n\n", options)


def _text_comment(record: Record, sentence: Sentence) -> str:
    return "" if record.text is None else f"# text = {escapes.one_line(sentence.text)}\n"


def write(sentence: Sentence, tag: str, *, as_read: bool, probabilities: Sequence[float] = ()) -> Iterator[str]:
    """Yields the lines of a sentence with its tags put in; as it was read, or made anew from its tokens.

    White space within a tag is escaped, as is a bar in a value of MISC; of tokens what would break a line.

    Probabilities, if given, one for each token, are put into MISC under the key Prob.
    """
    check_tag(tag)
    numbers = [f"{number:.6f}" for number in probabilities] or [""] * len(sentence)
    tags = escapes.fields(sentence.tags, escapes.WHITE if tag in _COLUMNS else escapes.WHITE_OR_BAR)
    values = zip(tags, numbers, strict=True)
    if not as_read:
        tokens = escapes.fields(sentence.tokens, escapes.LINE)
        for number, (token, value) in enumerate(zip(tokens, values, strict=True), 1):
            row = [str(number), token, *"_" * (_WIDTH - 2)]
            yield "\t".join(_set(row, tag, *value)) + "\n"
        yield "\n"
        return
    for line in sentence.raw:
        row = line.split("\t")
        if len(row) == _WIDTH and row[0].removeprefix("\ufeff").isdecimal():
            yield "\t".join(_set(row, tag, *next(values)))
        else:
            yield line


def _set(row: list[str], tag: str, value: str, probability: str) -> list[str]:
    """Puts a tag, and a probability unless it is empty, into a row, which may hold its line's end."""
    if tag in _COLUMNS:
        row[_COLUMNS[tag]] = value
    else:
        # A missing key is read as O.
        row[_MISC] = _with_item(row[_MISC], f"{tag.removeprefix('misc:')}=", value, add=value != _OUTSIDE)
    if probability:
        row[_MISC] = _with_item(row[_MISC], "Prob=", probability, add=True)
    return row


def _with_item(misc: str, key: str, value: str, *, add: bool) -> str:
    """Returns MISC with the value of a key replaced or, if it is to be added, as its last item."""
    if key not in misc and not add:
        return misc
    text = _text(misc)
    items = [] if text == "_" else text.split("|")
    place = next((place for place, item in enumerate(items) if item.startswith(key)), None)
    if place is not None:
        items[place] = key + value
    elif add:
        items.append(key + value)
    return "|".join(items) + misc[len(text) :] if items else misc


def _text(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _is_blank(text: str) -> bool:
    return not text.strip()
