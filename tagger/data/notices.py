"""What a reader changed, skipped or found suspicious in data: counted by kind, with the first ones of each kind."""

from collections import Counter
from collections.abc import Iterator

_MAX_STORED = 1000  # messages of a kind
_MAX_LISTED = 5


class Notices:
    """Counts of notices by kind, and the first messages of each kind.

    >>> notices = Notices()
    >>> notices.add("empty spans", "a.jsonl:3: PER 4-4 is dropped")
    >>> list(notices.lines())
    ['empty spans (1): a.jsonl:3: PER 4-4 is dropped']
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.messages: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self.counts)

    def add(self, kind: str, message: str) -> None:
        """Adds a notice of a kind; a kind is a noun in the plural, a message says where and what."""
        self.counts[kind] += 1
        messages = self.messages.setdefault(kind, [])
        if len(messages) < _MAX_STORED:
            messages.append(message)

    def lines(self, limit: int = _MAX_LISTED) -> Iterator[str]:
        """Yields a line for each kind with the count and the first message, and lines for further messages.

        Args:
            limit: the number of messages of a kind; a last line counts those left out.
        """
        for kind, count in self.counts.items():
            first, *further = self.messages[kind][:limit]
            yield f"{kind} ({count}): {first}"
            yield from further
            if count > limit:
                yield f"… and {count - limit} more {kind}"
