"""Errors that a user can cause, each a line that says what to do, and the end of a stopped job."""

import signal
from collections.abc import Iterable
from itertools import islice

MAX_FAULTS = 20
"""The most lines of a list of similar faults."""


class TaggerError(Exception):
    """A user's mistake or a damaged input; `faults` has one printable line per fault.

    A parameter of the public API is in backquotes; the command line shows its option instead.

    >>> print(TaggerError("first fault", "second fault"))
    first fault
    second fault
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(self.faults)


class ConfigError(TaggerError):
    """A recipe, an override or an option that cannot be used."""


class DataError(TaggerError):
    """A corpus, text or vector file that cannot be read."""


class EmptyError(DataError):
    """A corpus without a sentence that can be read."""


class TruncatedError(DataError):
    """A source that cannot be read to its end; `line` is the last line that was read, 0 if none was."""

    def __init__(self, fault: str, line: int) -> None:
        super().__init__(f"{fault}; read up to line {line}" if line else fault)
        self.fault = fault

    def before(self, line: int) -> "TruncatedError":
        """Returns the same error for a source that was read up to the line before `line`."""
        return TruncatedError(self.fault, line - 1)


class CorruptError(DataError):
    """Compressed data that is damaged or incomplete, or a file that changed while it was read: no line is reliable."""


class StorageError(TaggerError):
    """A file or directory that is missing, in use, not ours, or cannot be read or written."""


class DirectoryInUseError(StorageError):
    """A directory that another process writes into."""


class ModelError(TaggerError):
    """A model directory, checkpoint or training record that is missing, damaged or of another format."""


class TrainingError(TaggerError):
    """A training that cannot continue, for example because the loss is not finite."""


class Stopped(Exception):  # noqa: N818  # not an error: a signal requested the stop
    """A job that a signal stopped; `saved` says whether it saved a state from which it can continue."""

    def __init__(self, signum: int, *, saved: bool = True) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}{'; continue with `resume=True`' * saved}")
        self.signum = signum
        self.exit_code = 128 + signum


def limit_faults(faults: Iterable[str], limit: int = MAX_FAULTS, *, count: int | None = None) -> list[str]:
    """Returns the first faults, and a line with the number of those left out.

    Args:
        faults: the faults; those after the first ones are not read if their `count` is known.
        limit: the number of faults to return.
        count: the number of all faults; None to count them.

    >>> limit_faults(["a", "b", "c"], 1)
    ['a', '… and 2 more']
    """
    iterator = iter(faults)
    first = list(islice(iterator, limit))
    rest = sum(1 for _ in iterator) if count is None else count - limit
    return [*first, *([f"… and {rest} more"] if rest > 0 else [])]
