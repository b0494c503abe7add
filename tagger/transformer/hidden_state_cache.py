"""The cache of a frozen transformer's hidden states on disk: one file per passage, in float16.

Shapes in this module: N tokens of a passage, L layers, D size of a token's hidden states.

A file is trusted only if its header and the checksum of its content are right; any other file is computed again. Thus
files are not flushed to the disk one by one. Hidden states are read by `pread`: a mapped file that another process
truncates would end this process, and mapped pages count as its memory.

Processes that use one directory know each other by leases: locked files that list the passages which a process uses.
No process removes these passages. A killed process leaves an unlocked lease.

Processes that miss the same passages share the work: each group of passages has a lock, and only the process that has
the lock computes the group. The system unlocks what a killed process has locked.
"""

import errno
import fcntl
import logging
import os
import re
import secrets
import struct
import tempfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagger.errors import StorageError
from tagger.io import atomic, directories, temporary

log = logging.getLogger(__name__)

CachedHiddenStates = NDArray[np.float16]
"""(N, L, D) hidden states in float16."""
DEFAULT_MAX_BYTES = 10_000_000_000
_MARKER, _MARKER_CONTENT = ".tagger-features", b"bilstm-crf-tagger features\n"
_MAGIC = b"tagstat1"
_HEADER = struct.Struct("<8s32s4I8x")  # magic, key, shape, checksum of the content
_PASSAGE_FILE, _LEASE = re.compile(r"([0-9a-f]{64})\.states"), re.compile(r"[0-9a-f]{16}\.lease")
_LEASE_HEADER = b"bilstm-crf-tagger lease\n"
_TEMPORARY_PREFIX = "tagger-features-"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class CacheOptions:
    """Where the hidden states of a frozen transformer are cached.

    Attributes:
        directory: the directory of the cache; None for the default under the user's directory of caches.
        is_enabled: whether hidden states are cached for later trainings; otherwise they are in a temporary directory,
            which is removed at the end.
        max_bytes: size limit of the directory; the passages that were not used for the longest time are removed.
    """

    directory: Path | None = None
    is_enabled: bool = True
    max_bytes: int = DEFAULT_MAX_BYTES


def default_directory() -> Path:
    """Returns the directory of the cache under XDG_CACHE_HOME.

    Raises:
        StorageError: the user has no home directory.
    """
    folder = os.environ.get("XDG_CACHE_HOME", "")
    try:
        parent = Path(folder) if os.path.isabs(folder) else Path.home() / ".cache"  # noqa: PTH117
    except RuntimeError as error:
        raise StorageError("the user has no home directory for a cache") from error
    return parent / "bilstm-crf-tagger" / "features"


class Entry(NamedTuple):
    """The hidden states of a passage in the cache.

    Attributes:
        key: SHA-256 of all that they depend on, as 64 hexadecimal digits.
        shape: N, L and D.
    """

    key: str
    shape: tuple[int, int, int]

    @property
    def group(self) -> str:
        """The group of passages that it belongs to, one of 16, by which processes share the work."""
        return self.key[0]

    @property
    def file_name(self) -> str:
        """Name of the file."""
        return f"{self.key}.states"

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return _HEADER.size + 2 * self.shape[0] * self.shape[1] * self.shape[2]

    def header(self, checksum: int) -> bytes:
        """Returns the header of the file for a checksum of its content."""
        return _HEADER.pack(_MAGIC, bytes.fromhex(self.key), *self.shape, checksum)


@contextmanager
def open_cache(options: CacheOptions) -> Iterator["HiddenStateCache"]:
    """Opens the cache for a training; removes temporary files at the end.

    Raises:
        StorageError: the directory that `options` names cannot be used, or was not made for features.
    """
    with ExitStack() as stack:
        folder = None
        if options.is_enabled:
            try:
                folder = stack.enter_context(_open_shared(options.directory or default_directory(), options.max_bytes))
            except StorageError as error:
                if options.directory is not None:
                    raise
                log.warning("%s; features are stored for this training only", error)
        yield HiddenStateCache(folder, stack)


class HiddenStateCache:
    """The hidden states of passages: in a directory, as far as its limit and the disk allow, else in a temporary one.

    Threads may share a cache.

    Args:
        folder: the directory; None if all hidden states are temporary.
        stack: closes the temporary directory.
    """

    def __init__(self, folder: "SharedFolder | None", stack: ExitStack) -> None:
        self._shared, self._stack = folder, stack
        self._temporary: Path | None = None
        self._has_space = True  # for a temporary directory
        self._paths: dict[str, Path] = {}
        self._in_memory: dict[str, CachedHiddenStates] = {}

    @property
    def location(self) -> str:
        """Where hidden states are stored, for messages."""
        return "a temporary directory" if self._shared is None else str(self._shared.directory)

    def find(self, entries: Collection[Entry]) -> set[str]:
        """Returns the keys of the passages whose hidden states are cached, and reserves all passages.

        Until the cache is closed, no process removes a reserved passage from the directory.
        """
        folder = self._shared
        if folder is not None:
            with self._abandon_on_error(folder):
                folder.reserve(entries)
        return self.find_reserved(entries)

    def find_reserved(self, entries: Collection[Entry]) -> set[str]:
        """Returns the keys of the passages whose hidden states are cached, by other processes too; checks each file."""
        folder = self._shared
        if folder is not None:
            paths = {entry.key: folder.path(entry) for entry in entries if folder.is_valid(entry)}
            self._paths = paths | self._paths
        return {entry.key for entry in entries if entry.key in self._paths or entry.key in self._in_memory}

    @contextmanager
    def lock_group(self, entries: Collection[Entry], *, wait: bool) -> Iterator[bool]:
        """Yields whether this process may compute the passages of a group, which no other one computes meanwhile.

        Passages that only this process stores need no lock.

        Args:
            entries: reserved passages of one group.
            wait: wait until no other process computes the group.
        """
        folder = self._shared
        with ExitStack() as stack:
            try:
                if folder is not None and folder.fits(entries):
                    name = f".group-{min(entry.group for entry in entries)}.lock"
                    stack.enter_context(directories.lock(folder.directory, name=name, wait=wait))
                may_compute = True
            except StorageError as error:
                may_compute = wait
                if wait:
                    log.warning("%s; its passages are computed here", error)
            yield may_compute

    def write(self, entry: Entry, hidden_states: CachedHiddenStates) -> None:
        """Stores the hidden states of a passage, wherever there is space."""
        folder = self._shared
        if folder is not None and folder.has_room(entry):
            with self._abandon_on_error(folder):
                folder.write(entry, hidden_states)
                self._paths[entry.key] = folder.path(entry)
                return
        if self._has_space:
            try:
                if self._temporary is None:
                    self._temporary = self._stack.enter_context(
                        temporary.open_directory(_TEMPORARY_PREFIX, _MARKER, _MARKER_CONTENT)
                    )
                path = self._temporary / entry.file_name
                _write(path, entry, hidden_states)
            except OSError as error:
                self._has_space = False
                log.warning("%s: %s; features are stored in memory", tempfile.gettempdir(), error.strerror or error)
            except StorageError as error:
                self._has_space = False
                log.warning("%s; features are stored in memory", error)
            else:
                self._paths[entry.key] = path
                return
        self._in_memory[entry.key] = hidden_states.copy()

    def read(self, entry: Entry, first: int, target: CachedHiddenStates) -> None:
        """Copies the hidden states of the tokens of a passage from `first` on into `target`, (N, L, D).

        Raises:
            OSError: the hidden states are not stored, or their file was removed or truncated meanwhile.
        """
        if (hidden_states := self._in_memory.get(entry.key)) is not None:
            target[:] = hidden_states[first : first + len(target)]
            return
        if entry.key not in self._paths:
            raise FileNotFoundError(errno.ENOENT, "no such passage")
        handle = atomic.open_regular(self._paths[entry.key], os.O_RDONLY)
        try:
            view, offset = _bytes_of(target), _HEADER.size + first * target[0].nbytes
            while view:
                if not (count := os.preadv(handle, [view], offset)):
                    raise OSError(errno.EIO, "truncated")
                view, offset = view[count:], offset + count
        finally:
            os.close(handle)

    @contextmanager
    def _abandon_on_error(self, folder: "SharedFolder") -> Iterator[None]:
        """Runs the block; if the directory cannot be written, logs it and writes nothing more to the directory."""
        try:
            yield
        except (OSError, StorageError) as error:
            self._shared = None
            reason = error.strerror if isinstance(error, OSError) else error
            log.warning("%s: %s; other features are stored for this training only", folder.directory, reason)


class SharedFolder:
    """A directory of hidden states that processes share.

    Args:
        directory: the directory, marked as a cache.
        max_bytes: its size limit.
        lease: the descriptor of the lease of this process.
    """

    def __init__(self, directory: Path, max_bytes: int, lease: int) -> None:
        self.directory = directory
        self._max_bytes, self._room, self._lease = max_bytes, 0, lease
        self._is_full = False

    def path(self, entry: Entry) -> Path:
        """Returns the path of the file of a passage."""
        return self.directory / entry.file_name

    def reserve(self, entries: Collection[Entry]) -> None:
        """Adds passages to the lease, and removes others as far as these need their space.

        Raises:
            OSError: the lease cannot be written.
            StorageError: the directory cannot be locked.
        """
        with directories.lock(self.directory, wait=True):
            os.write(self._lease, b"".join(entry.key.encode() + b"\n" for entry in entries))
            files = _list_files(self.directory)
            used = sum(file.size for file in files.values())
            new = sum(entry.file_bytes for entry in entries if entry.key not in files)
            if used + new > self._max_bytes:
                used -= _evict(self.directory, files, used + new - self._max_bytes)
        self._room = self._max_bytes - used

    def fits(self, entries: Collection[Entry]) -> bool:
        """Returns whether passages fit within the size limit."""
        return sum(entry.file_bytes for entry in entries) <= self._room

    def has_room(self, entry: Entry) -> bool:
        """Returns whether a passage fits within the size limit; logs the first one that does not."""
        if entry.file_bytes > self._room and not self._is_full:
            self._is_full = True
            log.warning(
                "%s: the limit of %.1f GB is reached; other features are stored for this training only",
                self.directory,
                self._max_bytes / 1e9,
            )
        return entry.file_bytes <= self._room

    def write(self, entry: Entry, hidden_states: CachedHiddenStates) -> None:
        """Writes the file of a passage.

        Raises:
            OSError: the file cannot be written.
        """
        _write(self.path(entry), entry, hidden_states)
        self._room -= entry.file_bytes

    def is_valid(self, entry: Entry) -> bool:
        """Returns whether the file of a passage is complete and undamaged; if so, marks it as used now."""
        try:
            handle = atomic.open_regular(self.path(entry), os.O_RDONLY)
        except OSError:
            return False
        with os.fdopen(handle, "rb", buffering=0) as stream:
            try:
                if os.fstat(handle).st_size != entry.file_bytes:
                    return False
                header, checksum = stream.read(_HEADER.size), 0
                while chunk := stream.read(_CHUNK_BYTES):
                    checksum = zlib.crc32(chunk, checksum)
            except OSError:
                return False
            with suppress(OSError):
                os.utime(handle)
        return header == entry.header(checksum)


def _write(path: Path, entry: Entry, hidden_states: CachedHiddenStates) -> None:
    """Writes the file of a passage under a temporary name and renames it."""
    content = _bytes_of(np.ascontiguousarray(hidden_states))
    with atomic.open_atomic(path, durable=False) as stream:
        stream.write(entry.header(zlib.crc32(content)))
        stream.write(content)


def _bytes_of(hidden_states: CachedHiddenStates) -> memoryview:
    """Returns the bytes of contiguous hidden states, without a copy."""
    return hidden_states.view(np.uint8).reshape(-1).data


class _File(NamedTuple):
    """A file of hidden states: the time of its last use in nanoseconds, and its size in bytes."""

    used: int
    size: int


def _list_files(directory: Path) -> dict[str, _File]:
    """Returns the files of hidden states in a directory by key."""
    files = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            match = _PASSAGE_FILE.fullmatch(entry.name)
            with suppress(FileNotFoundError):
                if match and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    files[match[1]] = _File(status.st_mtime_ns, status.st_size)
    return files


def _evict(directory: Path, files: Mapping[str, _File], excess: int) -> int:
    """Removes the passages that were not used for the longest time and are in no lease; returns the bytes removed."""
    reserved = {key for path in _list_leases(directory) for key in path.read_text(errors="replace").splitlines()}
    removed = 0
    for key in sorted(files, key=files.__getitem__):
        if removed >= excess:
            break
        path = directory / f"{key}.states"
        if key not in reserved and _has_header(path, key):
            path.unlink(missing_ok=True)
            removed += files[key].size
    return removed


def _has_header(path: Path, key: str) -> bool:
    """Returns whether a file starts as the file of a passage does."""
    try:
        handle = atomic.open_regular(path, os.O_RDONLY)
    except OSError:
        return False
    with os.fdopen(handle, "rb") as stream:
        return stream.read(len(_MAGIC) + 32) == _MAGIC + bytes.fromhex(key)


@contextmanager
def _open_shared(directory: Path, max_bytes: int) -> Iterator[SharedFolder]:
    """Creates, marks and cleans up a directory, and opens it with a lease.

    Raises:
        StorageError: the directory cannot be written, or was not made for features.
    """
    with atomic.wrap_os_errors(directory):
        directories.check_cache(directory, _MARKER, _MARKER_CONTENT, "features")
        directory.mkdir(parents=True, exist_ok=True)
    with directories.lock(directory, wait=True), atomic.wrap_os_errors(directory):
        directories.check_cache(directory, _MARKER, _MARKER_CONTENT, "features")
        if not directories.has_content(directory / _MARKER, _MARKER_CONTENT):
            atomic.replace(directory / _MARKER, _MARKER_CONTENT)
        if not _list_leases(directory):
            directories.clean_up(directory, lambda _: False)
        path = directory / f"{secrets.token_hex(8)}.lease"
        lease = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
        fcntl.flock(lease, fcntl.LOCK_EX)
    try:
        with atomic.wrap_os_errors(directory):
            os.write(lease, _LEASE_HEADER)
        yield SharedFolder(directory, max_bytes, lease)
    finally:
        try:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        finally:
            os.close(lease)


def _list_leases(directory: Path) -> list[Path]:
    """Returns the leases of running processes, and removes those of killed ones; the directory must be locked."""
    leases = []
    for path in list(directory.iterdir()):
        if not _LEASE.fullmatch(path.name):
            continue
        try:
            handle = atomic.open_regular(path, os.O_RDWR)
        except OSError:
            continue  # removed meanwhile, or not a lease
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.pread(handle, len(_LEASE_HEADER), 0) in (b"", _LEASE_HEADER):
                path.unlink(missing_ok=True)
        except BlockingIOError:
            leases.append(path)
        finally:
            os.close(handle)
    return leases
