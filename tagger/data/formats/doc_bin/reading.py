"""Reads a DocBin.

The tag column says what is read: `ents` the entities, `tag` or `pos` the tags of tokens. Tokens and sentences are those
of the file; without sentences, tokens are split like texts. Tokens of white space are left out. Tokens whose entity
spaCy calls missing were not annotated, and a document of such tokens alone is skipped.

The file is in memory while it is read. No object of spaCy is built from it, and user data is skipped, not decoded.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tagger.data import schemes
from tagger.data.alignment import CharSpan
from tagger.data.formats import annotations, spacy_library, text
from tagger.data.formats.annotated_sentences import Origin, build_sentences
from tagger.data.formats.annotations import SpanItem, SplitText
from tagger.data.formats.reading import ReadOptions, shorten
from tagger.data.sentence import Record, Sentence, SourceText
from tagger.errors import ConfigError, DataError
from tagger.io import line_reader
from tagger.io.msgpack import Reader

_Value = TypeVar("_Value", int, str, bytes)
_READ = ("ORTH", "TAG", "POS", "ENT_IOB", "ENT_TYPE", "SENT_START")
_COLUMNS = {"ents": "ENT_IOB", "tag": "TAG", "pos": "POS"}
_NO_TAG = "_"
_EMPTY_GROUPS = (b"", b"\x90", b"\x80")  # no span groups, in the versions of spaCy

MISSING, INSIDE, OUTSIDE, BEGIN = range(4)
"""The values of ENT_IOB."""
MAX_BYTES = 1 << 29
"""The maximum size of a file, decompressed."""

PARTLY = "documents that are annotated in part"
SPAN_GROUPS = "documents with span groups, which are left out"


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields an untagged record for each document of a source; see `read_tagged_records` for errors."""
    for number, doc in enumerate(_read_docs(source, options), 1):
        sentences = _build_untagged(doc, number)
        yield _record(doc, number, sentences)


def read_tagged_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record with tags for each annotated document of a source.

    Raises:
        ConfigError: spaCy is not installed, or the tag column is neither `ents`, `tag` nor `pos`.
        DataError: the source is not a DocBin, is damaged or too large, or holds no such attribute.
    """
    column = options.layout.tag if isinstance(options.layout.tag, str) else "ents"
    if column not in _COLUMNS:
        raise ConfigError(f"{options.name}: expected ents, tag or pos as the column of the tag, found {column!r}")
    for number, doc in enumerate(_read_docs(source, options), 1):
        location = f"{options.name}, document {number}"
        try:
            values = doc.require(_COLUMNS[column])
            if not any(values):
                options.notices.add(annotations.UNANNOTATED, f"{location}: skipped")
                continue
            build = _build_with_spans if column == "ents" else _build_with_tags
            sentences = build(doc, values, Origin(location, number, number - 1), options)
        except ValueError as error:
            options.refuse(f"{location}: {error}", number, cause=error)
            continue
        yield _record(doc, number, sentences)


@dataclass(frozen=True, slots=True)
class _Doc:
    """A document: its tokens, whether a space follows each, and the values of attributes by name, one per token."""

    words: list[str]
    spaces: list[bool]
    attributes: dict[str, list[int]]
    names: dict[int, str]
    has_groups: bool

    @property
    def text(self) -> str:
        """The text of the document."""
        return "".join([word + " " * space for word, space in zip(self.words, self.spaces, strict=True)])

    def offsets(self) -> list[tuple[int, int]]:
        """Returns the start and end of each token."""
        offsets, start = [], 0
        for word, space in zip(self.words, self.spaces, strict=True):
            offsets.append((start, start + len(word)))
            start += len(word) + space
        return offsets

    def require(self, attribute: str) -> list[int]:
        """Returns the values of an attribute.

        Raises:
            ValueError: the file does not have it.
        """
        if attribute not in self.attributes:
            stored = ", ".join(self.attributes)
            raise ValueError(f"expected the attribute {attribute}, found {stored}; store it with DocBin(attrs=[…])")
        return self.attributes[attribute]

    def name(self, number: int) -> str:
        """Returns the string of a number.

        Raises:
            ValueError: the file does not have it.
        """
        if (name := self.names.get(number)) is None:
            raise ValueError(f"the file has no string with the number {number}")
        return name


def _build_untagged(doc: _Doc, number: int) -> list[Sentence]:
    words, source = doc.text, SourceText(doc.text)
    return [
        Sentence(
            tuple([words[start:end] for start, end in offsets]), line=number, offsets=tuple(offsets), source=source
        )
        for offsets in _split_sentences(doc)
    ]


def _build_with_spans(doc: _Doc, values: list[int], origin: Origin, options: ReadOptions) -> list[Sentence]:
    spans = [SpanItem(span) for span in _find_spans(doc, values)]
    sentences = build_sentences(SplitText(doc.text, _split_sentences(doc), spans), origin, options)
    if doc.has_groups:
        options.notices.add(SPAN_GROUPS, f"{origin.location}: only its entities are read")
    if MISSING not in values:
        return sentences
    pairs = zip(values, doc.offsets(), strict=True)
    missing = {start for value, (start, _) in pairs if value == MISSING}
    options.notices.add(PARTLY, f"{origin.location}: entities are missing in {len(missing)} of {len(values)} tokens")
    return [_mark_missing(sentence, missing) for sentence in sentences]


def _mark_missing(sentence: Sentence, missing: set[int]) -> Sentence:
    """Returns a sentence in which tokens outside spans that start at these offsets have an unknown tag."""
    pairs = zip(sentence.tags, sentence.offsets, strict=True)
    tags = [schemes.UNKNOWN if tag == schemes.OUTSIDE and start in missing else tag for tag, (start, _) in pairs]
    return replace(sentence, tags=tuple(tags))


def _build_with_tags(doc: _Doc, values: list[int], origin: Origin, options: ReadOptions) -> list[Sentence]:
    tags = {start: doc.name(value) or _NO_TAG for value, (start, _) in zip(values, doc.offsets(), strict=True)}
    return [
        replace(
            sentence,
            tags=tuple([tags[start] for start, _ in sentence.offsets]),
            document=origin.document,
            source=None,  # the tags may be of any kind
        )
        for sentence in _build_untagged(doc, origin.line)
    ]


def _record(doc: _Doc, number: int, sentences: Sequence[Sentence]) -> Record:
    words = doc.text
    return Record(tuple(sentences), number - 1, number, words, fields={"text": words}, numbered=True, size=len(words))


def _find_spans(doc: _Doc, values: list[int]) -> Iterator[CharSpan]:
    """Yields the entities. One without a type only says that there is no other."""
    kinds = [doc.name(kind) for kind in doc.require("ENT_TYPE")]
    span: CharSpan | None = None
    for value, kind, (start, end) in zip(values, kinds, doc.offsets(), strict=True):
        is_inside = value in (INSIDE, BEGIN) and kind != ""
        if span is not None and is_inside and value == INSIDE and kind == span.type:
            span = span._replace(end=end)
            continue
        if span is not None:
            yield span
        span = CharSpan(kind, start, end) if is_inside else None
    if span is not None:
        yield span


def _split_sentences(doc: _Doc) -> list[list[tuple[int, int]]]:
    """Returns the offsets of the tokens of each sentence, without white space."""
    starts, offsets = doc.attributes.get("SENT_START", []), doc.offsets()
    if not any(starts[1:]):
        triples = ((word, start, end) for word, (start, end) in zip(doc.words, offsets, strict=True))
        return [bounds for _, bounds in text.split_tokens(triples)]
    sentences: list[list[tuple[int, int]]] = [[]]
    for word, is_start, bounds in zip(doc.words, starts, offsets, strict=True):
        if is_start == 1:
            sentences.append([])
        if not word.isspace():
            sentences[-1].append(bounds)
    return [sentence for sentence in sentences if sentence]


def _read_docs(source: Path | BinaryIO, options: ReadOptions) -> Iterator[_Doc]:
    """Yields the documents of a source.

    Raises:
        ConfigError: spaCy is not installed.
        DataError: the source is not a DocBin, is damaged or too large.
    """
    with convert_errors(options.name):
        content = read_content(read_data(source, options.name))
        tokens = _split_arrays(content)
    names = spacy_library.number_strings(content.strings)
    for number, (values, spaces) in enumerate(tokens):
        attributes = {name: column.tolist() for name, column in values.items()}
        words = [names.get(word, "") for word in attributes["ORTH"]]
        if not all(words):
            raise DataError(f"{options.name}, document {number + 1}: a token is empty, or its text is not in the file")
        has_groups = number < len(content.groups) and content.groups[number]
        yield _Doc(words, spaces, attributes, names, has_groups)


@contextmanager
def convert_errors(name: str) -> Iterator[None]:
    """Converts the errors of a damaged file within the block.

    Raises:
        DataError: the file is not a DocBin, is damaged or too large.
    """
    try:
        yield
    except (ValueError, zlib.error) as error:
        raise DataError(f"{name}: cannot be read as a DocBin of spaCy: {shorten(str(error), 200)}") from error


def read_data(source: Path | BinaryIO, name: str) -> bytes:
    """Returns the MessagePack data of a DocBin.

    Raises:
        ValueError: the source is too large or incomplete.
    """
    with line_reader.open_decompressed(source, name) as stream:
        return _decompress(stream.read(MAX_BYTES + 1))


def _decompress(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    content = decompressor.decompress(data, MAX_BYTES)
    if decompressor.unconsumed_tail or len(data) > MAX_BYTES:
        raise ValueError(f"over {line_reader.format_size(MAX_BYTES)}; store its documents in several files")
    if not decompressor.eof:
        raise ValueError("the file is incomplete")
    return content


class Content(NamedTuple):
    """The parts of a DocBin that are read.

    `unknown_spaces` and `groups` say for each document whether its spaces are unknown, and whether it has span groups.
    """

    attributes: list[int]
    tokens: bytes
    spaces: bytes
    lengths: bytes
    strings: list[str]
    unknown_spaces: list[bool]
    groups: list[bool]

    @property
    def doc_lengths(self) -> list[int]:
        """The number of tokens of each document."""
        lengths: list[int] = np.frombuffer(self.lengths, "<i4").tolist()
        return lengths


def read_content(data: bytes) -> Content:
    """Returns the parts of a DocBin.

    Raises:
        ValueError: the data is not a DocBin.
    """
    reader = Reader(data)
    parts: dict[str, object] = {"unknown_spaces": [], "groups": []}
    for _ in range(reader.read_size("map")):
        name = reader.read()
        if name in ("tokens", "spaces", "lengths"):
            parts[str(name)] = _check_type(reader.read(), bytes, name)
        elif name == "attrs":
            parts["attributes"] = [_check_type(reader.read(), int, name) for _ in range(reader.read_size("list"))]
        elif name == "strings":
            parts["strings"] = [_check_type(reader.read(), str, name) for _ in range(reader.read_size("list"))]
        elif name == "flags":
            parts["unknown_spaces"] = [_read_flags(reader) for _ in range(reader.read_size("list"))]
        elif name == "span_groups":
            parts["groups"] = [reader.read() not in _EMPTY_GROUPS for _ in range(reader.read_size("list"))]
        else:
            reader.skip()  # user data and categories of texts
    missing = [name for name in Content._fields if name not in parts]
    if missing or not reader.is_at_end:
        raise ValueError(f"it has no {', '.join(missing)}" if missing else "it has data after its end")
    return Content(**parts)  # type: ignore[arg-type]


def _check_type(value: object, kind: type[_Value], name: object) -> _Value:
    if type(value) is not kind:
        raise ValueError(f"expected {kind.__name__} in {name!r}, found {shorten(repr(value))}")
    return value


def _read_flags(reader: Reader) -> bool:
    flags = {reader.read(): reader.read() for _ in range(reader.read_size("map"))}
    return flags.get("has_unknown_spaces") is True


def _split_arrays(content: Content) -> Iterator[tuple[dict[str, NDArray[np.uint64]], list[bool]]]:
    """Returns for each document the columns of its attributes, and whether a space follows each token.

    Raises:
        ValueError: the sizes of the arrays do not fit each other.
    """
    count = len(content.attributes)
    lengths, spaces = np.frombuffer(content.lengths, "<i4"), np.frombuffer(content.spaces, np.bool_)
    total = int(lengths.sum(dtype=np.int64))
    if (lengths < 0).any() or len(spaces) != total or len(content.tokens) != 8 * count * total:
        raise ValueError(f"expected {total} tokens with {count} attributes, found {len(content.tokens)} bytes")
    known = spacy_library.number_attributes()
    names = [known.get(number, "") for number in content.attributes]
    if "ORTH" not in names:
        raise ValueError("its tokens have no texts (ORTH)")
    columns = np.frombuffer(content.tokens, "<u8").reshape(total, count)
    return _slice_arrays({name: columns[:, names.index(name)] for name in _READ if name in names}, spaces, content)


def _slice_arrays(
    columns: dict[str, NDArray[np.uint64]], spaces: NDArray[np.bool_], content: Content
) -> Iterator[tuple[dict[str, NDArray[np.uint64]], list[bool]]]:
    start = 0
    for number, length in enumerate(content.doc_lengths):
        end = start + length
        is_unknown = number < len(content.unknown_spaces) and content.unknown_spaces[number]
        yield (
            {name: column[start:end] for name, column in columns.items()},
            [True] * length if is_unknown else spaces[start:end].tolist(),
        )
        start = end
