"""Reads regular files that may come from anywhere: opened without blocking, read up to a size limit."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from tagger.errors import StorageError

_CHUNK_BYTES = 1 << 20


@contextmanager
def open_file(path: Path) -> Iterator[tuple[FileIO, int]]:
    """Opens a regular file, or a link to one, without blocking; yields it with its size in bytes.

    Raises:
        StorageError: the file cannot be opened or read, or is a directory, FIFO or device.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise StorageError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise StorageError(f"{path} is not a regular file")
    with os.fdopen(handle, "rb", buffering=0) as stream:
        try:
            yield stream, status.st_size
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}") from error


def read(path: Path, *, limit: int) -> bytearray:
    """Returns the content of a regular file of at most `limit` bytes.

    Raises:
        StorageError: as `open_file`, or the file is larger.
    """
    with open_file(path) as (stream, size):
        if size > limit:
            raise StorageError(f"{path} has {size} bytes; at most {limit} are read")
        return read_up_to(stream, size)


def compute_sha256(paths: Iterable[Path]) -> str:
    """Returns the SHA-256, in hexadecimal, of the concatenated content of regular files.

    Raises:
        StorageError: as `open_file`.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open_file(path) as (stream, _):
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def read_up_to(stream: FileIO, size: int) -> bytearray:
    """Returns the next `size` bytes of an unbuffered file, or fewer if the file ends before."""
    data, filled = bytearray(size), 0
    with memoryview(data) as view:
        while count := stream.readinto(view[filled:]):
            filled += count
    del data[filled:]
    return data
