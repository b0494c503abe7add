"""Reads files of pretrained word vectors: text tables as of GloVe and fastText, and binary files of word2vec.

A file may be compressed, or be a member of a zip archive: `glove.6B.zip:glove.6B.100d.txt`.
"""

import codecs
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tagger.data.vectors import Table
from tagger.errors import DataError
from tagger.io import line_reader, zip_archive

Vector = NDArray[np.float32]
_Stream: TypeAlias = "BufferedReader[line_reader.ChunkStream]"
MAX_DIM = 4096
"""The largest number of values per word. A file that promises more is damaged or hostile."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SUFFIXES = (".txt", ".vec", ".bin")
_HEAD_BYTES = 1 << 16
_MAX_LINE_BYTES = 1 << 20
_MAX_WORD_BYTES = 1 << 12  # of a binary file
_PROBE_LINES = 100  # read to find the dimension of a table without a header
_HEADER = re.compile(r"(\d{1,15})[ \t](\d{1,9})\s*", re.ASCII)
_NUMBER_AT_END = re.compile(rb"[ \t][-+.0-9A-Za-z]+[ \t\r]*\Z")
_SEPARATOR = re.compile("[ \t]+")
_DECIMAL = re.compile(r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?")
_CONTROLS = bytes({*range(32)} - set(b"\t\n\v\f\r\x1c\x1d\x1e\x1f"))
_EXPECTED = "expected a word and its numbers on each line, separated by spaces or tabs"
_FOREIGN = (
    (b"\xba\x16\x4f\x2f", "a fastText .bin model, which is not read; use the .vec file"),
    *((b"\x80%c" % version, "a Python pickle, which is not read; save text, in gensim by `save_word2vec_format`")
      for version in range(2, 6)),
    (b"\x93NUMPY", "a NumPy array, which holds no words; save a line for each word"),
    (b"\x89HDF", "an HDF5 file, which is not read; save a line for each word"),
    (b"SQLite format 3", "a SQLite database, which is not read; save a line for each word"),
    (b"7z\xbc\xaf", "a 7-Zip archive; extract it first"),
    (b"Rar!\x1a", "a RAR archive; extract it first"),
    (b"PK\x03\x04", "a zip archive within another file; extract it first"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself; run `git lfs pull`"),
    (b"<!doctype html", "a web page; download the file again"),
    (b"<html", "a web page; download the file again"),
)  # fmt: skip


class _Selection:
    """The rows of a table that are kept: the wanted words, and other words up to a total number."""

    def __init__(self, wanted: Collection[str], max_frozen_words: int) -> None:
        self._wanted = frozenset(wanted)
        self._first_parts = frozenset(word.partition(" ")[0] for word in self._wanted)
        self._limit = max_frozen_words
        self._rows: dict[str, int] = {}
        self._values = array("f")

    def may_need(self, first_part: str) -> bool:
        """Returns whether a word may be needed, given its part before the first space."""
        return len(self._rows) < self._limit or first_part in self._first_parts

    def needs(self, word: str) -> bool:
        """Returns whether the row of a word is needed; of several rows the first."""
        return word not in self._rows and (len(self._rows) < self._limit or word in self._wanted)

    def add(self, word: str, vector: Vector) -> None:
        """Adds a row."""
        self._values.frombytes(vector.tobytes())
        self._rows[word] = len(self._rows)

    def table(self, dim: int) -> Table:
        """Returns the rows as a table."""
        values = np.frombuffer(self._values, np.float32) if self._rows else np.zeros(0, np.float32)
        return Table(self._rows, values.reshape(len(self._rows), dim))


def read(path: Path, *, wanted: Collection[str], max_frozen_words: int) -> Table:
    """Returns the vectors of the wanted words, and of other words up to `max_frozen_words` words in total.

    A text table may start with a line of the numbers of rows and of values. Words may contain spaces, and a tab may
    follow them. The first of several rows for a word counts. Faults in rows that are not needed may be ignored. In a
    binary file, U+FFFD replaces the bytes of a word that are not UTF-8.

    Args:
        path: a file, or ARCHIVE:MEMBER; a zip archive with one table needs no member.
        wanted: the words to read.
        max_frozen_words: the number of words up to which others are read.

    Raises:
        DataError: the file is of another kind; a row has another number of values than the table, or a value that is
            not a finite number; or the header promises another number of rows. The error names file and line.
    """
    with (
        zip_archive.open_member(path, _SUFFIXES) as (source, name),
        line_reader.open_decompressed(source, name) as stream,
    ):
        head = stream.read(_HEAD_BYTES)
        _refuse_foreign(head, name)
        chunks = chain(filter(None, [head]), iter(lambda: stream.read1(_HEAD_BYTES), b""))
        whole = BufferedReader(line_reader.ChunkStream(chunks))
        selection = _Selection(wanted, max_frozen_words)
        select = _select_binary if _is_binary_table(head) else _select_text
        return selection.table(select(whole, name, selection))


def _refuse_foreign(head: bytes, name: str) -> None:
    """Raises DataError if the first bytes of a file are those of another kind of file."""
    start = head[:32].lower()
    kind = next((kind for magic, kind in _FOREIGN if start.startswith(magic.lower())), None)
    if head[257:262] == b"ustar":
        kind = "a tar archive; extract it first"
    has_header = _HEADER.fullmatch(_first_line(head))
    is_text = head.startswith((b"\xff\xfe", b"\xfe\xff")) or _count_controls(head) <= len(head) / 50
    if kind is None and not has_header and not is_text:
        kind = f"a binary file of an unknown kind; {_EXPECTED}"
    if kind is not None:
        raise DataError(f"{name}: is {kind}")


def _is_binary_table(head: bytes) -> bool:
    """Returns whether a file starts like a binary file of word2vec: a header line, then no line of text."""
    rest = head.partition(b"\n")[2]
    if not rest or not _HEADER.fullmatch(_first_line(head)):
        return False
    row = rest.partition(b"\n")[0]
    if _NUMBER_AT_END.search(row) and not _count_controls(row):
        return False
    return _count_controls(rest) > 0 or not _is_unicode(rest)


def _is_unicode(data: bytes) -> bool:
    """Returns whether bytes are the beginning of a text in UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _first_line(head: bytes) -> str:
    return head[:64].removeprefix(_BYTE_ORDER_MARK).partition(b"\n")[0].decode(errors="replace")


def _count_controls(data: bytes) -> int:
    """Returns the number of control characters that do not belong to text."""
    return len(data) - len(data.translate(None, _CONTROLS))


def _select_text(stream: _Stream, name: str, selection: _Selection) -> int:
    """Adds the needed rows of a text table; returns its dimension."""
    lines = line_reader.read_lines(
        stream,
        name,
        _refuse_line,
        decompress=False,
        max_record_bytes=_MAX_LINE_BYTES,
    )
    head = [
        (number, line.removeprefix("\ufeff") if number == 1 else line) for number, line in islice(lines, _PROBE_LINES)
    ]
    header = _HEADER.fullmatch(head[0][1]) if head else None
    dim = int(header[2]) if header else _most_common_dim([line for _, line in head])
    _check_dim(dim, name)
    number = 1
    for number, line in chain(head[1:] if header else head, lines):
        row = line.replace("\t", " ") if "\t" in line else line
        if selection.may_need(row.partition(" ")[0]):
            # Splitting from the right preserves the spaces within a word.
            word, *values = row.rstrip("\r\n ").rsplit(" ", dim)
            word = word.rstrip(" ") or word
            if selection.needs(word):
                _check_width(word, values, dim, f"{name}:{number}")
                selection.add(word, _parse_vector(values, dim, f"{name}:{number}"))
    if header:
        _check_row_count(int(header[1]), number - 1, name)
    return dim


def _refuse_line(fault: str, _line: int, _raw: str) -> NoReturn:
    raise DataError(fault.replace(line_reader.LONG_LINE_ADVICE, _EXPECTED))


def _most_common_dim(lines: Sequence[str]) -> int:
    """Returns the number of values of most lines; words with spaces and faults have others."""
    counts = Counter(sum(map(bool, _SEPARATOR.split(line.rstrip("\r\n \t")))) - 1 for line in lines)
    return max(counts, key=lambda dim: (counts[dim], -dim), default=0)


def _check_dim(dim: int, name: str) -> None:
    if dim < 1:
        raise DataError(f"{name}: {_EXPECTED}")
    if dim > MAX_DIM:
        raise DataError(f"{name}:1: the vectors have {dim:,} numbers; at most {MAX_DIM:,} are read")


def _check_row_count(promised: int, count: int, name: str) -> None:
    if promised != count:
        advice = "is the file complete? If it is, correct its first line"
        raise DataError(f"{name}:1: the header promises {promised:,} rows, found {count:,}; {advice}")


def _check_width(word: str, values: Sequence[str], dim: int, location: str) -> None:
    """Raises DataError if a row has too few values, or so many that the last part of its word is a value."""
    count = len(values)
    if count == dim and " " in word:
        parts = word.split(" ")
        count += next((index for index, part in enumerate(reversed(parts)) if not _DECIMAL.fullmatch(part)), len(parts))
    if count != dim:
        raise DataError(f"{location}: expected {dim} numbers after the word, found {count}")


def _parse_vector(values: Sequence[str], dim: int, location: str) -> Vector:
    try:
        with np.errstate(over="ignore"):  # a value that is too large becomes infinity, see below
            vector = np.array(values, np.float32)
    except ValueError as error:
        raise DataError(f"{location}: expected {dim} numbers after the word: {error}") from error
    return _check_finite(vector, location)


def _check_finite(vector: Vector, location: str) -> Vector:
    if not np.isfinite(vector).all():
        raise DataError(f"{location}: a value is not a finite number; expected {len(vector)} finite numbers")
    return vector


def _select_binary(stream: _Stream, name: str, selection: _Selection) -> int:
    """Adds the needed rows of a binary file of word2vec; returns its dimension."""
    count, dim = map(int, stream.readline().removeprefix(_BYTE_ORDER_MARK).split())
    _check_dim(dim, name)
    number = 0
    for number, (raw_word, data) in enumerate(_read_rows(stream, 4 * dim, f"{name}: row"), 1):
        word = raw_word.lstrip(b"\r\n").decode(errors="replace")
        if selection.needs(word):
            vector = np.frombuffer(data, "<f4").astype(np.float32)
            selection.add(word, _check_finite(vector, f"{name}: row {number}, {word!r}"))
    _check_row_count(count, number, name)
    return dim


def _read_rows(stream: _Stream, size: int, label: str) -> Iterator[tuple[bytes, bytes]]:
    """Yields words and the bytes of their vectors, `size` bytes each."""
    data, start, number = b"", 0, 1
    while True:
        end = data.find(b" ", start, start + _MAX_WORD_BYTES)
        if end >= 0 and len(data) > end + size:
            yield data[start:end], data[end + 1 : end + 1 + size]
            start, number = end + 1 + size, number + 1
            continue
        if end < 0 and len(data) - start > _MAX_WORD_BYTES:
            raise DataError(f"{label} {number}: expected a word and a space, found neither in {_MAX_WORD_BYTES} bytes")
        chunk = stream.read1(_HEAD_BYTES)
        if not chunk:
            break
        data, start = data[start:] + chunk, 0
    if data[start:].strip():
        raise DataError(f"{label} {number}: the file ends within this row; it is incomplete")
