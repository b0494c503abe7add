"""Writes files completely or not at all, and never replaces a file that this toolkit did not create.

Two kinds of files have two rules:

- A file that the user names as an output (`open_output`) is replaced atomically if it is a regular file. A device, a
  FIFO or a link to one is opened and written.
- A file inside a directory of this toolkit (`replace`, `open_atomic`) is replaced atomically. A link is replaced, not
  followed.
"""

import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tagger.errors import StorageError
from tagger.io.ownership import MAX_SYMLINKS

_UNFINISHED = re.compile(r"\.tagger-[0-9a-f]{8}\.new")
_CHUNK_BYTES = 1 << 20
_STREAM_LINK = re.compile(r"/dev/(?:std(?:in|out|err)$|fd/)|/proc/")
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


@contextmanager
def wrap_os_errors(path: Path) -> Iterator[None]:
    """Turns an OSError within the block, such as a full disk, into one line that names the path.

    Raises:
        StorageError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_writable(path: Path) -> None:
    """Checks that an output can be written, even if its folder does not exist yet; leaves no trace.

    Raises:
        StorageError: the output cannot be written.
    """
    with wrap_os_errors(path):
        target = _find_replaceable(path)
        if target is None:
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        folder = next(folder for folder in Path(os.path.abspath(target)).parents if folder.exists())  # noqa: PTH100
        tempfile.TemporaryFile(dir=folder).close()


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Opens an output that the user names; creates its folder if it does not exist.

    A regular file gets its new content when the block ends without an error. A device or a FIFO is written at once.
    """
    target = _find_replaceable(path)
    if target is None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY), "wb") as stream:
            yield stream
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_atomic(target) as stream:
            yield stream


def write_output(path: Path, data: bytes) -> None:
    """Writes an output that the user names, as `open_output` does.

    Raises:
        StorageError: the output cannot be written.
    """
    with wrap_os_errors(path), open_output(path) as stream:
        stream.write(data)


def copy_output(source: Path, path: Path) -> None:
    """Copies a file to an output that the user names, as `open_output` does."""
    with source.open("rb") as content, open_output(path) as stream:
        shutil.copyfileobj(content, stream, _CHUNK_BYTES)


def _find_replaceable(path: Path) -> Path | None:
    """Returns the regular file or the free name that a path leads to; None for a device, a FIFO or a link to one.

    A link to an open file, such as /dev/stdout, is never replaced.

    Raises:
        IsADirectoryError: the path leads to a directory.
    """
    for _ in range(MAX_SYMLINKS):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return path
        if stat.S_ISLNK(mode) and _STREAM_LINK.match(os.path.abspath(path)):  # noqa: PTH100
            return None
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISLNK(mode):
            return path if stat.S_ISREG(mode) else None
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def write_new(path: Path, data: bytes) -> None:
    """Writes a new file and waits until it is on the disk."""
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def write_from(path: Path, data: bytes, offset: int) -> None:
    """Replaces all bytes of a file from an offset on; creates the file if it does not exist.

    Raises:
        OSError: the path is a link or not a regular file, or the disk is full.
    """
    with os.fdopen(open_regular(path, os.O_WRONLY | os.O_CREAT), "wb", buffering=0) as stream:
        stream.truncate(offset)
        stream.seek(offset)
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[stream.write(remaining) :]


def truncate(path: Path, size: int) -> None:
    """Truncates a file to a size in bytes.

    Raises:
        OSError: the path is a link or not a regular file.
    """
    handle = open_regular(path, os.O_WRONLY)
    try:
        os.ftruncate(handle, size)
    finally:
        os.close(handle)


def open_log(path: Path) -> BinaryIO:
    """Opens a file to append to; creates the file if it does not exist.

    Raises:
        OSError: the path is a link or not a regular file.
    """
    return os.fdopen(open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")


def open_regular(path: Path, flags: int) -> int:
    """Returns the descriptor of a regular file, opened without following a link or waiting for a FIFO.

    Raises:
        OSError: the path is a link or not a regular file.
    """
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file")
    return handle


def replace(path: Path, data: bytes) -> None:
    """Replaces the content of a file; a reader, or a crash, sees either the old content or the new."""
    with open_atomic(path) as stream:
        stream.write(data)


@contextmanager
def open_atomic(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Opens a new file, which replaces `path` when the block ends without an error.

    Args:
        path: the file to replace.
        durable: wait until the content is on the disk; otherwise a power failure may leave a damaged file.
    """
    handle, unfinished = _create_unfinished(path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def _create_unfinished(folder: Path) -> tuple[int, Path]:
    """Creates a file with a random name and the mode that the umask allows; returns its descriptor and path."""
    while True:
        path = unfinished_path(folder)
        with suppress(FileExistsError):
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), path


def unfinished_path(folder: Path) -> Path:
    """Returns a random path in a folder for a file or directory that is not complete yet."""
    return folder / f".tagger-{secrets.token_hex(4)}.new"


def is_unfinished(name: str) -> bool:
    """Returns whether `unfinished_path` may have generated a name."""
    return _UNFINISHED.fullmatch(name) is not None


def publish(part: Path, path: Path, *, overwrite: bool) -> None:
    """Renames a complete file to its final path; a file that exists there is an error unless `overwrite`.

    A crash leaves the part, or the path, or both for one file; a second call then completes the first.

    Raises:
        StorageError: another file has the path.
    """
    if overwrite:
        part.replace(path)
        return
    try:
        os.link(part, path, follow_symlinks=False)
    except FileExistsError:
        if not is_same(part, path):
            raise _path_is_taken(path) from None
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(path):
            raise _path_is_taken(path) from None
        part.rename(path)
        return
    part.unlink()


def _path_is_taken(path: Path) -> StorageError:
    return StorageError(f"{path}: exists and is not an output of this job; choose another directory")


def is_same(path: Path, other: Path) -> bool:
    """Returns whether two paths are names of one existing file; a link is a file of its own."""
    try:
        first, second = path.lstat(), other.lstat()
    except FileNotFoundError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def is_unshared(path: Path, published: Path | None = None) -> bool:
    """Returns whether a path is a regular file with no other hard link than `published`, so it is safe to change."""
    status = path.lstat()
    names = 1 + (published is not None and is_same(path, published))
    return stat.S_ISREG(status.st_mode) and status.st_nlink == names


def sync(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
