"""The standard streams: usable if the caller closed them, and safe from terminal control characters."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import BinaryIO

_MAX_LINE = 4000  # characters
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


class TerminalWriter:
    """Writes bytes to a terminal and escapes control characters, so that tagged text cannot control it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Writes UTF-8 text; returns the number of its bytes."""
        self._stream.write(data.decode(errors="backslashreplace").translate(_CONTROLS).encode())
        return len(data)

    def flush(self) -> None:
        """Flushes the terminal."""
        self._stream.flush()


def escape_controls(text: str) -> str:
    r"""Returns text with control characters escaped, except line breaks, so that data cannot control a terminal.

    >>> escape_controls("a\x1b[0m\nb")
    'a\\x1b[0m\nb'
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def escape_line(text: str) -> str:
    r"""Returns text with control characters and line breaks escaped.

    >>> escape_line("a\nb")
    'a\\nb'
    """
    return escape_controls(text).replace("\n", "\\n")


def print_error(line: str) -> None:
    """Prints a line on standard error, truncated if it is long; ignores a closed or full stream."""
    text = escape_line(line)
    text = text if len(text) <= _MAX_LINE else f"{text[:_MAX_LINE]}…"
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def open_closed_streams() -> None:
    """Opens the standard streams that the caller closed; otherwise the next opened file would get their descriptor.

    Reading standard input and writing standard output then raise an error. Standard error is discarded.
    """
    for number, name, flags in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None and not _is_open(number):
            handle = os.open(os.devnull, flags)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def escape_unencodable() -> None:
    """Makes standard output escape characters that its encoding does not have."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush_output() -> OSError | None:
    """Flushes standard output; if that fails, returns the error and discards the buffer."""
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        return error
    return None


def discard_output() -> None:
    """Discards the buffer of standard output, so that Python does not fail at exit when it flushes it."""
    with suppress(OSError, ValueError):  # standard output has no descriptor
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, sys.stdout.fileno())
        os.close(handle)
