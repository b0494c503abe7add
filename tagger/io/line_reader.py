"""Reads text files line by line and decompresses gzip, zstd, xz and bzip2."""

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO, RawIOBase, StringIO
from itertools import chain, count
from pathlib import Path, PurePath
from stat import S_ISREG
from typing import BinaryIO, NamedTuple, Protocol, Self, TypeVar

import zstandard

from tagger.errors import CorruptError, DataError, TruncatedError

_AnyPath = TypeVar("_AnyPath", bound=PurePath)

_BLOCK_BYTES = 1 << 20  # read at once
MAX_RECORD_BYTES = 1 << 23
"""Default limit of one record: a line without its line end, a sentence of a corpus, a row of a table.

A complete record is held in memory. While it is tagged, it takes up to about 350 times its size.
"""
MAX_REJECT_BYTES = 1000
"""The bytes of a rejected record that is too long that the reject keeps."""
LONG_LINE_ADVICE = "expected one sentence, row or paragraph; raise `max_record_bytes` to read it"
"""The end of the message about a line that is too long."""
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # the start of the first block, and the end of an empty member
_XZ_MEMORY = 1 << 28  # bytes for the xz decoder; xz -9 needs 65 MiB, a hostile header requests 4 GiB
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

RejectLine = Callable[[str, int, str], str | None]


class Unreadable(str):
    """A line that cannot be decoded, with its fault; as `reject` of `read_lines`, it yields such lines in order."""

    fault: str

    def __new__(cls, fault: str, line: int, raw: str) -> Self:  # noqa: D102  # the class docstring covers it
        text = super().__new__(cls, raw)
        text.fault = fault
        return text


class BlockEnd(str):
    """A blank line that ends its block at once, because the next line may arrive much later."""

    __slots__ = ()


class LineRun(NamedTuple):
    """Consecutive lines of a source with their line ends, and the number of the first one."""

    first: int
    lines: list[str]


class _Block(NamedTuple):
    """Complete lines. `first_is_long`: the first line is over the limit, and `data` lacks a part of it."""

    data: bytes
    first_is_long: bool


class _Decompressor(Protocol):
    """The common interface of zlib, zstandard and lzma: decompresses one member of a file with one or more."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Compression:
    """A compression format.

    Attributes:
        name: the name in messages.
        suffix: the suffix of file names.
        magics: the possible first bytes of a file.
        decompressor: returns a decompressor for one member.
        padded: whether zeros may follow a member.
        chunk_bytes: compressed bytes to decompress at once; at the best compression they hold up to 100 MB.
    """

    name: str
    suffix: str
    magics: tuple[bytes, ...]
    decompressor: Callable[[], _Decompressor]
    padded: bool = True
    chunk_bytes: int = 1 << 10


_COMPRESSIONS = (
    _Compression("gzip", ".gz", (b"\x1f\x8b",), lambda: zlib.decompressobj(wbits=31)),
    _Compression(
        "zstd", ".zst", (b"\x28\xb5\x2f\xfd",), lambda: zstandard.ZstdDecompressor().decompressobj(), padded=False
    ),
    _Compression("xz", ".xz", (b"\xfd7zXZ\0",), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)),
    _Compression(
        "bzip2",
        ".bz2",
        tuple(b"BZh%d%b" % (level, block) for level in range(1, 10) for block in _BZIP2_BLOCKS),
        bz2.BZ2Decompressor,
        padded=False,
        chunk_bytes=64,  # a block of 40 bytes may hold 46 MB
    ),
)
COMPRESSED_SUFFIXES = tuple(compression.suffix for compression in _COMPRESSIONS)


def strip_compression_suffix(path: _AnyPath) -> _AnyPath:
    """Returns a path without the suffix of its compression format."""
    return path.with_suffix("") if path.suffix in COMPRESSED_SUFFIXES else path


def format_size(size: int) -> str:
    """Returns a number of bytes for a message.

    >>> format_size(8 << 20), format_size(1000)
    ('8 MiB', '1,000 bytes')
    """
    return f"{size >> 20} MiB" if size and size % (1 << 20) == 0 else f"{size:,} bytes"


def read_lines(
    source: Path | BinaryIO,
    name: str | None = None,
    reject: RejectLine | None = None,
    *,
    first: int = 1,
    max_record_bytes: int = MAX_RECORD_BYTES,
    decompress: bool = True,
) -> Iterator[tuple[int, str]]:
    r"""Yields each line's number and its text with its line end; decompresses the input as `open_decompressed` does.

    Only \n ends a line, no other separator of Unicode. A byte-order mark remains in the first line, so that the text
    can be written back unchanged. Lines from a pipe are yielded as soon as they arrive.

    Args:
        source: a file, or a stream that is read to its end.
        name: the name of the source in errors.
        reject: is called for a line that is not UTF-8, has a NUL or is too long, with the fault, the line number and
            the text, or its beginning; lone surrogates encode undecodable bytes. The result, if not None, is yielded
            instead of the line.
        first: the number of the first line; a stream that starts after line 1 is not decompressed.
        max_record_bytes: maximum size of a line without its line end; a longer line is never completely in memory.
        decompress: False if the stream is decompressed already.

    Raises:
        TruncatedError: the source is missing or cannot be read to its end, after the lines before that.
        CorruptError: the source is compressed and damaged or incomplete, or a file that changes while it is read. The
            lines before may be wrong: none of them may be used.
        DataError: without `reject`, a line is not UTF-8, has a NUL or is too long; the error names file, line and
            byte.
    """
    return number_lines(
        read_runs(source, name, reject, first=first, max_record_bytes=max_record_bytes, decompress=decompress)
    )


def number_lines(runs: Iterable[LineRun]) -> Iterator[tuple[int, str]]:
    """Yields the lines of runs with their numbers."""
    return chain.from_iterable(zip(count(run.first), run.lines) for run in runs)


def read_runs(
    source: Path | BinaryIO,
    name: str | None = None,
    reject: RejectLine | None = None,
    *,
    first: int = 1,
    max_record_bytes: int = MAX_RECORD_BYTES,
    decompress: bool = True,
) -> Iterator[LineRun]:
    """Yields the lines of `read_lines` in runs, each as soon as it arrives; arguments and errors are the same.

    A line that `reject` returns is a run by itself.
    """
    name = name or _source_name(source)
    opened = open_decompressed(source, name, decompress=decompress and first == 1)
    return chain.from_iterable(_read_checked(opened, name, reject, first, max_record_bytes))


def _read_checked(
    opened: AbstractContextManager["BufferedReader[ChunkStream]"],
    name: str,
    reject: RejectLine | None,
    first: int,
    limit: int,
) -> Iterator[Iterable[LineRun]]:
    number = first
    try:
        with opened as stream:
            for block in _read_blocks(stream, limit):
                text = _decode(block)
                yield (
                    _check_lines(block, number, name, reject, limit)
                    if text is None
                    else [LineRun(number, _split_lines(text))]
                )
                number += block.data.count(b"\n")
    except CorruptError as error:
        if number == first:
            raise
        raise CorruptError(f"{error}; the lines before it, up to {number - 1}, are not reliable either") from error
    except DataError as error:  # of the stream; faults of lines are raised when the caller takes the line
        raise TruncatedError(str(error), number - 1) from error


def _read_blocks(stream: "BufferedReader[ChunkStream]", limit: int) -> Iterator[_Block]:
    """Yields the content of a stream in blocks, each as soon as it arrives; only the first line may be too long."""
    chunks: list[bytes] = []  # of an incomplete line
    size = 0
    while data := stream.read1(min(_BLOCK_BYTES, limit)):
        complete, end, rest = data.rpartition(b"\n")
        if end:
            yield _Block(b"".join((*chunks, complete, end)), size + data.index(b"\n") > limit)
            chunks, size = [], 0
        size += len(rest)
        chunks.append(rest)
        if size > limit:
            del chunks[2:]
    if size:
        yield _Block(b"".join(chunks), size > limit)


def _decode(block: _Block) -> str | None:
    """Returns the text of a block, None if a line has a fault."""
    try:
        return None if block.first_is_long or b"\0" in block.data else block.data.decode()
    except UnicodeDecodeError:
        return None


def _split_lines(text: str) -> list[str]:
    lines = text.splitlines(keepends=True)  # faster, but it also splits at other separators
    return lines if len(lines) == text.count("\n") else list(StringIO(text, newline="\n"))


def _check_lines(block: _Block, first: int, name: str, reject: RejectLine | None, limit: int) -> Iterator[LineRun]:
    for number, raw in enumerate(BytesIO(block.data), first):
        fault = _find_fault(raw, number)
        if block.first_is_long and number == first:
            fault = f"a line of over {format_size(limit)}; {LONG_LINE_ADVICE}"
            raw = raw[:MAX_REJECT_BYTES] + b"\n" * raw.endswith(b"\n")
        text = None if fault else raw.decode()
        if fault and reject is None:
            raise DataError(f"{name}:{number}: {fault}")
        if fault and reject is not None:
            text = reject(f"{name}:{number}: {fault}", number, raw.decode(errors="surrogateescape"))
        if text is not None:
            yield LineRun(number, [text])


def _find_fault(raw: bytes, number: int) -> str | None:
    if b"\0" in raw or (number == 1 and raw.startswith(_UTF16)):
        kind = "a UTF-16 mark" if raw.startswith(_UTF16) else "a NUL"
        byte = 1 if raw.startswith(_UTF16) else raw.index(b"\0") + 1
        return f"byte {byte} is {kind}; expected text in UTF-8, convert the file first"
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        byte_text = f"byte {error.start + 1} is 0x{raw[error.start]:02x}"
        return f"{byte_text}, which is not UTF-8; is the file in Latin-1 or CP1252?"
    return None


@contextmanager
def open_decompressed(
    source: Path | BinaryIO, name: str | None = None, *, decompress: bool = True
) -> Iterator["BufferedReader[ChunkStream]"]:
    """Opens a file or stream for sequential reading; decompresses all members of gzip, zstd, xz and bzip2.

    The suffix .gz, .zst, .xz or .bz2 of the path or name selects the compression format, else the first bytes do.

    Args:
        source: a file, or a stream that is read to its end.
        name: the name of the source in errors.
        decompress: False if the source starts within a file, which then is not compressed.

    Raises:
        DataError: the source is missing, or reading it fails.
        CorruptError: while reading: the source is compressed and damaged or incomplete, or a regular file has another
            size or modification time at its end than when it was opened.
    """
    name = name or _source_name(source)
    suffix = source.suffix if isinstance(source, Path) else Path(name).suffix
    with _open_binary(source, name) as stream:
        chunks = _read_decompressed(stream, name, suffix) if decompress else _read(stream, name)
        with BufferedReader(ChunkStream(chunks), 1 << 16) as reader:
            yield reader


@contextmanager
def _open_binary(source: Path | BinaryIO, name: str) -> Iterator[BinaryIO]:
    if not isinstance(source, Path):
        yield source
        return
    try:
        stream = source.open("rb")
    except OSError as error:
        raise DataError(f"{name}: {_reason(error)}") from error
    with stream:
        yield stream


class ChunkStream(RawIOBase):
    """A stream over chunks of bytes; each is available as soon as it arrives."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._remaining = memoryview(b"")

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # only BufferedReader calls it
        """Reads available bytes into a buffer; returns their number, 0 at the end."""
        if not self._remaining:
            self._remaining = memoryview(next(self._chunks, b""))
        data, self._remaining = self._remaining[: len(buffer)], self._remaining[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _read_decompressed(stream: BinaryIO, name: str, suffix: str) -> Iterator[bytes]:
    """Yields the content of a stream in chunks, none of them empty, decompressed if it is compressed."""
    chunks = _read(stream, name)
    head = b""
    for chunk in chunks:
        head += chunk
        # A pipe may deliver single bytes.
        if not any(magic.startswith(head) for compression in _COMPRESSIONS for magic in compression.magics):
            break
    if compression := _find_compression(head, suffix):
        yield from _decompress(chain([head], chunks), compression, name)
    else:
        yield from filter(None, chain([head], chunks))


def is_compressed(name: str, head: bytes) -> bool:
    """Returns whether a file with a name and first bytes is compressed."""
    return _find_compression(head, Path(name).suffix) is not None


def _find_compression(head: bytes, suffix: str) -> _Compression | None:
    for compression in _COMPRESSIONS:
        if compression.suffix == suffix or (head.startswith(compression.magics) and suffix not in COMPRESSED_SUFFIXES):
            return compression
    return None


def _read(stream: BinaryIO, name: str) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)  # read1 returns what has arrived
    with check_unchanged(stream, name):
        try:
            while chunk := read(_BLOCK_BYTES):
                yield chunk
        except OSError as error:
            raise DataError(f"{name}: {_reason(error)}") from error


@contextmanager
def check_unchanged(stream: BinaryIO, name: str) -> Iterator[None]:
    """Checks that a regular file has the same size and modification time before and after the block.

    Raises:
        CorruptError: they differ.
    """
    before = _read_status(stream)
    yield
    if before is not None and (after := _read_status(stream)) != before:
        sizes = "" if after is None or after[0] == before[0] else f" (it had {before[0]:,} bytes, now {after[0]:,})"
        raise CorruptError(f"{name}: changed while it was read{sizes}; try again when no process writes to it")


def _read_status(stream: BinaryIO) -> tuple[int, int] | None:
    """Returns size and modification time of a regular file, None for anything else."""
    try:
        status = os.fstat(stream.fileno())
    except (AttributeError, OSError):
        return None
    return (status.st_size, status.st_mtime_ns) if S_ISREG(status.st_mode) else None


def _decompress(chunks: Iterable[bytes], compression: _Compression, name: str) -> Iterator[bytes]:
    """Yields decompressed chunks. Damage may appear only at a member's end: chunks before it are not reliable."""
    decompressor = compression.decompressor()
    smaller = (
        chunk[start : start + compression.chunk_bytes]
        for chunk in chunks
        for start in range(0, len(chunk), compression.chunk_bytes)
    )
    try:
        for chunk in smaller:
            remaining = chunk
            while remaining:
                if decompressor.eof:
                    if compression.padded and not (remaining := remaining.lstrip(b"\0")):
                        break
                    decompressor = compression.decompressor()
                if data := decompressor.decompress(remaining):
                    yield data
                remaining = decompressor.unused_data
    except (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError) as error:  # bzip2 raises OSError
        raise CorruptError(f"{name}: damaged {compression.name} file: {error}") from error
    except DataError as error:  # of the stream, within a member
        raise CorruptError(str(error)) from error
    if not decompressor.eof:
        raise CorruptError(
            f"{name}: damaged {compression.name} file: Compressed file ended before its end mark was reached"
        )


def _source_name(source: Path | BinaryIO) -> str:
    return str(source) if isinstance(source, Path) else "standard input"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
