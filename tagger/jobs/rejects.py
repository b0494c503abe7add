"""What a tagging job could not read, set aside in a file of JSON lines."""

import base64
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from tagger.data.sentence import Reject
from tagger.errors import DataError
from tagger.io import atomic

log = logging.getLogger(__name__)

_MOST_TOLD = 20


class Rejects:
    """A file with a row (file, line, fault, raw) for each line, row or block that could not be read.

    Where `raw` is not UTF-8, `base64` holds its bytes, and `raw` shows them with backslashes. The text of lines is
    there byte for byte; of a line over `max_record_bytes` only the beginning is there. A row of Parquet is there as
    JSON, or not at all if it is too large.

    A file of which the rest could not be read has a row whose line is null. Its lines before that are tagged; but in a
    directory nothing is kept of packed data that is damaged or truncated, or of a file that changed while it was read.
    The rows stand in a part file; the job gives it its name, or copies it, when it ends.

    Args:
        part: the part file.
        name: what messages call the file.
        size, count: of the part file that is there already.

    Attributes:
        part: the part file.
        size: the bytes written.
        count: the rows written.
    """

    def __init__(self, part: Path, name: str, *, size: int = 0, count: int = 0) -> None:
        self.part, self.size, self.count = part, size, count
        self._name = name
        self._write(b"")

    def add(self, name: str, reject: Reject) -> None:
        """Takes up what could not be read of a file."""
        self.add_row({"file": name, "line": reject.line, "fault": reject.fault} | _shown(reject.raw))

    def add_file(self, name: str, error: DataError) -> None:
        """Takes up a file that could not be read to its end."""
        self.add_row({"file": name, "line": None, "fault": str(error), "raw": ""})

    def add_row(self, row: Mapping[str, object]) -> None:
        """Takes up a row of such a file."""
        self._write(json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
        self.count += 1
        if self.count <= _MOST_TOLD:
            log.warning("left out: %s", row["fault"])
        elif self.count == _MOST_TOLD + 1:
            log.warning("more is left out; all of it goes into %s", self._name)

    def _write(self, data: bytes) -> None:
        with atomic.wrap_os_errors(self.part):
            atomic.write_from(self.part, data, self.size)
        self.size += len(data)


def _shown(raw: str) -> dict[str, str]:
    """Returns lines as they stand or, if they are not UTF-8, readable and exact."""
    data = raw.encode(errors="surrogateescape")
    try:
        return {"raw": data.decode()}
    except UnicodeDecodeError:
        return {"raw": data.decode(errors="backslashreplace"), "base64": base64.b64encode(data).decode()}
