"""Keeps the current directory off the path on which Python looks for modules, here and in child processes.

It is imported before any other module, so it imports none that Python has not loaded already.
"""

import os
import sys

_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120


def without_current_directory() -> list[str]:
    """Returns the absolute entries of sys.path but the current directory, which stays if this package lies there."""
    kept = [entry for entry in sys.path if isinstance(entry, str) and os.path.isabs(entry)]  # noqa: PTH117
    try:
        current = os.path.realpath(os.getcwd())  # noqa: PTH109
    except OSError:  # it is removed
        return kept
    if current == os.path.realpath(_PACKAGE_PARENT):
        return kept
    return [entry for entry in kept if os.path.realpath(entry) != current]


def drop_current_directory() -> None:
    """Removes the current directory from sys.path, unless this package lies there."""
    sys.path[:] = without_current_directory()


def command(program: str) -> list[str]:
    """Returns what starts Python with a program that finds the modules that this process finds."""
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {without_current_directory()!a}; {program}"]


def environment(**changes: str) -> dict[str, str]:
    """Returns the environment of a child process, in which PYTHONPATH cannot name the current directory."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return kept | changes
