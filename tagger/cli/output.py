"""Output of the commands: results on stdout, notices and errors on stderr."""

import logging
import sys
from collections.abc import Callable
from typing import NoReturn, Protocol

import typer

from tagger import streams


class Report(Protocol):
    """A result that has a text and a JSON form."""

    def to_json(self) -> object:
        """Returns its values as JSON has them."""


def print_result(text: str) -> None:
    """Prints a result on stdout, control characters escaped."""
    typer.echo(streams.escape_controls(text))
    sys.stdout.flush()  # a full disk raises OSError here, where it can still be reported


def print_report(result: Report, *, as_json: bool) -> None:
    """Prints a result as JSON or as the text that it is shown as."""
    from tagger.io import json_files

    print_result(json_files.dump(result.to_json()).decode() if as_json else str(result))


def exit_with_errors(code: int, *errors: str) -> NoReturn:
    """Ends the command with an exit code after a line on stderr for each error."""
    for error in errors:
        streams.print_error(error)
    raise typer.Exit(code)


def log_to_stderr(translate: Callable[[str], str]) -> None:
    """Prints the log messages of the package, translated, on stderr."""
    stop_logging()
    logger = logging.getLogger("tagger")
    logger.addHandler(_StderrHandler(translate))
    logger.setLevel(logging.INFO)


def stop_logging() -> None:
    """Prints no further log messages on stderr."""
    logger = logging.getLogger("tagger")
    logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, _StderrHandler)]


class _StderrHandler(logging.Handler):
    """Prints log messages on the current sys.stderr, which a progress bar replaces while it is shown."""

    def __init__(self, translate: Callable[[str], str]) -> None:
        super().__init__()
        self._translate = translate

    def emit(self, record: logging.LogRecord) -> None:
        streams.print_error(self._translate(record.getMessage()))
