"""Directories of this toolkit: replaced atomically, marked as its own, and locked for one writer.

A directory of a training run holds a marker (`claim`). Without the marker, an existing name that the run writes is an
error.
"""

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tagger.errors import DirectoryInUseError, StorageError
from tagger.io import atomic

log = logging.getLogger(__name__)
LOCK, MARKER = ".tagger.lock", ".tagger-run"
_LOCK_CONTENT = b"bilstm-crf-tagger lock\n"
_MARKER_CONTENT = b"bilstm-crf-tagger training run\n"


@contextmanager
def replace(path: Path, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yields a new directory to fill, which replaces `path` when the block ends without an error.

    The old directory is moved to a backup path, which `current_path` knows, and removed last. A crash at any moment
    leaves the old directory or the new one, each complete.

    Args:
        path: the directory.
        is_ours: returns whether an existing directory may be replaced.

    Raises:
        StorageError: an existing file or directory may not be replaced.
    """
    check_replaceable(path, is_ours)
    backup = _backup_path(path)
    recover(path)
    new = atomic.unfinished_path(path.parent)
    new.mkdir()
    try:
        yield new
        atomic.sync(new)
        if path.exists():
            path.rename(backup)
        try:
            new.rename(path)
        except BaseException:
            if backup.exists():
                backup.rename(path)
            raise
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    atomic.sync(path.parent)
    _remove(backup)


def check_replaceable(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Checks that `replace` may replace a directory.

    Raises:
        StorageError: an existing file or directory may not be replaced.
    """
    for old in (path, _backup_path(path)):
        if os.path.lexists(old) and (old.is_symlink() or not old.is_dir() or not is_ours(old)):
            raise StorageError(f"{old}: exists and was not made by this tool; choose another directory")


def current_path(path: Path) -> Path:
    """Returns where a directory is: at its path, or at the backup path if a crash interrupted its replacement."""
    backup = _backup_path(path)
    return backup if not path.exists() and backup.exists() else path


def recover(path: Path) -> None:
    """Completes an interrupted replacement: restores the backup of a directory, or removes it."""
    backup = _backup_path(path)
    if current_path(path) == backup:
        backup.rename(path)
    _remove(backup)


def _remove(directory: Path) -> None:
    """Removes a directory under an unfinished name: a crash must not leave a part of it under its own name."""
    if directory.exists():
        unfinished = atomic.unfinished_path(directory.parent)
        with suppress(OSError):
            directory.rename(unfinished)
            for _ in range(2):  # again if an error of the disk was transient
                shutil.rmtree(unfinished, ignore_errors=True)


def _backup_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def clean_up(directory: Path, is_ours: Callable[[str], bool]) -> None:
    """Recovers and removes what crashes left in a directory; the caller must hold its lock.

    Args:
        directory: the directory.
        is_ours: returns whether this toolkit replaces directories of a name in it.
    """
    for path in list(directory.iterdir()):
        name = path.name
        if path.is_symlink():
            continue
        if atomic.is_unfinished(name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        elif (original := _backed_up_name(name)) and is_ours(original) and path.is_dir():
            recover(path.with_name(original))


def _backed_up_name(name: str) -> str:
    """Returns the name whose backup path has a name, empty if it is not the name of a backup."""
    return name[1:-4] if name.startswith(".") and name.endswith(".old") else ""


def is_marked(directory: Path) -> bool:
    """Returns whether a directory holds the marker of a training run.

    Raises:
        OSError: the marker cannot be read.
    """
    return has_content(directory / MARKER, _MARKER_CONTENT)


def has_content(path: Path, content: bytes) -> bool:
    """Returns whether a path is a regular file with this content.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        handle = atomic.open_regular(path, os.O_RDONLY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL):
            return False
        raise
    with os.fdopen(handle, "rb") as stream:
        return stream.read(len(content) + 1) == content


def log_new_start(directory: object, noun: str) -> None:
    """Logs that what should be resumed in a directory, such as a `job`, has not started there and starts now."""
    log.info("%s: nothing to resume; the %s starts from the beginning", directory, noun)


def check_claim(directory: Path, is_ours: Callable[[str], bool]) -> None:
    """Checks that a directory is a training run of this toolkit, or holds no name that a training run writes.

    Args:
        directory: the directory, which may not exist yet.
        is_ours: returns whether a training run writes, replaces or removes a name.

    Raises:
        StorageError: the directory holds such a name and no marker, or it cannot be read.
    """
    with atomic.wrap_os_errors(directory):
        if not directory.exists():
            return
        names = sorted(path.name for path in directory.iterdir() if _is_reserved(path.name, is_ours))
        # Another process may claim the directory now: its marker is written first, so the marker is read last.
        is_refused = bool(names) and not is_marked(directory)
    if is_refused:
        rest = f" and {len(names) - 1} more names" if len(names) > 1 else ""
        raise StorageError(
            f"{directory}: holds {names[0]}{rest} and was not made by a training; choose a directory without them"
        )


def _is_reserved(name: str, is_ours: Callable[[str], bool]) -> bool:
    """Returns whether a training run may write, replace or remove a name in its directory."""
    return name == MARKER or is_ours(name) or is_ours(_backed_up_name(name)) or atomic.is_unfinished(name)


def check_cache(directory: Path, marker: str, content: bytes, purpose: str) -> None:
    """Checks that a directory is a cache of this toolkit, or is new or empty.

    Args:
        directory: the directory.
        marker: the name of the file that marks the cache; it is written before any other file.
        content: the content of that file.
        purpose: what is cached, for the message.

    Raises:
        StorageError: the directory holds files and no marker.
        OSError: it cannot be read.
    """
    if not directory.exists():
        return
    names = sorted(path.name for path in directory.iterdir())
    names = [name for name in names if name not in (LOCK, marker) and not atomic.is_unfinished(name)]
    # Another process may mark the directory now. The marker is older than other files, so it is read after the listing.
    if names and not has_content(directory / marker, content):
        raise StorageError(f"{directory}: holds {names[0]} and was not made for {purpose}; choose another directory")


@contextmanager
def claim(directory: Path, is_ours: Callable[[str], bool]) -> Iterator[None]:
    """Creates, marks, locks and cleans up the directory of a training run.

    Args:
        directory: the directory, which may exist if `check_claim` accepts it.
        is_ours: returns whether a training run writes, replaces or removes a name.

    Raises:
        StorageError: as `check_claim` and `lock`.
    """
    check_claim(directory, is_ours)
    with atomic.wrap_os_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with lock(directory):
        check_claim(directory, is_ours)
        with atomic.wrap_os_errors(directory):
            if not is_marked(directory):
                atomic.replace(directory / MARKER, _MARKER_CONTENT)
            clean_up(directory, is_ours)
        yield


@contextmanager
def lock(directory: Path, *, name: str = LOCK, remove_lock: bool = False, wait: bool = False) -> Iterator[None]:
    """Locks a directory, or a part of it, for one writer at a time, by a lock file with a known content.

    filelock truncates an existing lock file, which may be a file of the user. Hence this function.

    Args:
        directory: the directory.
        name: the name of the lock file; another one for each part that has a lock of its own.
        remove_lock: remove the lock file at the end.
        wait: wait while another process has the lock.

    Raises:
        StorageError: another process has the lock, the directory cannot be written, or the lock's path holds a file
            that is not a lock.
    """
    path = directory / name
    with atomic.wrap_os_errors(directory):
        handle = _acquire(path, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        try:
            if remove_lock and os.pread(handle, len(_LOCK_CONTENT) + 1, 0) == _LOCK_CONTENT:
                path.unlink(missing_ok=True)  # while locked: `_acquire` detects a removed file
        finally:
            os.close(handle)


def _acquire(path: Path, operation: int) -> int:
    """Returns the descriptor of a lock file, locked; the system unlocks the file when the descriptor is closed."""
    while True:
        handle, created = _open_lock(path)
        try:
            fcntl.flock(handle, operation)
            if not _is_open_at(handle, path):
                os.close(handle)
                continue
            if created:
                os.pwrite(handle, _LOCK_CONTENT, 0)
            elif os.pread(handle, len(_LOCK_CONTENT) + 1, 0) not in (b"", _LOCK_CONTENT):
                raise _not_a_lock(path)
        except BlockingIOError:
            os.close(handle)
            raise DirectoryInUseError(f"{path.parent}: another process is writing here") from None
        except BaseException:
            os.close(handle)
            raise
        return handle


def _open_lock(path: Path) -> tuple[int, bool]:
    """Returns the descriptor of a lock file, and whether this call created the file."""
    while True:
        try:
            return atomic.open_regular(path, os.O_RDWR | os.O_CREAT | os.O_EXCL), True
        except FileExistsError:
            pass
        try:
            return atomic.open_regular(path, os.O_RDWR), False
        except FileNotFoundError:  # another process removed it meanwhile
            continue
        except OSError as error:
            raise _not_a_lock(path) from error


def _not_a_lock(path: Path) -> StorageError:
    return StorageError(f"{path}: is not a lock file of this tool; move it away")


def _is_open_at(handle: int, path: Path) -> bool:
    """Returns whether a descriptor belongs to the file at a path."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return (status.st_dev, status.st_ino) == (os.fstat(handle).st_dev, os.fstat(handle).st_ino)
