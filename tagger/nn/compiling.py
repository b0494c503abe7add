"""Compiling, and a word to the user meanwhile: it takes seconds, in which nothing else is seen."""

import logging
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

log = logging.getLogger(__name__)


class _Announcement(event.Listener):  # type: ignore[misc]
    """Says so once a process; what numba has kept from an earlier one is not compiled again."""

    said = False

    def on_start(self, event: event.Event) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("tagger."):
            self.said = True
            log.warning("compiling for this processor: once, some seconds")

    def on_end(self, event: event.Event) -> None:
        pass


event.register("numba:compile", _Announcement())


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Returns what compiles a function by numba's options, and keeps the code where there is a place for that."""

    def compile_function(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # there is no place to keep it
            return numba.njit(nogil=True, **options)(function)

    return compile_function


unit_wise = compiled(fastmath={"contract"}, error_model="numpy")
"""Compiles a loop over units, with a slice for each gate, so that LLVM computes eight units at a time."""
