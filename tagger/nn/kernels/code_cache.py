"""The cache of compiled functions on disk, which runs no code that somebody else wrote or that is damaged.

numba's cache consists of pickles and machine code, and numba believes all of it. Here a directory must be one that
other users may not write to, and each file ends with the SHA-256 of what is before it. A file that does not fit is
absent. The code of a function also depends on the functions inlined into it: the cache is keyed by all sources.
"""

import hashlib
import inspect
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from uuid import uuid4

import llvmlite
from numba.core import caching, config
from numba.core.runtime.nrt import rtsys

from tagger.io import ownership

log = logging.getLogger(__name__)

_MARK = b"tagger1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_FOLDER = f"{Path(__file__).parents[1]}{os.sep}"
_MAX_BYTES = 1 << 26  # of a file; the largest has some 100 KB
_STOP = b"."  # the last byte of a pickle, so of a whole file that numba wrote by itself


class _Reports:
    """Reports each kind of fault once in a process.

    Attributes:
        unsafe: a directory that is not used since others may write there, empty if there is none.
        unused: why functions are not stored, empty while they are.
    """

    def __init__(self) -> None:
        self.unsafe = self.unused = ""
        self._reported: set[str] = set()

    def not_stored(self, reason: str) -> None:
        """Notes why functions are not stored, for the line that is logged when one is compiled."""
        if self.unsafe:
            reason = f"others may write in {self.unsafe}, so compiled code there is not trusted"
        self.unused = self.unused or reason

    def damaged(self, path: str) -> None:
        """Reports a file whose content is not what was written."""
        self._once(f"{path}: damaged file of compiled code; this code and other such code is compiled again")

    def failed(self, directory: str, error: Exception) -> None:
        """Reports that compiled code cannot be stored."""
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        self._once(f"{directory}: compiled code cannot be stored, so it is compiled at each start: {reason[:200]}")

    def _once(self, text: str) -> None:
        kind = text.partition(": ")[2]
        if kind not in self._reported:
            self._reported.add(kind)
            log.warning("%s", text)


reports = _Reports()


class _Files(caching.IndexDataCacheFile):  # type: ignore[misc]
    """The index and the code of one function, with a digest at the end of each file, where numba reads over it."""

    def load(self, key: Any) -> Any:
        """Returns the stored code for a key, None if there is none."""
        stored = super().load(key)
        # A crash between the writes of an index and of the code leaves code of another source or key.
        return stored[2] if stored is not None and stored[:2] == (self._source_stamp, key) else None

    def save(self, key: Any, data: Any) -> None:
        """Stores code under a key."""
        super().save(key, (self._source_stamp, key, data))

    def _load_index(self) -> Any:
        return super()._load_index() if _is_whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        if not _is_whole(self._data_path(name)):
            raise FileNotFoundError(name)  # which numba takes for code that is not stored
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[BytesIO]:
        content = BytesIO()
        yield content
        body = content.getvalue()
        fresh = f"{filepath}.tmp.{uuid4().hex[:16]}"
        try:
            # Readable for all and writable for nobody else, whatever the umask is.
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            with os.fdopen(handle, "wb") as stream:
                stream.write(body + hashlib.sha256(body).digest() + _MARK)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(fresh, filepath)  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                os.unlink(fresh)  # noqa: PTH108
            raise


def _is_whole(path: str) -> bool:
    """Returns whether a file is there, can be trusted and has its digest; reports it if it is damaged."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        reports.damaged(path)
        return False
    with os.fdopen(handle, "rb", buffering=0) as stream:
        size = os.fstat(handle).st_size
        data = stream.read(size) if ownership.is_safe(handle) and size <= _MAX_BYTES else b""
    body, digest, mark = data[: -_DIGEST_BYTES - len(_MARK)], data[-_DIGEST_BYTES - len(_MARK) :], data[-len(_MARK) :]
    if mark == _MARK and digest[:_DIGEST_BYTES] == hashlib.sha256(body).digest():
        return True
    if data[-1:] != _STOP:
        reports.damaged(path)
    return False


class _Checked:
    """A way to choose the directory of a function that chooses no directory in which others may write."""

    def __init__(self, locator: Any) -> None:
        self._locator = locator

    def from_function(self, function: Any, file: str) -> Any:
        """Returns numba's object for the directory of a function, None if the directory cannot be used."""
        try:
            found = self._locator(function, file)
            directory = os.path.abspath(found.get_cache_path())  # noqa: PTH100
            _prepare(directory)
        except OSError:
            return None
        return found


@cache
def _prepare(directory: str) -> None:
    """Makes a directory and sees once that it can be written, by this user or root alone.

    Raises:
        OSError: it cannot.
    """
    _check(directory)
    _make(directory)
    _check(directory)
    TemporaryFile(dir=directory).close()


def _check(directory: str) -> None:
    if unsafe := ownership.find_unsafe_part(directory):
        reports.unsafe = unsafe
        raise PermissionError(f"others may write in {unsafe}")


def _make(directory: str) -> None:
    """Makes a directory and those above it, in which nobody else may write, whatever the umask is."""
    path = Path(directory)
    for one in [*reversed(path.parents), path]:
        if not one.exists():
            with suppress(FileExistsError):
                one.mkdir(0o755)


class _Implementation(caching.CompileResultCacheImpl):  # type: ignore[misc]
    @property
    def _locator_classes(self) -> list[_Checked]:
        if config.CACHE_DIR:
            return [_Checked(caching.UserProvidedCacheLocator)]
        return [_Checked(caching.InTreeCacheLocator), _Checked(caching.UserWideCacheLocator)]


class CheckedCache(caching.FunctionCache):  # type: ignore[misc]
    """Stores the code of one function; what fails here never fails the caller, who then compiles.

    Raises:
        RuntimeError: there is no directory to store it in.
        OSError: likewise.
    """

    _impl_class = _Implementation

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        directory = os.path.abspath(self._impl.locator.get_cache_path())  # noqa: PTH100
        _prepare(directory)  # NUMBA_CACHE_LOCATOR_CLASSES may have chosen another
        self._cache_path = directory
        self._impl.locator.get_cache_path = lambda: directory  # a relative one would move with the current directory
        self._cache_file = _Files(directory, self._impl.filename_base, _stamp(inspect.getfile(function)))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Returns the stored code for a signature, None if there is none."""
        try:
            # numba's own method refreshes the context first: that imports all that compiling needs, scipy included.
            # Machine code needs its run-time system alone; a function that is compiled refreshes the context itself.
            rtsys.initialize(target_context)
            return self._load_overload(sig, target_context)
        except Exception as error:  # whatever unpickling may raise, if another llvmlite wrote it
            log.debug("stored code is of no use: %s", error)
            reports.damaged(self._cache_path)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Stores the code for a signature."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # a full disk, or whatever pickling may raise
            reports.failed(self._cache_path, error)


@cache
def _stamp(file: str) -> bytes:
    """Returns the hash of all sources whose functions may be inlined into those of a file."""
    sources = _sources()
    return sources if file.startswith(_FOLDER) else hashlib.sha256(sources + Path(file).read_bytes()).digest()


@cache
def _sources() -> bytes:
    paths = sorted(Path(_FOLDER).rglob("*.py"))
    hashes = [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    return hashlib.sha256(llvmlite.__version__.encode() + b"".join(hashes)).digest()
