"""The errors that a user can cause, each a line to read and act on; and the end of a job that was asked to stop."""

import signal


class TaggerError(Exception):
    """A user's mistake or a damaged input; `faults` holds one printable line for each.

    A parameter of the public API stands in backquotes; the command line shows its option instead.

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


class TruncatedError(DataError):
    """A source that ends before its end: `fault`, and the last line that was read, 0 if none was."""

    def __init__(self, fault: str, line: int) -> None:
        super().__init__(f"{fault}; read up to line {line}" if line else fault)
        self.fault = fault

    def before(self, line: int) -> "TruncatedError":
        """Returns the same of a source of which nothing was read from a line on."""
        return TruncatedError(self.fault, line - 1)


class CorruptError(DataError):
    """Packed data that is damaged or unfinished, or a file that changed while it was read: nothing of it is safe."""


class StorageError(TaggerError):
    """A file or directory that is missing, in use, not ours, or cannot be read or written."""


class ModelError(TaggerError):
    """A model directory, checkpoint or training record that is missing, damaged or of another format."""


class TrainingError(TaggerError):
    """A training that cannot go on, such as a loss that is not finite."""


class Stopped(Exception):  # noqa: N818  # no fault: the job was asked to stop and its state is saved
    """A job stopped because of a signal, after it had saved its state unless it has none to go on from."""

    def __init__(self, signum: int, *, saved: bool = True) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}{'; continue with `resume=True`' * saved}")
        self.signum = signum
        self.exit_code = 128 + signum
