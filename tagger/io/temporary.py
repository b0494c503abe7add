"""Temporary directories that a later process removes if the process that made them was killed."""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tagger.errors import StorageError
from tagger.io import atomic, directories


@contextmanager
def open_directory(prefix: str, marker: str, content: bytes) -> Iterator[Path]:
    """Creates a temporary directory, which is removed at the end; removes those that killed processes left.

    Args:
        prefix: the start of its name; other directories with this start are examined.
        marker: the name of a file that marks it as abandoned if no process has its lock.
        content: the content of the marker.

    Raises:
        StorageError: it cannot be created, or there is no space for it.
    """
    parent, name = Path(tempfile.gettempdir()), re.compile(re.escape(prefix) + r"\w{8}")
    with suppress(OSError):  # users may be allowed to write there, but not to list it
        for path in parent.iterdir():
            if name.fullmatch(path.name):
                _remove_abandoned(path, marker, content)
    with atomic.wrap_os_errors(parent):
        directory = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with directories.lock(directory):
            with atomic.wrap_os_errors(parent):
                atomic.replace(directory / marker, content)  # after the lock
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _remove_abandoned(directory: Path, marker: str, content: bytes) -> None:
    """Removes a temporary directory of this user if no process has its lock."""
    with suppress(OSError, StorageError):
        status = directory.lstat()
        is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        if is_ours and directories.has_content(directory / marker, content):
            with directories.lock(directory):
                shutil.rmtree(directory, ignore_errors=True)
