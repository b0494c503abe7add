"""Rejected input of a tagging job, written to a file of JSON lines."""

import base64
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from tagger.data.sentence import Reject
from tagger.errors import DataError
from tagger.io import atomic

log = logging.getLogger(__name__)

_MAX_LOGGED = 20


class Rejects:
    """A file with a row (file, line, fault, raw) for each line, row or block that could not be read.

    If `raw` is not UTF-8, `base64` has its bytes, and `raw` has backslash escapes. Lines are complete, byte for byte,
    except that a line over `max_record_bytes` is truncated. A row of Parquet is written as JSON, or left out if it is
    too large.

    A file that could not be read to its end has a row whose line is null. The lines before are tagged. In a directory,
    however, a file that is compressed and damaged or truncated, or that changed while it was read, has no output.
    The rows are written to a part file; the job renames or copies it when it ends.

    Args:
        part: the part file.
        name: the name of the file in messages.
        size, count: bytes and rows of a part file that exists already.

    Attributes:
        part: the part file.
        size: bytes written.
        count: rows written.
    """

    def __init__(self, part: Path, name: str, *, size: int = 0, count: int = 0) -> None:
        self.part, self.size, self.count = part, size, count
        self._name = name
        self._write(b"")

    def add(self, name: str, reject: Reject) -> None:
        """Adds a part of a file that could not be read."""
        self.add_row({"file": name, "line": reject.line, "fault": reject.fault} | _encode_raw(reject.raw))

    def add_file(self, name: str, error: DataError) -> None:
        """Adds a file that could not be read to its end."""
        self.add_row({"file": name, "line": None, "fault": str(error), "raw": ""})

    def add_row(self, row: Mapping[str, object]) -> None:
        """Adds a row."""
        self._write(json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
        self.count += 1
        if self.count <= _MAX_LOGGED:
            log.warning("rejected: %s", row["fault"])
        elif self.count == _MAX_LOGGED + 1:
            log.warning("more input is rejected; see %s", self._name)

    def _write(self, data: bytes) -> None:
        with atomic.wrap_os_errors(self.part):
            atomic.write_from(self.part, data, self.size)
        self.size += len(data)


def _encode_raw(raw: str) -> dict[str, str]:
    """Returns the fields `raw` and, if the text is not UTF-8, `base64`."""
    data = raw.encode(errors="surrogateescape")
    try:
        return {"raw": data.decode()}
    except UnicodeDecodeError:
        return {"raw": data.decode(errors="backslashreplace"), "base64": base64.b64encode(data).decode()}
