"""The manifest of a model directory: each file is verified against it before the file is parsed."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from tagger import __version__
from tagger.errors import ModelError, StorageError
from tagger.io import directories, json_files, regular_file

FORMAT = 2
MANIFEST = "MANIFEST.json"
MAX_MANIFEST_BYTES = 1 << 20
_T = TypeVar("_T")


def build_manifest(contents: Mapping[str, bytes]) -> bytes:
    """Returns the manifest of files, given by name and content."""
    entries = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    return serialize({"format": FORMAT, "tagger": __version__, "files": entries})


def serialize(manifest: dict[str, Any]) -> bytes:
    """Returns a manifest as canonical JSON that includes its hash."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return json.dumps(manifest | {"sha256": digest}, sort_keys=True, indent=1).encode()


class UnreadableError(ModelError):
    """A file that cannot be read or does not match the manifest, for example because a training just replaced it."""


def retry_once(read: Callable[[], _T]) -> _T:
    """Returns the result of a function; calls it a second time if it raises UnreadableError."""
    try:
        return read()
    except UnreadableError:
        return read()


class ModelFiles:
    """The files of a model directory; each is verified against the manifest before its content is returned.

    Args:
        directory: the model directory.
        max_bytes: the maximum size of each file by its name.

    Raises:
        ModelError: the directory does not exist, or its manifest is missing or damaged.
    """

    def __init__(self, directory: Path, max_bytes: Mapping[str, int]) -> None:
        self._max_bytes = max_bytes
        self.directory = directory = directories.current_path(directory)
        if not directory.is_dir():
            raise UnreadableError(f"{directory}: no such model directory" + ", it is a file" * directory.exists())
        if not (directory / MANIFEST).exists():
            candidates = [path.parent.name for path in sorted(directory.glob(f"*/{MANIFEST}"), reverse=True)]
            hint = f"; did you mean {directory / candidates[0]}?" if candidates else ""
            raise UnreadableError(f"{directory}: no model here, there is no {MANIFEST}{hint}")
        try:
            self.manifest = bytes(regular_file.read(directory / MANIFEST, limit=MAX_MANIFEST_BYTES))
        except (ModelError, StorageError) as error:
            raise UnreadableError(*error.faults) from error.__cause__ or error
        self._entries = _parse_entries(self.manifest, directory)

    def __contains__(self, name: object) -> bool:
        """Whether the manifest lists a file."""
        return name in self._entries

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files that the manifest lists."""
        return tuple(self._entries)

    def size(self, name: str) -> int:
        """Returns the size in bytes that the manifest lists for a file."""
        return self._find_entry(name, 0, self._max_bytes[name])[0]

    def lower_limit(self, name: str, max_bytes: int) -> None:
        """Lowers the maximum size of a file."""
        self._max_bytes = {**self._max_bytes, name: min(max_bytes, self._max_bytes[name])}

    def read(self, name: str, *, sizes: tuple[int, int] | None = None) -> bytearray:
        """Returns the content of a file, whose size must lie in the range `sizes`, both ends included.

        Raises:
            ModelError: the file is missing, not regular, too large, or does not match the manifest.
        """
        size, digest = self._find_entry(name, *(sizes or (0, self._max_bytes[name])))
        with self._open(name, size) as stream:
            data = regular_file.read_up_to(stream, size)
        self._compare(name, hashlib.sha256(data).hexdigest(), digest)
        return data

    def verify(self, names: Iterable[str]) -> None:
        """Raises ModelError if one of the files is missing, not regular, too large, or does not match the manifest."""
        for name in names:
            size, digest = self._find_entry(name, 0, self._max_bytes[name])
            with self._open(name, size) as stream:
                self._compare(name, hashlib.file_digest(stream, "sha256").hexdigest(), digest)

    def _find_entry(self, name: str, minimum: int, maximum: int) -> tuple[int, str]:
        entry = self._entries.get(name)
        if not isinstance(entry, dict):
            raise ModelError(f"{self.directory}: holds no {name}; is it the right directory?")
        size, digest = entry.get("size"), entry.get("sha256")
        if type(size) is not int or not isinstance(digest, str):
            raise ModelError(f"{self.directory}/{MANIFEST} is corrupt: its entry of {name} is not valid")
        if not minimum <= size <= maximum:
            expected = f"{minimum} to {maximum}" if minimum else f"at most {maximum}"
            raise ModelError(f"{self.directory}/{name} is refused: it has {size} bytes, expected {expected}")
        return size, digest

    @contextmanager
    def _open(self, name: str, size: int) -> Iterator[FileIO]:
        try:
            with regular_file.open_file(self.directory / name) as (stream, actual):
                if actual != size:
                    fault = f"it has {actual} bytes, the manifest lists {size}"
                    raise ModelError(f"{self.directory}/{name} is corrupt: {fault}")
                yield stream
        except (ModelError, StorageError) as error:
            raise UnreadableError(*error.faults) from error.__cause__ or error

    def _compare(self, name: str, digest: str, expected: str) -> None:
        if digest != expected:
            raise UnreadableError(f"{self.directory}/{name} is corrupt: its sha256 differs from the manifest")


def _parse_entries(data: bytes, directory: Path) -> dict[str, Any]:
    """Returns the entries of a manifest by file name.

    Raises:
        ModelError: the manifest is damaged or of another format.
    """
    try:
        manifest = json_files.parse(data)
        stored_digest = manifest.pop("sha256")
        version, entries = manifest["format"], dict(manifest["files"])
        canonical = serialize(manifest)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UnreadableError(f"{directory}/{MANIFEST} is corrupt: it is not a manifest") from error
    if canonical != data:
        raise UnreadableError(
            f"{directory}/{MANIFEST} is corrupt: its content does not match its sha256 {str(stored_digest)[:8]}"
        )
    if version != FORMAT:
        raise ModelError(
            f"{directory}: has model format {str(version)[:20]}; expected format {FORMAT}, train the model again"
        )
    return entries
