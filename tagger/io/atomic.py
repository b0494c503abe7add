"""Writes files and directories whole or not at all, and never replaces what this toolkit did not make.

Three kinds of targets have three rules:

- A file that the user names as an output (`open_output`) is replaced atomically if it is a regular file. A device, a
  FIFO or a link to one is opened and written.
- A file inside a directory of ours (`replace`, `atomic_file`) is replaced atomically. Links are replaced, not followed.
- A directory is ours if it holds a marker (`claim`). Without the marker, a name that exists there is an error.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tagger.errors import StorageError

LOCK, MARKER = ".tagger.lock", ".tagger-run"
_LOCK_TEXT = b"bilstm-crf-tagger lock\n"
_MARKER_TEXT = b"bilstm-crf-tagger training run\n"
_UNFINISHED = re.compile(r"\.tagger-[0-9a-f]{8}\.new")  # files and directories that a crash left unfinished
_COPIED = 1 << 20  # bytes at once
_MAX_LINKS = 40
_TAKEN = "exists; choose another directory"
_STREAM_LINK = re.compile(r"/dev/(?:std(?:in|out|err)$|fd/)|/proc/")
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a fault of the system within the block, such as a full disk, into one line that names the path.

    Raises:
        StorageError: the system reported a fault.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_writable(path: Path) -> None:
    """Checks that an output can be written, in a folder that may not exist yet; leaves no trace.

    Raises:
        StorageError: the output cannot be written.
    """
    with writing(path):
        target = _replaceable(path)
        if target is None:
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        folder = next(folder for folder in Path(os.path.abspath(target)).parents if folder.exists())  # noqa: PTH100
        tempfile.TemporaryFile(dir=folder).close()


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Opens an output that the user names; its folder is made if it does not exist.

    A regular file gets its new content when the block ends without an error. A device or a FIFO is written at once.
    """
    target = _replaceable(path)
    if target is None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY), "wb") as stream:
            yield stream
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as stream:
            yield stream


def write_output(path: Path, data: bytes) -> None:
    """Writes an output that the user names, as `open_output` does.

    Raises:
        StorageError: the output cannot be written.
    """
    with writing(path), open_output(path) as stream:
        stream.write(data)


def copy_output(source: Path, path: Path) -> None:
    """Copies a file to an output that the user names, as `open_output` does."""
    with source.open("rb") as content, open_output(path) as stream:
        shutil.copyfileobj(content, stream, _COPIED)


def _replaceable(path: Path) -> Path | None:
    """Returns the regular file, or the free name, that a path leads to; None for a device, a FIFO or a link to one.

    A link to an open file, such as /dev/stdout, is never replaced.

    Raises:
        IsADirectoryError: the path leads to a directory.
    """
    for _ in range(_MAX_LINKS):
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


def extend(path: Path, data: bytes, offset: int) -> None:
    """Replaces all bytes of a file from an offset on; creates the file if it does not exist.

    Raises:
        OSError: the path is a link or not a regular file, or the disk is full.
    """
    with os.fdopen(_open_own(path, os.O_WRONLY | os.O_CREAT), "wb", buffering=0) as stream:
        stream.truncate(offset)
        stream.seek(offset)
        left = memoryview(data)
        while left:
            left = left[stream.write(left) :]


def truncate(path: Path, size: int) -> None:
    """Cuts a file of ours to a size in bytes.

    Raises:
        OSError: the path is a link or not a regular file.
    """
    handle = _open_own(path, os.O_WRONLY)
    try:
        os.ftruncate(handle, size)
    finally:
        os.close(handle)


def open_log(path: Path) -> BinaryIO:
    """Opens a file of ours to append to; creates the file if it does not exist.

    Raises:
        OSError: the path is a link or not a regular file.
    """
    return os.fdopen(_open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")


def _open_own(path: Path, flags: int) -> int:
    """Returns the descriptor of a regular file, which is opened without following a link or waiting for a FIFO."""
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file")
    return handle


def replace(path: Path, data: bytes) -> None:
    """Gives a file new content; a reader, or a crash, meets the old content or the new, never a mixture."""
    with atomic_file(path) as stream:
        stream.write(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a new file that takes the name `path`, replacing the old file, when the block ends without an error."""
    handle, unfinished = _create_unfinished(path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _create_unfinished(folder: Path) -> tuple[int, Path]:
    """Creates a file of a random name, with the mode that the umask leaves; returns its descriptor and path."""
    while True:
        path = _unfinished_path(folder)
        with suppress(FileExistsError):
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), path


def _unfinished_path(folder: Path) -> Path:
    return folder / f".tagger-{secrets.token_hex(4)}.new"


def publish(part: Path, path: Path, *, overwrite: bool) -> None:
    """Gives a whole file its name; a file that has the name already is an error unless `overwrite`.

    A crash leaves the part, or the name, or both for one file; a second call then completes the first.

    Raises:
        StorageError: the name is taken.
    """
    if overwrite:
        part.replace(path)
        return
    try:
        os.link(part, path, follow_symlinks=False)
    except FileExistsError:
        if not is_same(part, path):
            raise StorageError(f"{path}: exists and is not an output of this job; choose another directory") from None
    except OSError as error:  # a file system without hard links
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise StorageError(f"{path}: exists and is not an output of this job; choose another directory") from None
        part.rename(path)
        return
    part.unlink()


def is_same(one: Path, other: Path) -> bool:
    """Returns whether two paths are names of one file that exists; a link is a file of its own."""
    try:
        first, second = one.lstat(), other.lstat()
    except FileNotFoundError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def is_own_file(path: Path, published: Path | None = None) -> bool:
    """Returns whether a path is a regular file with no other name than `published`, so that no other file changes."""
    found = path.lstat()
    names = 1 + (published is not None and is_same(path, published))
    return stat.S_ISREG(found.st_mode) and found.st_nlink == names


def is_unfinished(name: str) -> bool:
    """Returns whether a name is that of a file that a crash left unfinished."""
    return _UNFINISHED.fullmatch(name) is not None


@contextmanager
def atomic_directory(path: Path, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yields a new directory to fill; when the block ends without an error it takes the name `path`.

    The old directory goes aside under the name that `settled` knows, and is removed last. A crash at any moment leaves
    the old directory whole or the new one.

    Args:
        path: the directory.
        is_ours: tells whether a directory that exists may be replaced.

    Raises:
        StorageError: a directory is in the way that is not ours.
    """
    for old in (path, _aside(path)):
        if os.path.lexists(old) and (old.is_symlink() or not old.is_dir() or not is_ours(old)):
            raise StorageError(f"{old}: exists and was not made by this tool; choose another directory")
    tidy(path)
    fresh = _unfinished_path(path.parent)
    fresh.mkdir()
    try:
        yield fresh
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
    """Returns the path of a directory: its own, or where a crash within its replacement left the old one."""
    return _aside(path) if not path.exists() and _aside(path).exists() else path


def tidy(path: Path) -> None:
    """Puts back a directory of ours that a crash left aside, or removes the old one."""
    if settled(path) != path:
        _aside(path).rename(path)
    shutil.rmtree(_aside(path), ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def clean_up(directory: Path, is_ours: Callable[[str], bool]) -> None:
    """Puts back and removes what crashes left in a directory of ours; only its sole writer may call this.

    Args:
        directory: the directory.
        is_ours: tells which names of directories in it this toolkit replaces.
    """
    for path in list(directory.iterdir()):
        name = path.name
        if path.is_symlink():
            continue
        if is_unfinished(name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        elif name.startswith(".") and name.endswith(".old") and is_ours(name[1:-4]) and path.is_dir():
            tidy(path.with_name(name[1:-4]))


def is_marked(directory: Path) -> bool:
    """Returns whether a directory holds the marker of a training run.

    Raises:
        OSError: the disk does not tell.
    """
    try:
        handle = _open_own(directory / MARKER, os.O_RDONLY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL):
            return False
        raise
    with os.fdopen(handle, "rb") as stream:
        return stream.read(len(_MARKER_TEXT) + 1) == _MARKER_TEXT


def check_claim(directory: Path, is_ours: Callable[[str], bool]) -> None:
    """Checks that a directory is a training run of ours, or holds no name that a training run writes.

    Args:
        directory: the directory, which may not exist yet.
        is_ours: tells which names a training run writes, replaces or removes.

    Raises:
        StorageError: the directory holds such a name and no marker, or it cannot be read.
    """
    with writing(directory):
        if is_marked(directory) or not directory.exists():
            return
        taken = sorted(path.name for path in directory.iterdir() if _is_reserved(path.name, is_ours))
    if taken:
        more = f" and {len(taken) - 1} more names" if len(taken) > 1 else ""
        raise StorageError(
            f"{directory}: holds {taken[0]}{more} and was not made by a training; choose a directory without them"
        )


def _is_reserved(name: str, is_ours: Callable[[str], bool]) -> bool:
    """Returns whether a training run may write, replace or remove a name in its directory."""
    aside = name[1:-4] if name.startswith(".") and name.endswith(".old") else ""
    return name == MARKER or is_ours(name) or is_ours(aside) or is_unfinished(name)


@contextmanager
def owned(directory: Path, is_ours: Callable[[str], bool]) -> Iterator[None]:
    """Makes the directory of a training run, marks it, and holds it for one writer, without what crashes left in it.

    Args:
        directory: the directory, which may exist if `check_claim` allows it.
        is_ours: tells which names a training run writes, replaces or removes.

    Raises:
        StorageError: as `check_claim` and `sole_writer`.
    """
    check_claim(directory, is_ours)
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with sole_writer(directory):
        check_claim(directory, is_ours)
        with writing(directory):
            if not is_marked(directory):
                replace(directory / MARKER, _MARKER_TEXT)
            clean_up(directory, is_ours)
        yield


@contextmanager
def sole_writer(directory: Path, *, traceless: bool = False) -> Iterator[None]:
    """Holds a directory for one writer at a time, by a lock file of our own content.

    filelock truncates a lock file that exists, which may be somebody else's file; therefore this is written here.

    Args:
        directory: the directory.
        traceless: remove the lock file at the end.

    Raises:
        StorageError: another process holds it, it cannot be written, or a file with the lock's name is not a lock.
    """
    path = directory / LOCK
    with writing(directory):
        handle = _lock(path)
    try:
        yield
    finally:
        try:
            if traceless and os.pread(handle, len(_LOCK_TEXT) + 1, 0) == _LOCK_TEXT:
                path.unlink(missing_ok=True)  # while it is held: `_lock` notices a file that is gone
        finally:
            os.close(handle)


def _lock(path: Path) -> int:
    """Returns the descriptor of a lock file, locked; the system unlocks the file when the descriptor is closed."""
    while True:
        try:
            handle, created = _open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL), True
        except FileExistsError:
            try:
                handle, created = _open_own(path, os.O_RDWR), False
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(f"{path}: is not a lock file of this tool; move it away") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(handle, path):
                os.close(handle)
                continue
            if created:
                os.pwrite(handle, _LOCK_TEXT, 0)
            elif os.pread(handle, len(_LOCK_TEXT) + 1, 0) not in (b"", _LOCK_TEXT):
                raise StorageError(f"{path}: is not a lock file of this tool; move it away")
        except BlockingIOError:
            os.close(handle)
            raise StorageError(f"{path.parent}: another process is writing here") from None
        except BaseException:
            os.close(handle)
            raise
        return handle


def _is_at(handle: int, path: Path) -> bool:
    """Returns whether a descriptor is that of the file at a path."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (os.fstat(handle).st_dev, os.fstat(handle).st_ino)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
