"""Compiling, and a word to the user meanwhile: it takes seconds, in which nothing else is seen."""

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
def _own_settings() -> Iterator[None]:
    """Keeps numba, imported within the block, from a configuration file in the current directory.

    numba has no switch for that. What it warns of, such as a variable that it cannot parse, is logged in a line each.

    Raises:
        ConfigError: numba refuses a NUMBA_ variable of the environment.
    """
    exists = os.path.exists
    os.path.exists = lambda path: path != _CONFIG_FILE and exists(path)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            yield
    except ValueError as error:
        raise ConfigError(f"a NUMBA_ variable of the environment is refused: {error}") from error
    finally:
        os.path.exists = exists
    for warning in caught:
        log.warning("numba: %s", str(warning.message).partition("\n")[0])


with _own_settings():
    import numba
    from numba.core import config, event
    from numba.core.compiler_lock import global_compiler_lock

if hasattr(config, "_config_fname"):
    config._config_fname = os.devnull  # numba looks again at each compilation, and this is no regular file

try:
    from tagger.nn.kernels.code_cache import CheckedCache, reports
except (ImportError, AttributeError) as _error:  # this numba has other names
    log.warning("compiled code is not stored, so that each start compiles: numba %s: %s", numba.__version__, _error)
    CheckedCache = reports = None  # type: ignore[assignment, misc]


class _Announcement(event.Listener):  # type: ignore[misc]
    """Says so once a process; what numba has kept from an earlier one is not compiled again."""

    said = False

    def on_start(self, event: event.Event) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("tagger."):
            self.said = True
            if reports is None or not reports.unused:
                log.warning("compiling for this processor: once, some seconds")
            else:
                hint = "give NUMBA_CACHE_DIR a directory in which only you can write"
                log.warning("compiling for this processor, some seconds at each start: %s; %s", reports.unused, hint)

    def on_end(self, event: event.Event) -> None:
        pass


event.register("numba:compile", _Announcement())


# A fork while another thread compiles would leave the lock held in the child.
os.register_at_fork(
    before=global_compiler_lock.acquire,
    after_in_parent=global_compiler_lock.release,
    after_in_child=global_compiler_lock.release,
)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Returns what compiles a function by numba's options, and stores the code where there is a directory for that.

    Where NUMBA_DISABLE_JIT is set, calling the function raises ConfigError.
    """

    def compile_function(function: Callable[..., Any]) -> Any:
        if config.DISABLE_JIT:
            return _refused(function)
        dispatcher = numba.njit(nogil=True, **options)(function)
        _store(dispatcher, function)
        return dispatcher

    return compile_function


def _store(dispatcher: Any, function: Callable[..., Any]) -> None:
    """Lets a compiled function be stored on disk."""
    if reports is None:
        return
    try:
        dispatcher._cache = CheckedCache(function)
    except (RuntimeError, OSError) as error:  # numba found no directory
        reports.not_stored(f"no directory for compiled code can be written ({error})")
    except (AttributeError, TypeError) as error:  # this numba has other names
        reports.not_stored(f"numba {numba.__version__} stores code in another way ({error})")


def _refused(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def refuse(*_: object, **__: object) -> None:
        raise ConfigError("NUMBA_DISABLE_JIT is set, but this toolkit needs compiled functions; unset it")

    return refuse


elementwise = compiled(fastmath={"contract"}, error_model="numpy")
"""Compiles a loop over units, with a slice for each gate, so that LLVM computes eight units at a time."""
