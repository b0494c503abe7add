"""The manifest of a model directory, by which each of its files is checked before any parser sees it."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from tagger import __version__
from tagger.errors import ModelError, StorageError
from tagger.io import atomic, json_files, regular

FORMAT = 2
MANIFEST = "MANIFEST.json"
MAX_MANIFEST_BYTES = 1 << 20
_Result = TypeVar("_Result")


def listing(contents: Mapping[str, bytes]) -> bytes:
    """Returns the manifest of files of these contents."""
    listed = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    return seal({"format": FORMAT, "tagger": __version__, "files": listed})


def seal(manifest: dict[str, Any]) -> bytes:
    """Returns a manifest as JSON in one fixed spelling, with its own hash in it."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return json.dumps(manifest | {"sha256": digest}, sort_keys=True, indent=1).encode()


class UnreadError(ModelError):
    """A file could not be read or does not fit the manifest; a training may have replaced the directory meanwhile."""


def read_twice(read: Callable[[], _Result]) -> _Result:
    """Returns what a function reads; calls it again if a file could not be read."""
    try:
        return read()
    except UnreadError:
        return read()


class ModelFiles:
    """The files of a model directory; each is checked against the manifest before its content is returned.

    Args:
        directory: the model's.
        max_bytes: for each name the size that is read at most.

    Raises:
        ModelError: the directory does not exist, or its manifest is missing or damaged.
    """

    def __init__(self, directory: Path, max_bytes: Mapping[str, int]) -> None:
        self._max_bytes = max_bytes
        self.directory = directory = atomic.settled(directory)
        if not directory.is_dir():
            raise UnreadError(f"{directory}: no such model directory" + ", it is a file" * directory.exists())
        if not (directory / MANIFEST).exists():
            inside = [path.parent.name for path in sorted(directory.glob(f"*/{MANIFEST}"), reverse=True)]
            hint = f"; did you mean {directory / inside[0]}?" if inside else ""
            raise UnreadError(f"{directory}: no model here, there is no {MANIFEST}{hint}")
        try:
            self.manifest = bytes(regular.read(directory / MANIFEST, limit=MAX_MANIFEST_BYTES))
        except (ModelError, StorageError) as error:
            raise UnreadError(*error.faults) from error.__cause__ or error
        self._entries = _entries(self.manifest, directory)

    def size(self, name: str) -> int:
        """Returns the size of a file in bytes by the manifest."""
        return self._entry(name, 0, self._max_bytes[name])[0]

    def limit(self, name: str, max_bytes: int) -> None:
        """Lowers the size that a file may have."""
        self._max_bytes = {**self._max_bytes, name: min(max_bytes, self._max_bytes[name])}

    def read(self, name: str, *, sizes: tuple[int, int] | None = None) -> bytearray:
        """Returns the content of a file whose size lies in a range.

        Raises:
            ModelError: the file is missing, special, too large, or other than its manifest says.
        """
        size, digest = self._entry(name, *(sizes or (0, self._max_bytes[name])))
        with self._opened(name, size) as stream:
            data = regular.read_up_to(stream, size)
        self._compare(name, hashlib.sha256(data).hexdigest(), digest)
        return data

    def verify(self, names: Iterable[str]) -> None:
        """Raises ModelError if one of the files is missing, special, too large, or not what the manifest says."""
        for name in names:
            size, digest = self._entry(name, 0, self._max_bytes[name])
            with self._opened(name, size) as stream:
                self._compare(name, hashlib.file_digest(stream, "sha256").hexdigest(), digest)

    def _entry(self, name: str, least: int, most: int) -> tuple[int, str]:
        entry = self._entries.get(name)
        if not isinstance(entry, dict):
            raise ModelError(f"{self.directory}: holds no {name}; is it the right directory?")
        size, digest = entry.get("size"), entry.get("sha256")
        if type(size) is not int or not isinstance(digest, str):
            raise ModelError(f"{self.directory}/{MANIFEST} is corrupt: its entry of {name} is not valid")
        if not least <= size <= most:
            expected = f"{least} to {most}" if least else f"at most {most}"
            raise ModelError(f"{self.directory}/{name} is refused: it has {size} bytes, expected {expected}")
        return size, digest

    @contextmanager
    def _opened(self, name: str, size: int) -> Iterator[FileIO]:
        try:
            with regular.opened(self.directory / name) as (stream, found):
                if found != size:
                    what = f"it has {found} bytes, {size} by its manifest"
                    raise ModelError(f"{self.directory}/{name} is corrupt: {what}")
                yield stream
        except (ModelError, StorageError) as error:
            raise UnreadError(*error.faults) from error.__cause__ or error

    def _compare(self, name: str, digest: str, expected: str) -> None:
        if digest != expected:
            raise UnreadError(f"{self.directory}/{name} is corrupt: sha256 differs from the manifest's")


def _entries(data: bytes, directory: Path) -> dict[str, Any]:
    """Returns what a manifest says of each file."""
    try:
        manifest = json_files.parse(data)
        written = manifest.pop("sha256")
        version, listed = manifest["format"], dict(manifest["files"])
        sealed = seal(manifest)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UnreadError(f"{directory}/{MANIFEST} is corrupt: it is no manifest") from error
    if sealed != data:
        raise UnreadError(f"{directory}/{MANIFEST} is corrupt: sha256 differs, {str(written)[:8]} is written in it")
    if version != FORMAT:
        raise ModelError(
            f"{directory}: has model format {str(version)[:20]}; expected format {FORMAT}, train the model again"
        )
    return listed
