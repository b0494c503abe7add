"""Files by path or address: on a disk, or in an object store that Arrow or fsspec knows."""

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
_PIECE = 2**20
_ARROW = (ValueError, NotImplementedError)  # as which Arrow's own errors can be caught


def is_address(place: str) -> bool:
    """Tells an address such as s3://bucket/folder from the path of a file."""
    return _ADDRESS.match(place) is not None


@dataclass(frozen=True, slots=True)
class Place:
    """A file or a folder.

    Attributes:
        base: a path or an address.
        name: the path within it, if it is not the base itself; it is taken as it is, whatever an address may mean.
    """

    base: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.base.rstrip('/')}/{self.name}" if self.name else self.base

    def inside(self, name: str) -> "Place":
        """Returns the place of a name in this folder."""
        return Place(self.base, f"{self.name}/{name}" if self.name else name)

    def on_disk(self) -> Path | None:
        """Returns its path if it is on a disk.

        Raises:
            DataError: the address is none.
        """
        if is_address(self.base) and not self.base.startswith("file:"):
            return None
        with _reading(self):
            return Path(self._resolved()[1])

    def files(self) -> list["Found"]:
        """Returns each file in this folder, at any depth; if this is a file, itself.

        Raises:
            DataError: the place cannot be reached.
        """
        with _reading(self):
            system, path = self._resolved()
            info = system.get_file_info(path)
            if info.type == FileType.File:
                return [Found(self, info.size, info.mtime_ns)]
            selected = system.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
            inside = [
                Found(self.inside(posixpath.relpath(one.path, path)), one.size, one.mtime_ns)
                for one in selected
                if one.type == FileType.File
            ]
            return sorted(inside, key=lambda one: one.place.name.split("/"))

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Opens the file to be read at any place in it.

        Raises:
            DataError: it cannot be.
        """
        with _reading(self):
            system, path = self._resolved()
            file = system.open_input_file(path)
        with file:
            yield cast(BinaryIO, file)

    @contextmanager
    def stretch(self, start: int, stop: int | None) -> Iterator[BinaryIO]:
        """Opens the bytes [start, stop) of the file to be read forward; without `stop` all of it.

        Raises:
            DataError: it cannot be opened.
        """
        with _reading(self):
            system, path = self._resolved()
            file = system.open_input_stream(path, compression=None) if stop is None else system.open_input_file(path)
        with file:
            yield cast(BinaryIO, file if stop is None else file.get_stream(start, stop - start))

    def take(self, part: Path) -> None:
        """Takes the content of a file on this machine, at once: a part of it is never to be seen.

        Raises:
            StorageError: it cannot be written.
        """
        with part.open("rb") as source, self._written() as target:
            shutil.copyfileobj(source, target, _PIECE)

    def write(self, data: bytes) -> None:
        """Writes a small file, likewise at once.

        Raises:
            StorageError: it cannot be written.
        """
        with self._written() as target:
            target.write(data)

    def read(self) -> bytes:
        """Returns the content of a small file.

        Raises:
            DataError: it cannot be read.
        """
        with self.opened() as file, _reading(self):
            return file.read()

    def remove(self) -> None:
        """Removes the file if it is there.

        Raises:
            StorageError: it cannot be removed.
        """
        with _writing(self):
            system, path = self._resolved()
            if system.get_file_info(path).type == FileType.File:
                system.delete_file(path)

    @contextmanager
    def _written(self) -> Iterator[BinaryIO]:
        with _writing(self):
            system, path = self._resolved()
            if isinstance(system, LocalFileSystem):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                with atomic.open_atomic(Path(path)) as stream:
                    yield stream
            else:  # a store, which shows a file when it is closed
                with system.open_output_stream(path, compression=None) as stream:
                    yield cast(BinaryIO, stream)

    def _resolved(self) -> tuple[FileSystem, str]:
        """Returns the file system and the path there: Arrow's own, as Ray has it, else one of fsspec."""
        system, path = _system(self.base)
        return system, f"{path.rstrip('/')}/{self.name}" if self.name else path


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is there, its size in bytes and when it was changed, in nanoseconds, where that is known."""

    place: Place
    size: int | None
    changed: int | None


def _system(base: str) -> tuple[FileSystem, str]:
    if not is_address(base):
        return LocalFileSystem(), os.path.abspath(base)  # noqa: PTH100  # links stay
    try:
        system, path = FileSystem.from_uri(base)
    except _ARROW:
        from fsspec.core import url_to_fs

        try:
            inner, path = url_to_fs(base)
        except (ImportError, ValueError) as error:
            raise OSError(f"nothing here reads such an address: {error}") from error
        system = PyFileSystem(FSSpecHandler(inner))
    return system, path


@contextmanager
def _reading(place: Place) -> Iterator[None]:
    try:
        yield
    except (*_ARROW, OSError) as error:
        raise DataError(f"{place}: {_reason(error)}") from error


@contextmanager
def _writing(place: Place) -> Iterator[None]:
    try:
        yield
    except (*_ARROW, OSError) as error:
        raise StorageError(f"{place}: cannot be written: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    known = error.strerror if isinstance(error, OSError) else None
    return (known or " ".join(str(error).split())[:300]).lower()
