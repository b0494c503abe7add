"""Removes the current directory from the module search path, in this process and in child processes.

It is imported before any other module, so it imports only modules that Python has already loaded.
"""

import os
import sys

_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120


def list_import_paths() -> list[str]:
    """Returns the absolute entries of sys.path without the current directory, unless it contains this package."""
    entries = [entry for entry in sys.path if isinstance(entry, str) and os.path.isabs(entry)]  # noqa: PTH117
    try:
        current = os.path.realpath(os.getcwd())  # noqa: PTH109
    except OSError:  # the directory was removed
        return entries
    if current == os.path.realpath(_PACKAGE_PARENT):
        return entries
    return [entry for entry in entries if os.path.realpath(entry) != current]


def drop_current_directory() -> None:
    """Removes the current directory from sys.path, unless it contains this package."""
    sys.path[:] = list_import_paths()


def command(program: str) -> list[str]:
    """Returns a command that runs a Python program with the module search path of this process."""
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {list_import_paths()!a}; {program}"]


def environment(**changes: str) -> dict[str, str]:
    """Returns the environment of a child process, without PYTHONPATH, which may name the current directory."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return variables | changes
