"""The disk cache of compiled functions, which never runs code that another user wrote or that is damaged.

numba's cache consists of pickles and machine code, which numba trusts. Here other users must not be able to write to
the directory, and each file ends with the SHA-256 of its content. A file that fails these checks is ignored. A
function's code also depends on the functions inlined into it, so the cache is keyed by a hash of all sources.
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
_MAX_BYTES = 1 << 26  # of a file; the largest has about 100 KB
_STOP = b"."  # the last byte of a pickle, thus of a complete file that numba wrote without this module


class _Reports:
    """Logs each kind of fault once per process.

    Attributes:
        unsafe: a directory that is not used because other users may write to it, or an empty string.
        unused: why functions are not cached; empty if they are.
    """

    def __init__(self) -> None:
        self.unsafe = self.unused = ""
        self._reported: set[str] = set()

    def not_stored(self, reason: str) -> None:
        """Records why functions are not cached, for the message that is logged when one is compiled."""
        if self.unsafe:
            reason = f"other users may write to {self.unsafe}, so compiled code there is not trusted"
        self.unused = self.unused or reason

    def damaged(self, path: str) -> None:
        """Logs that a file is damaged."""
        self._once(f"{path}: damaged file of compiled code; it is compiled again, like others of its kind")

    def failed(self, directory: str, error: Exception) -> None:
        """Logs that compiled code cannot be cached."""
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        self._once(f"{directory}: compiled code cannot be stored and is compiled at each start: {reason[:200]}")

    def _once(self, text: str) -> None:
        kind = text.partition(": ")[2]
        if kind not in self._reported:
            self._reported.add(kind)
            log.warning("%s", text)


reports = _Reports()


class _Files(caching.IndexDataCacheFile):  # type: ignore[misc]
    """The index and the code of one function; a digest ends each file, and numba's reader ignores it."""

    def load(self, key: Any) -> Any:
        """Returns the cached code for a key, None if there is none."""
        stored = super().load(key)
        # A crash between writing the index and the code leaves code of another source or key.
        return stored[2] if stored is not None and stored[:2] == (self._source_stamp, key) else None

    def save(self, key: Any, data: Any) -> None:
        """Caches code under a key."""
        super().save(key, (self._source_stamp, key, data))

    def _load_index(self) -> Any:
        return super()._load_index() if _is_whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        if not _is_whole(self._data_path(name)):
            raise FileNotFoundError(name)  # numba treats this as code that is not cached
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[BytesIO]:
        content = BytesIO()
        yield content
        body = content.getvalue()
        temporary = f"{filepath}.tmp.{uuid4().hex[:16]}"
        try:
            # Readable for all users and writable for this user only, whatever the umask is.
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            with os.fdopen(handle, "wb") as stream:
                stream.write(body + hashlib.sha256(body).digest() + _MARK)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, filepath)  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise


def _is_whole(path: str) -> bool:
    """Returns whether a file exists, can be trusted and matches its digest; logs it if it is damaged."""
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


class _SafeLocator:
    """A locator of numba that rejects directories to which other users may write."""

    def __init__(self, locator: Any) -> None:
        self._locator = locator

    def from_function(self, function: Any, file: str) -> Any:
        """Returns numba's locator for the directory of a function, None if the directory cannot be used."""
        try:
            locator = self._locator(function, file)
            directory = os.path.abspath(locator.get_cache_path())  # noqa: PTH100
            _prepare(directory)
        except OSError:
            return None
        return locator


@cache
def _prepare(directory: str) -> None:
    """Creates a directory and checks, once per process, that only this user or root can write to it.

    Raises:
        OSError: the directory cannot be written, or other users can write to it.
    """
    _check(directory)
    _make(directory)
    _check(directory)
    TemporaryFile(dir=directory).close()


def _check(directory: str) -> None:
    if unsafe := ownership.find_unsafe_part(directory):
        reports.unsafe = unsafe
        raise PermissionError(f"other users may write to {unsafe}")


def _make(directory: str) -> None:
    """Creates a directory and its parents, writable for this user only, whatever the umask is."""
    path = Path(directory)
    for folder in [*reversed(path.parents), path]:
        if not folder.exists():
            with suppress(FileExistsError):
                folder.mkdir(0o755)


class _Implementation(caching.CompileResultCacheImpl):  # type: ignore[misc]
    @property
    def _locator_classes(self) -> list[_SafeLocator]:
        if config.CACHE_DIR:
            return [_SafeLocator(caching.UserProvidedCacheLocator)]
        return [_SafeLocator(caching.InTreeCacheLocator), _SafeLocator(caching.UserWideCacheLocator)]


class CheckedCache(caching.FunctionCache):  # type: ignore[misc]
    """Caches the code of one function. Faults are logged, and the caller compiles the function.

    Raises:
        RuntimeError: there is no usable directory.
        OSError: there is no usable directory.
    """

    _impl_class = _Implementation

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        directory = os.path.abspath(self._impl.locator.get_cache_path())  # noqa: PTH100
        _prepare(directory)  # NUMBA_CACHE_LOCATOR_CLASSES may have selected another directory
        self._cache_path = directory
        self._impl.locator.get_cache_path = lambda: directory  # a relative path would depend on the current directory
        self._cache_file = _Files(directory, self._impl.filename_base, _stamp(inspect.getfile(function)))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Returns the cached code for a signature, None if there is none."""
        try:
            # numba's own method refreshes the context first: that imports all that compiling needs, scipy included.
            # Machine code needs its run-time system alone; a function that is compiled refreshes the context itself.
            rtsys.initialize(target_context)
            return self._load_overload(sig, target_context)
        except Exception as error:  # unpickling may raise anything if another llvmlite wrote the file
            log.debug("cached code cannot be used: %s", error)
            reports.damaged(self._cache_path)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Caches the code for a signature."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # a full disk, or anything that pickling raises
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
