"""Files and folders by path or address: on a disk, or in an object store that Arrow or fsspec supports."""

import os
import posixpath
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, LocalFileSystem, PyFileSystem

from tagger.errors import DataError, StorageError
from tagger.io import atomic

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CHUNK_BYTES = 2**20
_ARROW_ERRORS = (ValueError, NotImplementedError)  # the built-in base classes of Arrow's errors


def is_address(text: str) -> bool:
    """Returns whether a text is an address such as s3://bucket/folder, not a path."""
    return _ADDRESS.match(text) is not None


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a file or a folder.

    Attributes:
        base: a path or an address.
        name: a path within the base, empty for the base itself; characters with a meaning in addresses have none here.
    """

    base: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.base.rstrip('/')}/{self.name}" if self.name else self.base

    def join(self, name: str) -> "Location":
        """Returns the location of a name in this folder."""
        return Location(self.base, f"{self.name}/{name}" if self.name else name)

    def local_path(self) -> Path | None:
        """Returns the path of a location on a disk, None for one in an object store.

        Raises:
            DataError: the address is not valid.
        """
        if is_address(self.base) and not self.base.startswith("file:"):
            return None
        with _wrap_read_errors(self):
            return Path(self._resolve()[1])

    def list_files(self) -> list["StoredFile"]:
        """Returns all files in this folder, at any depth, or the file itself if this is a file.

        Raises:
            DataError: the location cannot be accessed.
        """
        with _wrap_read_errors(self):
            system, path = self._resolve()
            info = system.get_file_info(path)
            if info.type == FileType.File:
                return [StoredFile(self, info.size, info.mtime_ns)]
            selected = system.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
            files = [
                StoredFile(self.join(posixpath.relpath(item.path, path)), item.size, item.mtime_ns)
                for item in selected
                if item.type == FileType.File
            ]
            return sorted(files, key=lambda file: file.location.name.split("/"))

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Opens the file for reading with random access.

        Raises:
            DataError: it cannot be opened.
        """
        with _wrap_read_errors(self):
            system, path = self._resolve()
            file = system.open_input_file(path)
        with file:
            yield cast(BinaryIO, file)

    @contextmanager
    def open_range(self, start: int, stop: int | None) -> Iterator[BinaryIO]:
        """Opens the bytes [start, stop) of the file for sequential reading; all bytes if `stop` is None.

        Raises:
            DataError: it cannot be opened.
        """
        with _wrap_read_errors(self):
            system, path = self._resolve()
            file = system.open_input_stream(path, compression=None) if stop is None else system.open_input_file(path)
        with file:
            yield cast(BinaryIO, file if stop is None else file.get_stream(start, stop - start))

    def copy_from(self, path: Path) -> None:
        """Copies a local file here atomically: no reader sees an incomplete file.

        Raises:
            StorageError: it cannot be written.
        """
        with path.open("rb") as source, self._open_for_wrap_write_errors() as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)

    def write(self, data: bytes) -> None:
        """Writes a small file atomically.

        Raises:
            StorageError: it cannot be written.
        """
        with self._open_for_wrap_write_errors() as target:
            target.write(data)

    def read(self) -> bytes:
        """Returns the content of a small file.

        Raises:
            DataError: it cannot be read.
        """
        with self.open() as file, _wrap_read_errors(self):
            return file.read()

    def remove(self) -> None:
        """Removes the file if it exists.

        Raises:
            StorageError: it cannot be removed.
        """
        with _wrap_write_errors(self):
            system, path = self._resolve()
            if system.get_file_info(path).type == FileType.File:
                system.delete_file(path)

    @contextmanager
    def _open_for_wrap_write_errors(self) -> Iterator[BinaryIO]:
        with _wrap_write_errors(self):
            system, path = self._resolve()
            if isinstance(system, LocalFileSystem):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                with atomic.open_atomic(Path(path)) as stream:
                    yield stream
            else:  # an object store, where a file appears when it is closed
                with system.open_output_stream(path, compression=None) as stream:
                    yield cast(BinaryIO, stream)

    def _resolve(self) -> tuple[FileSystem, str]:
        """Returns the file system, Arrow's own as in Ray or else one of fsspec, and the path in it."""
        system, path = _find_file_system(self.base)
        return system, f"{path.rstrip('/')}/{self.name}" if self.name else path


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An existing file: its size in bytes and its modification time in nanoseconds, each None if unknown."""

    location: Location
    size: int | None
    modified: int | None


def _find_file_system(base: str) -> tuple[FileSystem, str]:
    if not is_address(base):
        return LocalFileSystem(), os.path.abspath(base)  # noqa: PTH100  # links stay
    try:
        system, path = FileSystem.from_uri(base)
    except _ARROW_ERRORS:
        from fsspec.core import url_to_fs

        try:
            inner, path = url_to_fs(base)
        except (ImportError, ValueError) as error:
            raise OSError(f"no installed library reads this address: {error}") from error
        system = PyFileSystem(FSSpecHandler(inner))
    return system, path


@contextmanager
def _wrap_read_errors(location: Location) -> Iterator[None]:
    try:
        yield
    except (*_ARROW_ERRORS, OSError) as error:
        raise DataError(f"{location}: {_describe(error)}") from error


@contextmanager
def _wrap_write_errors(location: Location) -> Iterator[None]:
    try:
        yield
    except (*_ARROW_ERRORS, OSError) as error:
        raise StorageError(f"{location}: cannot be written: {_describe(error)}") from error


def _describe(error: Exception) -> str:
    message = error.strerror if isinstance(error, OSError) else None
    return (message or " ".join(str(error).split())[:300]).lower()
