"""Compilation by numba, with a log message, because compiling takes seconds without any other output."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from tagger.errors import ConfigError

log = logging.getLogger(__name__)

_CONFIG_FILE = ".numba_config.yaml"


@contextmanager
def _without_config_file() -> Iterator[None]:
    """Runs the block, which imports numba, so that numba ignores a configuration file in the current directory.

    numba has no option for that. Its warnings, such as about variables that it cannot parse, are logged, one per line.

    Raises:
        ConfigError: numba rejects a NUMBA_ environment variable.
    """
    exists = os.path.exists
    os.path.exists = lambda path: path != _CONFIG_FILE and exists(path)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            yield
    except ValueError as error:
        raise ConfigError(f"numba rejects a NUMBA_ environment variable: {error}") from error
    finally:
        os.path.exists = exists
    for warning in caught:
        log.warning("numba: %s", str(warning.message).partition("\n")[0])


with _without_config_file():
    import numba
    from numba.core import config, event
    from numba.core.compiler_lock import global_compiler_lock

if hasattr(config, "_config_fname"):
    config._config_fname = os.devnull  # numba looks again at each compilation; this is no regular file

try:
    from tagger.nn.kernels.code_cache import CheckedCache, reports
except (ImportError, AttributeError) as _error:  # internals of this numba version differ
    log.warning("compiled code is not stored, and each start compiles again: numba %s: %s", numba.__version__, _error)
    CheckedCache = reports = None  # type: ignore[assignment, misc]


class _Announcement(event.Listener):  # type: ignore[misc]
    """Logs once per process that functions are compiled; functions from the cache are not compiled again."""

    is_logged = False

    def on_start(self, event: event.Event) -> None:
        if not self.is_logged and event.data["dispatcher"].py_func.__module__.startswith("tagger."):
            self.is_logged = True
            if reports is None or not reports.unused:
                log.warning("compiling for this processor: once, takes some seconds")
            else:
                hint = "set NUMBA_CACHE_DIR to a directory that only you can write to"
                log.warning(
                    "compiling for this processor, which takes some seconds at each start: %s; %s", reports.unused, hint
                )

    def on_end(self, event: event.Event) -> None:
        pass


event.register("numba:compile", _Announcement())


# Otherwise a fork while another thread compiles would leave the lock held in the child.
os.register_at_fork(
    before=global_compiler_lock.acquire,
    after_in_parent=global_compiler_lock.release,
    after_in_child=global_compiler_lock.release,
)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Returns a decorator that compiles a function with numba's options and caches the code on disk if possible.

    If NUMBA_DISABLE_JIT is set, calling the function raises ConfigError.
    """

    def compile_function(function: Callable[..., Any]) -> Any:
        if config.DISABLE_JIT:
            return _refuse_calls(function)
        dispatcher = numba.njit(nogil=True, **options)(function)
        _store(dispatcher, function)
        return dispatcher

    return compile_function


def _store(dispatcher: Any, function: Callable[..., Any]) -> None:
    """Enables the disk cache for a compiled function."""
    if reports is None:
        return
    try:
        dispatcher._cache = CheckedCache(function)
    except (RuntimeError, OSError) as error:  # numba finds no directory
        reports.not_stored(f"there is no writable directory for compiled code ({error})")
    except (AttributeError, TypeError) as error:  # internals of this numba version differ
        reports.not_stored(f"numba {numba.__version__} is not supported ({error})")


def _refuse_calls(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def refuse(*_: object, **__: object) -> None:
        raise ConfigError("NUMBA_DISABLE_JIT is set, but the toolkit needs compiled functions; unset it")

    return refuse


elementwise = compiled(fastmath={"contract"}, error_model="numpy")
"""Compiles a loop over units, with a slice for each gate, so that LLVM computes eight units at a time."""
