"""The journal of a tagging job: how far it has come, so that a job that was killed goes on from there."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tagger import files
from tagger.jobs.summary import Summary


@dataclass(slots=True)
class State:
    """How far a job has come, at the end of a pool.

    Attributes:
        pool: pools written.
        finished: inputs written to their end, or to where they could be read.
        named: of these, those whose outputs have their names.
        spoilt: numbers of inputs of which nothing could be read among those not named.
        records: records written of the input at hand.
        size: bytes in the part file of its output.
        document: the document of its last record.
        rejects: bytes and rows in the file of rejects, and `rejects_before`: what it held before the input at hand.
        summary: what was done, and `before`: what was done before the input at hand.
    """

    pool: int = 0
    finished: int = 0
    named: int = 0
    spoilt: list[int] = field(default_factory=list)
    records: int = 0
    size: int = 0
    document: str | int | None = None
    rejects: tuple[int, int] = (0, 0)
    summary: Summary = field(default_factory=Summary)
    before: Summary = field(default_factory=Summary)
    rejects_before: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "State":
        """Returns the state that `to_json` gave the values of."""
        summaries = {name: Summary.of(values[name]) for name in ("summary", "before")}
        pairs = {name: tuple(values[name]) for name in ("rejects", "rejects_before")}
        return cls(**dict(values) | summaries | pairs)

    def to_json(self) -> dict[str, Any]:
        """Returns it as plain values by name."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"summary": self.summary.to_json(), "before": self.before.to_json()}

    def next_input(self) -> None:
        """Passes on to the next input."""
        self.finished += 1
        self.records, self.size, self.document = 0, 0, None
        self.before = self.summary.copy()

    def begin_anew(self) -> None:
        """Takes back what was done of the input at hand."""
        self.records, self.size, self.document = 0, 0, None
        rejected, seconds = self.summary.rejected, self.summary.seconds
        self.summary = self.before.copy()
        self.summary.rejected, self.summary.seconds = rejected, seconds


class Journal:
    """A file of JSON lines: the first tells the job, each other how far it had come when the line was written.

    Args:
        path: where it stands.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0

    def begin(self, job: Mapping[str, Any]) -> None:
        """Starts the journal of a job anew."""
        self._size = 0
        self._append(job)
        files.sync(self.path.parent)

    def add(self, state: State) -> None:
        """Takes up how far the job has come; what it counts must be on the disk."""
        self._append(state.to_json())

    def take_back(self) -> None:
        """Takes back a line that could not be written to the disk."""
        os.truncate(self.path, self._size)

    def _append(self, values: Mapping[str, Any]) -> None:
        data = json.dumps(values).encode() + b"\n"
        files.extend(self.path, data, self._size)
        files.sync(self.path)
        self._size += len(data)

    def read(self) -> tuple[dict[str, Any], State] | None:
        """Returns the job and how far it had come; None if there is no journal. A line cut short does not count."""
        if not self.path.exists():
            return None
        job: dict[str, Any] | None = None
        state = State()
        self._size = 0
        with self.path.open("rb") as stream:
            for line in stream:
                if (values := _parsed(line)) is None:
                    break
                job, state = (values, state) if job is None else (job, State.of(values))
                self._size += len(line)
        return None if job is None else (job, state)


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return dict(json.loads(line))
    except ValueError:
        return None


def differences(then: Mapping[str, Any], now: Mapping[str, Any], finished: int) -> list[str]:
    """Returns a line for each way in which a job differs from one whose first inputs, so many, are finished.

    An input that is not finished may have changed; what was done of it is then done again.
    """
    lines = [
        f"{key} was {then['options'].get(key)!r}, now {value!r}"
        for key, value in now["options"].items()
        if then["options"].get(key) != value
    ]
    before, after = ([item["path"] for item in job["inputs"]] for job in (then, now))
    if before != after:
        place = next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
        lines.append(
            f"the inputs were {len(before)}, now {len(after)}; they differ from number {min(place, len(after)) + 1} on"
        )
        return lines
    pairs = zip(then["inputs"][:finished], now["inputs"][:finished], strict=True)
    return lines + [f"{new['path']} has changed since it was tagged" for old, new in pairs if old != new]
