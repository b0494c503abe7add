"""A directory of arrays that later processes map into their memory, in entries that are complete or absent.

An entry is a directory of binary arrays and JSON files, with a manifest of their sizes and hashes. It is built under a
temporary name, by one process at a time, and renamed when all of it is on the disk. Each process verifies an entry
before it uses it; a damaged one is built again. A process that has mapped an array keeps it, whatever becomes of the
directory.
"""

import hashlib
import logging
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tagger.errors import DirectoryInUseError, StorageError
from tagger.io import atomic, directories, json_files

log = logging.getLogger(__name__)

_MARKER, _MARKER_CONTENT = ".tagger-corpora", b"bilstm-crf-tagger corpora\n"
_MANIFEST = "MANIFEST.json"
_DTYPES = ("int32", "int64", "float32")
_MAX_MANIFEST_BYTES = 1 << 16

Array = NDArray[Any]


class Entry:
    """The files of a verified entry, whose arrays are mapped.

    Args:
        directory: the directory of the entry.

    Raises:
        OSError, ValueError: a file is missing, or not as the manifest says.
    """

    def __init__(self, directory: Path) -> None:
        self._arrays: dict[str, Array] = {}
        self._values: dict[str, Any] = {}
        for name, (size, digest, dtype) in _read_manifest(directory).items():
            with os.fdopen(atomic.open_regular(directory / name, os.O_RDONLY), "rb") as stream:
                if os.fstat(stream.fileno()).st_size != size or _hash(stream) != digest:
                    raise ValueError(f"{name} is damaged")
                if dtype:
                    self._arrays[name] = _map(stream, dtype)
                else:
                    stream.seek(0)
                    self._values[name] = json_files.parse(stream.read())

    def array(self, name: str) -> Array:
        """Returns an array of one dimension, which cannot be changed; its pages are read when they are used."""
        return self._arrays[name]

    def value(self, name: str) -> Any:
        """Returns the content of a JSON file."""
        return self._values[name]


class EntryWriter:
    """Writes the files of a new entry.

    Args:
        directory: a new directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._streams: dict[str, BinaryIO] = {}
        self._hashes: dict[str, Any] = {}
        self._dtypes: dict[str, str] = {}

    def append(self, name: str, array: Array) -> None:
        """Adds elements to the end of an array, which is int32, int64 or float32.

        Raises:
            OSError: the disk is full.
        """
        self._write(name, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, array.dtype.name)

    def write_value(self, name: str, value: object) -> None:
        """Writes a JSON file.

        Raises:
            OSError: the disk is full.
        """
        self._write(name, memoryview(json_files.dump(value)), "")

    def map(self, name: str) -> Array:
        """Returns the elements that were appended to an array so far, mapped."""
        self._streams[name].flush()
        with (self._directory / name).open("rb") as stream:
            return _map(stream, self._dtypes[name])

    def rename(self, name: str, target: str) -> None:
        """Replaces an array by another one; arrays that are mapped remain."""
        self._streams.pop(target).close()
        (self._directory / name).replace(self._directory / target)
        self._streams[target], self._hashes[target] = self._streams.pop(name), self._hashes.pop(name)
        self._dtypes[target] = self._dtypes.pop(name)

    def finish(self) -> None:
        """Writes the manifest and waits until all files are on the disk.

        Raises:
            OSError: the disk is full.
        """
        entries = {}
        for name, stream in self._streams.items():
            stream.flush()
            os.fsync(stream.fileno())
            entries[name] = [stream.tell(), self._hashes[name].hexdigest(), self._dtypes[name]]
        atomic.write_new(self._directory / _MANIFEST, json_files.dump(entries))

    def close(self) -> None:
        """Closes all files."""
        for stream in self._streams.values():
            with suppress(OSError):  # of what a full disk did not take
                stream.close()

    def _write(self, name: str, content: memoryview, dtype: str) -> None:
        if name not in self._streams:
            self._streams[name] = (self._directory / name).open("xb", buffering=1 << 20)
            self._hashes[name], self._dtypes[name] = hashlib.sha256(), dtype
        self._streams[name].write(content)
        self._hashes[name].update(content)


class ArrayCache:
    """A directory of entries, which processes share.

    Args:
        directory: the directory; it is created when the first entry is built.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def open(self, name: str, build: Callable[[EntryWriter], None]) -> Entry:
        """Returns an entry, which is built if it is missing or damaged.

        Args:
            name: the name of the entry, which says what it depends on.
            build: writes the files of the entry.

        Raises:
            StorageError: the directory cannot be written, the disk is full, or the directory was not made for corpora.
        """
        path = self.directory / name
        with atomic.wrap_os_errors(self.directory):
            if directories.is_marked(self.directory):
                raise StorageError(
                    f"{self.directory}: is the directory of a training; choose another one for the cache"
                )
            directories.check_cache(self.directory, _MARKER, _MARKER_CONTENT, "corpora")
            if (entry := _open_valid(path)) is not None:
                return entry
            self.directory.mkdir(parents=True, exist_ok=True)
        with _lock(self.directory), atomic.wrap_os_errors(self.directory):
            directories.check_cache(self.directory, _MARKER, _MARKER_CONTENT, "corpora")
            if (entry := _open_valid(path)) is not None:
                return entry
            if not directories.has_content(self.directory / _MARKER, _MARKER_CONTENT):
                atomic.replace(self.directory / _MARKER, _MARKER_CONTENT)
            directories.clean_up(self.directory, lambda _: True)
            if path.exists():
                log.warning("%s: is damaged and is built again", path)
            with directories.replace(path, lambda _: True) as new:
                _build(new, build)
        if (entry := _open_valid(path)) is None:
            raise StorageError(f"{path}: was changed or removed by another program")
        return entry


def _build(directory: Path, build: Callable[[EntryWriter], None]) -> None:
    writer = EntryWriter(directory)
    try:
        build(writer)
        writer.finish()
    finally:
        writer.close()


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Locks the directory; logs that another process has the lock, which may take minutes."""
    with ExitStack() as stack:
        try:
            stack.enter_context(directories.lock(directory))
        except DirectoryInUseError:
            log.info("%s: waits for another process that encodes a corpus", directory)
            stack.enter_context(directories.lock(directory, wait=True))
        yield


def _open_valid(path: Path) -> Entry | None:
    """Returns an entry, None if it is missing or damaged."""
    try:
        return Entry(path)
    except (OSError, ValueError):
        return None


def _read_manifest(directory: Path) -> dict[str, tuple[int, str, str]]:
    """Returns size, hash and dtype of each file; the dtype is empty for JSON.

    Raises:
        OSError: the manifest cannot be read.
        ValueError: it is damaged.
    """
    with os.fdopen(atomic.open_regular(directory / _MANIFEST, os.O_RDONLY), "rb") as stream:
        manifest = json_files.parse_as(dict[str, tuple[int, str, str]], stream.read(_MAX_MANIFEST_BYTES))
    for name, (_, _, dtype) in manifest.items():
        if "/" in name or dtype not in ("", *_DTYPES):
            raise ValueError(f"{name} is no file of an entry")
    return manifest


def _hash(stream: BufferedReader) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()


def _map(stream: BufferedReader, dtype: str) -> Array:
    if not os.fstat(stream.fileno()).st_size:
        return np.zeros(0, dtype)
    return np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), dtype)
