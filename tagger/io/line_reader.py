"""Files that are read line by line, whatever packs them."""

import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO, RawIOBase, StringIO
from itertools import chain, count
from pathlib import Path, PurePath
from stat import S_ISREG
from typing import BinaryIO, NamedTuple, Protocol, Self, TypeVar

import zstandard

from tagger.errors import CorruptError, DataError, TruncatedError

_AnyPath = TypeVar("_AnyPath", bound=PurePath)

# Bytes that are asked for at once.
_BLOCK = 1 << 20
MAX_RECORD_BYTES = 1 << 23
"""Default limit of one record: a line without its line end, a sentence of a corpus, a row of a table.

A record is held in memory as a whole. The worst content takes some 350 times its bytes until it is tagged.
"""
SHOWN_BYTES = 1000
"""Bytes of a longer record that a reject holds."""
# Packed bytes that are unpacked at once: however well they are packed, they hold some 32 MB at most.
_PACKED_PIECE = 1 << 10
_XZ_MEMORY = 1 << 28  # bytes of an xz decoder; xz -9 needs 65 MiB, a hostile header asks for 4 GiB
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Refuse = Callable[[str, int, str], str | None]


class Unreadable(str):
    """A line that could not be decoded, with its fault; as the `reject` of `lines`, it keeps such lines in place."""

    fault: str

    def __new__(cls, fault: str, line: int, raw: str) -> Self:  # noqa: D102  # the class docstring covers it
        found = super().__new__(cls, raw)
        found.fault = fault
        return found


class _Block(NamedTuple):
    """Whole lines, and whether the first of them is too long; of such a line a part is left out."""

    data: bytes
    long: bool


class _Unpacker(Protocol):
    """What zlib, zstandard and lzma have in common: it unpacks one member of a file, which may have several."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Packing:
    """A format of packed files: its name, suffix and first bytes, its unpacker, and whether zeros may follow."""

    name: str
    suffix: str
    magic: bytes
    unpacker: Callable[[], _Unpacker]
    padded: bool = True


_PACKINGS = (
    _Packing("gzip", ".gz", b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    _Packing("zstd", ".zst", b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor().decompressobj(), padded=False),
    _Packing("xz", ".xz", b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)),
)
PACKED_SUFFIXES = tuple(packing.suffix for packing in _PACKINGS)


def bare_name(path: _AnyPath) -> _AnyPath:
    """Returns a path without the suffix that tells how the file is packed."""
    return path.with_suffix("") if path.suffix in PACKED_SUFFIXES else path


def size_text(size: int) -> str:
    """Returns a number of bytes for a message.

    >>> size_text(8 << 20), size_text(1000)
    ('8 MiB', '1,000 bytes')
    """
    return f"{size >> 20} MiB" if size and size % (1 << 20) == 0 else f"{size:,} bytes"


def lines(
    source: Path | BinaryIO,
    name: str | None = None,
    reject: Refuse | None = None,
    *,
    first: int = 1,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Iterator[tuple[int, str]]:
    r"""Yields each line's number and its text with its line end; packed input is unpacked, as in `opened`.

    A line ends with \n, never with another of Unicode's separators. A byte-order mark stays in the first line, so that
    what was read can be written back. What a pipe delivers comes at once.

    Args:
        source: a file, or a stream that is read to its end.
        name: stands for the source in errors.
        reject: takes the fault of a line that is not UTF-8, holds a NUL or is too long, its number, and
            its text, or the beginning of it, in which lone surrogates stand for the bytes that are none; what it
            returns, if not None, comes in the line's place.
        first: the number of the first line; a stream that begins at a later line than 1 is not packed.
        max_record_bytes: limit of a line without its line end; a longer line is not held in memory.

    Raises:
        TruncatedError: the source is missing or cannot be read to its end, after the lines before that.
        CorruptError: it is packed and damaged or unfinished, or it is a file that changes while it is read. The lines
            before may be other than those that were stored: none of them may be used.
        DataError: without `reject`, a line is not UTF-8, holds a NUL or is too long; the error names file, line and
            byte.
    """
    return chain.from_iterable(_numbered(source, name or _name(source), reject, first, max_record_bytes))


def _numbered(
    source: Path | BinaryIO, name: str, reject: Refuse | None, first: int, limit: int
) -> Iterator[Iterable[tuple[int, str]]]:
    number = first
    try:
        with opened(source, name, whole=first == 1) as stream:
            for block in _blocks(stream, limit):
                text = _decoded(block)
                yield _checked(block, number, name, reject, limit) if text is None else zip(count(number), _split(text))
                number += block.data.count(b"\n")
    except CorruptError as error:
        if number == first:
            raise
        raise CorruptError(f"{error}; nor can the lines before, up to {number - 1}, be trusted") from error
    except DataError as error:  # of the stream: those of lines are raised where these are asked for
        raise TruncatedError(str(error), number - 1) from error


def _blocks(stream: "BufferedReader[_Pieces]", limit: int) -> Iterator[_Block]:
    """Yields the content of a stream in blocks, each as soon as it is there; only the first line may be too long."""
    pieces: list[bytes] = []  # of a line
    size = 0
    while data := stream.read1(min(_BLOCK, limit)):
        whole, end, rest = data.rpartition(b"\n")
        if end:
            yield _Block(b"".join((*pieces, whole, end)), size + data.index(b"\n") > limit)
            pieces, size = [], 0
        size += len(rest)
        pieces.append(rest)
        if size > limit:
            del pieces[2:]
    if size:
        yield _Block(b"".join(pieces), size > limit)


def _decoded(block: _Block) -> str | None:
    """Returns the text of a block, None if a line of it is faulty."""
    try:
        return None if block.long or b"\0" in block.data else block.data.decode()
    except UnicodeDecodeError:
        return None


def _split(text: str) -> Iterable[str]:
    found = text.splitlines(keepends=True)  # which knows more line ends than the one that counts here
    return found if len(found) == text.count("\n") else StringIO(text, newline="\n")


def _checked(block: _Block, first: int, name: str, reject: Refuse | None, limit: int) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(BytesIO(block.data), first):
        fault = _fault(raw, number)
        if block.long and number == first:
            expected = "expected one sentence, row or paragraph; raise `max_record_bytes` to read it"
            fault = f"a line of over {size_text(limit)}; {expected}"
            raw = raw[:SHOWN_BYTES] + b"\n" * raw.endswith(b"\n")
        text = None if fault else raw.decode()
        if fault and reject is None:
            raise DataError(f"{name}:{number}: {fault}")
        if fault and reject is not None:
            text = reject(f"{name}:{number}: {fault}", number, raw.decode(errors="surrogateescape"))
        if text is not None:
            yield number, text


def _fault(raw: bytes, number: int) -> str | None:
    if b"\0" in raw or (number == 1 and raw.startswith(_UTF16)):
        kind = "a UTF-16 mark" if raw.startswith(_UTF16) else "a NUL"
        byte = 1 if raw.startswith(_UTF16) else raw.index(b"\0") + 1
        return f"byte {byte} is {kind}; expected text in UTF-8, convert the file first"
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} is 0x{raw[error.start]:02x}"
        return f"{found}, which is not UTF-8; is the file in Latin-1 or CP1252?"
    return None


@contextmanager
def opened(
    source: Path | BinaryIO, name: str | None = None, *, whole: bool = True
) -> Iterator["BufferedReader[_Pieces]"]:
    """Opens a file, or takes a stream, to be read forward; all members of what gzip, zstd or xz packed are unpacked.

    The suffixes .gz, .zst and .xz of a path, or of a stream's name, tell that it is packed, else its first bytes do.

    Args:
        source: a file, or a stream that is read to its end.
        name: stands for the source in errors.
        whole: whether the source begins where the file does; else nothing is unpacked.

    Raises:
        DataError: it is missing or, when it is read, the system reports a fault.
        CorruptError: when it is read, it is packed and damaged or unfinished; or, at its end, a regular file has
            another size or time of change than when it was opened.
    """
    name = name or _name(source)
    suffix = source.suffix if isinstance(source, Path) else Path(name).suffix
    with _binary(source, name) as stream:
        pieces = _content(stream, name, suffix) if whole else _read(stream, name)
        with BufferedReader(_Pieces(pieces), 1 << 16) as reader:
            yield reader


@contextmanager
def _binary(source: Path | BinaryIO, name: str) -> Iterator[BinaryIO]:
    if not isinstance(source, Path):
        yield source
        return
    try:
        stream = source.open("rb")
    except OSError as error:
        raise DataError(f"{name}: {_reason(error)}") from error
    with stream:
        yield stream


class _Pieces(RawIOBase):
    """Pieces of bytes as a stream, each to be had as soon as it is there."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # called by BufferedReader alone
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        given, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)


def _content(stream: BinaryIO, name: str, suffix: str) -> Iterator[bytes]:
    """Yields the content of a stream in pieces, none of them empty, unpacked if it is packed."""
    pieces = _read(stream, name)
    head = b""
    for piece in pieces:
        head += piece
        # A pipe may deliver the first bytes one by one.
        if not any(packing.magic.startswith(head) for packing in _PACKINGS):
            break
    if packing := _packing(head, suffix):
        yield from _unpacked(chain([head], pieces), packing, name)
    else:
        yield from filter(None, chain([head], pieces))


def is_packed(name: str, head: bytes) -> bool:
    """Tells whether a file of a name that begins with some bytes is packed."""
    return _packing(head, Path(name).suffix) is not None


def _packing(head: bytes, suffix: str) -> _Packing | None:
    for packing in _PACKINGS:
        if packing.suffix == suffix or (head.startswith(packing.magic) and suffix not in PACKED_SUFFIXES):
            return packing
    return None


def _read(stream: BinaryIO, name: str) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)  # read1 does not wait until there is as much as was asked for
    with unchanged(stream, name):
        try:
            while piece := read(_BLOCK):
                yield piece
        except OSError as error:
            raise DataError(f"{name}: {_reason(error)}") from error


@contextmanager
def unchanged(stream: BinaryIO, name: str) -> Iterator[None]:
    """Compares size and time of change of a regular file before and after the block, if that ends without an error.

    Raises:
        CorruptError: they differ.
    """
    before = _state(stream)
    yield
    if before is not None and (after := _state(stream)) != before:
        sizes = "" if after is None or after[0] == before[0] else f" (it had {before[0]:,} bytes, now {after[0]:,})"
        raise CorruptError(f"{name}: changed while it was read{sizes}; try again when nothing writes to it")


def _state(stream: BinaryIO) -> tuple[int, int] | None:
    """Returns size and time of change of a regular file, None of anything else."""
    try:
        found = os.fstat(stream.fileno())
    except (AttributeError, OSError):
        return None
    return (found.st_size, found.st_mtime_ns) if S_ISREG(found.st_mode) else None


def _unpacked(pieces: Iterable[bytes], packing: _Packing, name: str) -> Iterator[bytes]:
    """Yields unpacked pieces. Damage may show only at a member's end, or as a missing end: nothing before is safe."""
    unpacker = packing.unpacker()
    smaller = (
        piece[start : start + _PACKED_PIECE] for piece in pieces for start in range(0, len(piece), _PACKED_PIECE)
    )
    try:
        for piece in smaller:
            left = piece
            while left:
                if unpacker.eof:
                    if packing.padded and not (left := left.lstrip(b"\0")):
                        break
                    unpacker = packing.unpacker()
                if found := unpacker.decompress(left):
                    yield found
                left = unpacker.unused_data
    except (zlib.error, zstandard.ZstdError, lzma.LZMAError) as error:
        raise CorruptError(f"{name}: damaged {packing.name} file: {error}") from error
    except DataError as error:  # of the stream, within a member
        raise CorruptError(str(error)) from error
    if not unpacker.eof:
        raise CorruptError(
            f"{name}: damaged {packing.name} file: Compressed file ended before its end mark was reached"
        )


def _name(source: Path | BinaryIO) -> str:
    return str(source) if isinstance(source, Path) else "standard input"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
