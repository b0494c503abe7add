"""Writes tagged records as JSON lines of documents, which become a DocBin of spaCy when they are complete.

A row or a paragraph is a document of its own, and so is a sentence, unless the source has several documents. The text
of a record is written with all its white space. Spans are entities (`ENT_IOB`, `ENT_TYPE`), plain tags are `TAG`, and
tokens that were not annotated are missing entities. Memory holds the distinct strings and one document.
"""

import json
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, TypedDict

import numpy as np

from tagger.data import schemes
from tagger.data.formats import conllu, jsonl, spacy_library
from tagger.data.formats.doc_bin import reading
from tagger.data.formats.doc_bin.reading import BEGIN, INSIDE, MISSING, OUTSIDE
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.data.sentence import Record
from tagger.errors import DataError
from tagger.io import atomic, line_reader, msgpack

_ATTRIBUTES = ("ORTH", "TAG", "ENT_IOB", "ENT_TYPE", "SENT_START")
_START, _NO_START = 1, (1 << 64) - 1  # values of SENT_START
_ZLIB = b"\x78"  # the first byte of a DocBin
_VERSION = "0.1"
_CHUNK_BYTES = 1 << 20
_PER_DOC = ("cats", "flags", "span_groups", "user_data")


class _Words(TypedDict):
    """The words of a document: texts, spaces, tags, entities and sentence starts, one each per word.

    `group` is the source and the document of the words; None if they are a document of their own.
    """

    group: list[str] | None
    words: list[str]
    spaces: list[bool]
    tags: list[str]
    iobs: list[int]
    types: list[str]
    starts: list[int]
    has_spaces: bool


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of a DocBin.

    Raises:
        ConfigError: spaCy is not installed.
    """
    spacy_library.number_attributes()  # before anything is tagged
    return _DocBinSink(options)


@dataclass(frozen=True, slots=True)
class _DocBinSink:
    """Writes a JSON line for each record; `finish` converts the lines to a DocBin."""

    options: WriteOptions

    def begin(self) -> bytes:
        """Returns nothing."""
        return b""

    def write(self, records: Sequence[Record]) -> bytes:
        """Returns the lines of records."""
        return b"".join(
            jsonl.dump(_build_words(record, self.options)) + b"\n"
            for record in records
            if any(map(len, record.sentences))
        )

    def end(self) -> bytes:
        """Returns nothing."""
        return b""

    def finish(self, part: Path) -> None:
        """Converts a file of lines to a DocBin of the same name; skips a DocBin."""
        with part.open("rb") as lines:
            if lines.read(1) == _ZLIB:
                return
        with part.open("rb") as lines:
            has_groups = _has_documents(_parse(lines))
        with part.open("rb") as lines, atomic.open_atomic(part) as new:
            _write_bin(_group(_parse(lines), has_groups=has_groups), new, str(part))


def _build_words(record: Record, options: WriteOptions) -> _Words:
    words = _split_text(record) if record.text is not None else _list_tokens(record, options)
    is_alone = options.has_rows or (record.text is not None and not options.marks_starts)
    words["group"] = None if is_alone else [options.name, str(record.document)]
    values = _token_values(record, has_spans=options.has_spans)
    inside: str | None = None  # the type of the span that continues
    for index, is_token in enumerate(words["starts"]):
        if is_token:
            tag, iob, kind, is_start, inside = next(values)
            words["starts"][index] = _START if is_start else _NO_START
        else:
            tag, iob, kind = "", INSIDE if inside else OUTSIDE if options.has_spans else MISSING, inside or ""
            words["starts"][index] = _NO_START
        words["tags"].append(tag)
        words["iobs"].append(iob)
        words["types"].append(kind)
    return words


def _token_values(record: Record, *, has_spans: bool) -> Iterator[tuple[str, int, str, bool, str | None]]:
    """Yields for each token its tag, IOB and type, whether it starts a sentence, and the type that continues."""
    for sentence in record.sentences:
        if not has_spans:
            yield from ((tag, MISSING, "", not index, None) for index, tag in enumerate(sentence.tags))
            continue
        values = [(MISSING if tag == schemes.UNKNOWN else OUTSIDE, "") for tag in sentence.tags]
        for span in sentence.spans:
            values[span.start : span.end] = [(INSIDE, span.type)] * (span.end - span.start)
            values[span.start] = BEGIN, span.type
        following = [*(iob == INSIDE for iob, _ in values[1:]), False]
        for index, ((iob, kind), continues) in enumerate(zip(values, following, strict=True)):
            yield "", iob, kind, not index, kind if continues else None


def _new_words(words: list[str], spaces: list[bool], are_tokens: list[int], *, has_spaces: bool) -> _Words:
    """Returns words without values; `starts` says which are tokens."""
    return _Words(
        group=None, words=words, spaces=spaces, tags=[], iobs=[], types=[], starts=are_tokens, has_spaces=has_spaces
    )


def _list_tokens(record: Record, options: WriteOptions) -> _Words:
    """Returns the tokens of a record without a text; in CoNLL-U the spaces are known."""
    tokens = [token for sentence in record.sentences for token in sentence.tokens]
    touching = chain.from_iterable(map(conllu.read_touching, record.sentences))
    spaces = [not touches for touches in touching]
    return _new_words(tokens, spaces, [1] * len(tokens), has_spaces=options.input_format == "conllu")


def _split_text(record: Record) -> _Words:
    """Returns the tokens of a record's text, and its white space but single spaces as words of their own."""
    assert record.text is not None
    words: list[str] = []
    spaces: list[bool] = []
    are_tokens: list[int] = []
    offsets = [pair for sentence in record.sentences for pair in sentence.offsets]
    moved = [(start - record.start, end - record.start) for start, end in offsets]
    length = len(record.text)
    for (_, previous), (start, end) in pairwise([(0, 0), *moved, (length, length)]):
        gap = record.text[previous:start]
        if gap.startswith(" ") and words:
            spaces[-1], gap = True, gap[1:]
        for text, is_token in ((gap, 0), (record.text[start:end], 1)):
            if text:
                words.append(text)
                spaces.append(False)
                are_tokens.append(is_token)
    return _new_words(words, spaces, are_tokens, has_spaces=True)


def _parse(lines: Iterable[bytes]) -> Iterator[_Words]:
    return map(json.loads, lines)


def _has_documents(rows: Iterator[_Words]) -> bool:
    """Returns whether a source of sentences has several documents."""
    groups = (row["group"] for row in rows)
    return any(
        first is not None and second is not None and first[0] == second[0] and first[1] != second[1]
        for first, second in pairwise(groups)
    )


def _group(rows: Iterator[_Words], *, has_groups: bool) -> Iterator[list[_Words]]:
    """Yields the words of each document."""
    members: list[_Words] = []
    for row in rows:
        if members and not (has_groups and row["group"] is not None and row["group"] == members[-1]["group"]):
            yield members
            members = []
        members.append(row)
    if members:
        yield members


class _Numbers:
    """Numbers for strings, as spaCy hashes them, and all strings that were asked for."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __getitem__(self, text: str) -> int:
        if (number := self.numbers.get(text)) is None:
            number = self.numbers[text] = spacy_library.hash_string(text)
        return number


@dataclass
class _Arrays:
    """The arrays of a DocBin in temporary files, and what it has for each document."""

    tokens: IO[bytes]
    spaces: IO[bytes]
    numbers: _Numbers = field(default_factory=_Numbers)
    lengths: list[int] = field(default_factory=list)
    unknown_spaces: list[bool] = field(default_factory=list)

    def add(self, members: Sequence[_Words]) -> None:
        """Adds a document."""
        length = 0
        for row in members:
            columns = [
                [self.numbers[_encodable(word)] for word in row["words"]],
                [self.numbers[_encodable(tag)] for tag in row["tags"]],
                row["iobs"],
                [self.numbers[_encodable(kind)] for kind in row["types"]],
                row["starts"],
            ]
            self.tokens.write(np.array(columns, "<u8").T.tobytes())
            ends = [*row["spaces"][:-1], True] if len(members) > 1 else row["spaces"]
            self.spaces.write(np.array(ends, np.bool_).tobytes())
            length += len(row["words"])
        self.lengths.append(length)
        self.unknown_spaces.append(not members[0]["has_spaces"])


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()  # lone surrogates, which spaCy cannot hash


def _write_bin(documents: Iterable[list[_Words]], new: IO[bytes], name: str) -> None:
    with ExitStack() as stack:
        tokens, spaces = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        arrays = _Arrays(tokens, spaces)
        for members in documents:
            arrays.add(members)
        known = {attribute: number for number, attribute in spacy_library.number_attributes().items()}
        flags = (
            msgpack.pack_size("map", 1) + msgpack.pack("has_unknown_spaces") + msgpack.pack(is_unknown)
            for is_unknown in arrays.unknown_spaces
        )
        count = len(arrays.lengths)
        entries: dict[str, Iterable[bytes]] = {
            "version": [msgpack.pack(_VERSION)],
            "attrs": _pack_list([msgpack.pack(known[attribute]) for attribute in _ATTRIBUTES]),
            "tokens": _pack_file(arrays.tokens),
            "spaces": _pack_file(arrays.spaces),
            "lengths": [msgpack.pack(np.array(arrays.lengths, "<i4").tobytes())],
            "strings": _pack_list([msgpack.pack(text) for text in sorted({*arrays.numbers.numbers, ""})]),
            "cats": _pack_list([msgpack.pack_size("map", 0)] * count),
            "flags": _pack_list(list(flags)),
            "span_groups": _pack_list([msgpack.pack(b"")] * count),
        }
        _compress(entries, new, name)


def _pack_list(values: Sequence[bytes]) -> Iterator[bytes]:
    yield msgpack.pack_size("list", len(values))
    yield from values


def _pack_file(file: IO[bytes]) -> Iterator[bytes]:
    yield msgpack.pack_size("bytes", file.tell())
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _compress(entries: dict[str, Iterable[bytes]], new: IO[bytes], name: str) -> None:
    """Writes a compressed map.

    Raises:
        DataError: the content is larger than what is read.
    """
    compressor, size = zlib.compressobj(), 0
    named = ([msgpack.pack(key)] if index % 2 == 0 else value for key, value in entries.items() for index in range(2))
    for piece in chain([msgpack.pack_size("map", len(entries))], *named):
        new.write(compressor.compress(piece))
        size += len(piece)
        if size > reading.MAX_BYTES:
            limit = line_reader.format_size(reading.MAX_BYTES)
            raise DataError(f"{name}: a file of spaCy of over {limit}; write several files, or another format")
    new.write(compressor.flush())


def count_docs(source: Path) -> int:
    """Returns the number of documents of a DocBin.

    Raises:
        DataError: the source is not a DocBin.
    """
    with reading.convert_errors(str(source)):
        return len(reading.read_content(reading.read_data(source, str(source))).doc_lengths)


def write_docs(source: Path, out: Path, numbers: Sequence[int]) -> None:
    """Writes documents of a DocBin, by their numbers from 0, to another one, with all that it holds for them.

    Raises:
        DataError: the source is not a DocBin.
        StorageError: the output cannot be written.
    """
    with reading.convert_errors(str(source)):
        data = reading.read_data(source, str(source))
        content = reading.read_content(data)
        lengths = content.doc_lengths
        ends = np.cumsum([0, *lengths]).tolist()
        bounds = [(ends[number], ends[number + 1]) for number in numbers]
        row_bytes = 8 * len(content.attributes)
        chosen: dict[str, Iterable[bytes]] = {}
        reader = msgpack.Reader(data)
        for _ in range(reader.read_size("map")):
            name, raw = str(reader.read()), reader.read_raw()
            chosen[name] = _choose(raw, numbers) if name in _PER_DOC else [raw]
    tokens = b"".join(content.tokens[first * row_bytes : end * row_bytes] for first, end in bounds)
    spaces = b"".join(content.spaces[first:end] for first, end in bounds)
    chosen["tokens"], chosen["spaces"] = [msgpack.pack(tokens)], [msgpack.pack(spaces)]
    chosen["lengths"] = [msgpack.pack(np.array([lengths[number] for number in numbers], "<i4").tobytes())]
    with atomic.wrap_os_errors(out), atomic.open_output(out) as stream:
        _compress(chosen, stream, str(out))


def _choose(raw: bytes, numbers: Sequence[int]) -> Iterator[bytes]:
    """Returns a list with the chosen values of another one, which may be shorter."""
    reader = msgpack.Reader(raw)
    values = [reader.read_raw() for _ in range(reader.read_size("list"))]
    return _pack_list([values[number] for number in numbers if number < len(values)])
