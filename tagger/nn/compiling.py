"""A word to the user while kernels are compiled: it takes seconds, in which nothing else is seen."""

import logging

from numba.core import event

log = logging.getLogger(__name__)


class _Announcement(event.Listener):  # type: ignore[misc]
    """Says so once a process; what numba has kept from an earlier one is not compiled again."""

    said = False

    def on_start(self, event: event.Event) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("tagger.nn."):
            self.said = True
            log.warning("compiling for this processor: once, some seconds")

    def on_end(self, event: event.Event) -> None:
        pass


event.register("numba:compile", _Announcement())
