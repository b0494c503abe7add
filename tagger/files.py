"""Files that are read line by line, and files and directories that are written whole or not at all."""

import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from tagger.errors import CheckpointError, DataError

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def lines(source: Path | BinaryIO, name: str | None = None) -> Iterator[tuple[int, str]]:
    r"""Yields each line's number, from 1, and its text with its line end; `name` stands for the source in errors.

    A line ends with \n, never with another of Unicode's separators. A path that ends in .gz is unpacked. A byte-order
    mark stays in the first line, so that what was read can be written back.

    Raises:
        DataError: the file is missing, damaged, not UTF-8 or holds a NUL; the error names file, line and byte.
    """
    if isinstance(source, Path):
        with _opened(source) as stream:
            yield from lines(stream, name or str(source))
        return
    name = name or "standard input"
    for number, raw in enumerate(_unpacked(source, name), 1):
        yield number, _decoded(raw, name, number)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        stream = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115  # closed below
    except OSError as error:
        raise DataError(f"{path}: {_reason(error)}") from error
    with stream:
        yield stream  # type: ignore[misc]  # GzipFile reads as a BinaryIO does


def _unpacked(stream: Iterable[bytes], name: str) -> Iterator[bytes]:
    try:
        yield from stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{name}: damaged gzip file: {error}") from error
    except IsADirectoryError as error:
        raise DataError(f"{name}: is a directory, expected a file") from error


def _decoded(raw: bytes, name: str, number: int) -> str:
    if b"\0" in raw or (number == 1 and raw.startswith(_UTF16)):
        kind = "a UTF-16 mark" if raw.startswith(_UTF16) else "a NUL"
        byte = 1 if raw.startswith(_UTF16) else raw.index(b"\0") + 1
        raise DataError(f"{name}:{number}: byte {byte} is {kind}; expected text in UTF-8, convert the file first")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} is 0x{raw[error.start]:02x}"
        raise DataError(f"{name}:{number}: {found}, which is not UTF-8; is the file in Latin-1 or CP1252?") from error


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turns a fault of the system within the block, such as a full disk, into one line that names the place.

    Raises:
        CheckpointError: there was one.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{place}: cannot be written: {error.strerror or error}") from error


def write(path: Path, data: bytes) -> None:
    """Writes a new file and waits until it is on the disk."""
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def extend(path: Path, data: bytes, at: int) -> None:
    """Writes data into a file, which need not be there yet, in place of all that stood from the byte `at` on."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    with os.fdopen(handle, "wb", buffering=0) as stream:
        stream.truncate(at)
        stream.seek(at)
        left = memoryview(data)
        while left:
            left = left[stream.write(left) :]


def replace(path: Path, data: bytes) -> None:
    """Gives a file new content such that a reader, or a crash, meets the old or the new and no mixture."""
    with atomic_file(path) as stream:
        stream.write(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a new file that takes the name `path`, replacing what is there, when the block ends without an error."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), 0o666 & ~_umask())
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yields a new directory to fill; when the block ends without an error it takes the name `path`.

    What stood there before goes aside under the name that `settled` knows, and is removed last: a crash at any moment
    leaves the old directory whole or the new one.
    """
    tidy(path)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent))
    try:
        yield fresh
        fresh.chmod(0o777 & ~_umask())
        sync(fresh)
        aside = _aside(path)
        if path.exists():
            path.rename(aside)
        try:
            fresh.rename(path)
        except BaseException:
            if aside.exists():
                aside.rename(path)
            raise
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    sync(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def settled(path: Path) -> Path:
    """Returns where the directory `path` is: under its name, or set aside if a crash fell within its replacement."""
    return _aside(path) if not path.exists() and _aside(path).exists() else path


def tidy(path: Path) -> None:
    """Puts back a directory that a crash left aside and removes what unfinished writes of it left behind."""
    if settled(path) != path:
        _aside(path).rename(path)
    shutil.rmtree(_aside(path), ignore_errors=True)
    for left in path.parent.glob(f".{path.name}.*.new"):
        shutil.rmtree(left, ignore_errors=True)


def recover(directory: Path) -> None:
    """Puts back and removes, as `tidy`, what crashes left in a directory; only its sole writer may call it."""
    for aside in directory.glob(".*.old"):
        tidy(aside.with_name(aside.name[1:].removesuffix(".old")))
    for left in directory.glob(".*.new"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink()


@contextmanager
def sole_writer(directory: Path, *, traceless: bool = False) -> Iterator[None]:
    """Holds a directory for one writer at a time; `traceless` takes the lock's file away at the end.

    Raises:
        CheckpointError: another process holds it, or it cannot be written.
    """
    lock = FileLock(directory / ".lock")
    with writing(directory):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:  # an OSError too
            raise CheckpointError(f"{directory}: another process is writing here") from error
    try:
        yield
    finally:
        try:
            if traceless:  # while it is held: FileLock sees that a file it waited for is gone
                (directory / ".lock").unlink(missing_ok=True)
        finally:
            lock.release()


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
