"""Keeps Triton from loading machine code from a directory that other users can write."""

import atexit
import logging
import os
import shutil
import tempfile

from tagger.io import ownership

log = logging.getLogger(__name__)


def check() -> None:
    """Sets a new cache directory for this process if other users can write in Triton's."""
    home = os.environ.get("TRITON_HOME") or os.path.expanduser("~")  # noqa: PTH111
    directory = os.environ.get("TRITON_CACHE_DIR") or f"{home}/.triton/cache"
    try:
        unsafe = ownership.find_unsafe_part(directory)
    except OSError:
        unsafe = directory
    if unsafe is not None:
        directory = tempfile.mkdtemp(prefix="triton-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        os.environ["TRITON_CACHE_DIR"] = directory
        log.warning(
            "others may write in %s, so compiled code there is not trusted; it is compiled at each start", unsafe
        )
