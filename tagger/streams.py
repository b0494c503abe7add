"""The standard streams: usable when the caller has closed them, and text that cannot steer a terminal."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import BinaryIO

_MAX_LINE = 4000  # characters of an error line
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


class TerminalWriter:
    """Writes bytes to a terminal with control characters escaped, so that tagged text cannot steer it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Writes UTF-8 text; returns the number of its bytes."""
        self._stream.write(data.decode(errors="backslashreplace").translate(_CONTROLS).encode())
        return len(data)

    def flush(self) -> None:
        """Flushes the terminal."""
        self._stream.flush()


def printable(text: str) -> str:
    r"""Returns text with control characters escaped, so that data cannot steer a terminal; lines stay lines.

    >>> printable("a\x1b[0m\nb")
    'a\\x1b[0m\nb'
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    r"""Returns text with control characters and line breaks escaped.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return printable(text).replace("\n", "\\n")


def print_error(line: str) -> None:
    """Prints a line on standard error; if that is closed or full, nothing else can be done."""
    text = one_line(line)
    shown = text if len(text) <= _MAX_LINE else f"{text[:_MAX_LINE]}…"
    with suppress(OSError, ValueError):
        print(shown, file=sys.stderr, flush=True)  # noqa: T201


def open_closed_streams() -> None:
    """Opens the standard streams that the caller has closed; else the next file would get their number.

    Input and output are opened such that their use is an error. What goes to standard error is discarded.
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
    """Lets standard output escape characters that its encoding lacks."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush_output() -> OSError | None:
    """Writes what is left for standard output; returns the fault if that fails, and discards the rest."""
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        return error
    return None


def discard_output() -> None:
    """Sends what is left for standard output to nowhere, so that Python does not fail on it when it exits."""
    with suppress(OSError, ValueError):  # it is not a file
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, sys.stdout.fileno())
        os.close(handle)
