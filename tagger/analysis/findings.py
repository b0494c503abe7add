"""What a check finds: faults of one kind, with a count and the first examples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from tagger.choices import FindingKind, Severity

MAX_EXAMPLES = 1000
"""The number of examples that a finding holds."""


@dataclass(frozen=True, slots=True)
class Example:
    """One fault: file and line, empty for a whole part, and the text."""

    location: str
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Faults of one kind.

    Attributes:
        kind: the kind, such as invalid-tag.
        severity: error or warning.
        message: what the faults are and what follows from them.
        count: the number of faults.
        examples: the first faults.
    """

    kind: FindingKind
    severity: Severity
    message: str
    count: int
    examples: tuple[Example, ...] = ()


def collect(kind: FindingKind, severity: Severity, message: str, faults: Iterable[Example]) -> Iterator[Finding]:
    """Yields a finding for the faults; none if there are no faults."""
    remaining = iter(faults)
    examples = tuple(islice(remaining, MAX_EXAMPLES))
    count = len(examples) + sum(1 for _ in remaining)
    if count:
        yield Finding(kind, severity, message, count, examples)
