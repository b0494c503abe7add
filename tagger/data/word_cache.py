"""A bounded cache that assigns each word a row of a table."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
_MAX_LENGTH = 64  # characters; longer words leave the cache with their last lease: rare ones would fill the memory


class WordCache(dict[str, int]):
    """Rows by word; when there are too many words, the least recently used ones are evicted.

    Not thread-safe. Rows are leased: the words of a lease keep their rows until it is released.

    Args:
        capacity: maximum number of words, those of active leases not counted.

    Attributes:
        row_count: number of rows assigned so far; tables need as many.
        lookups: number of words looked up so far.
        misses: number of them that were not in the cache.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.row_count = self.lookups = self.misses = 0
        self._capacity = capacity
        self._free: list[int] = []
        self._pending: list[str] = []
        self._lease = 0
        self._last_lease = np.zeros(capacity, np.int64)  # of each row
        self._active: dict[int, list[str]] = {}  # by lease, its new words that are longer than _MAX_LENGTH

    def __missing__(self, word: str) -> int:
        if self._free:
            row = self._free.pop()
        else:
            row, self.row_count = self.row_count, self.row_count + 1
        self._pending.append(word)
        self[word] = row
        return row

    def acquire(self, words: Iterable[str], count: int) -> tuple[int, Ids, list[str]]:
        """Returns a lease, the rows (count,) of words, and the distinct words that are new.

        The caller fills the rows of new words, then calls `confirm`. Otherwise the next call evicts them, so that no
        word keeps a row without content when an exception is raised in between.
        """
        self.evict(self._pending)
        self._pending = []
        if len(self) > self._capacity:
            self._evict_oldest()
        self._lease += 1
        rows = np.fromiter(map(self.__getitem__, words), np.int64, count)
        if self.row_count > len(self._last_lease):
            self._last_lease = np.concatenate([self._last_lease, np.zeros(self.row_count, np.int64)])
        self._last_lease[rows] = self._lease
        self._active[self._lease] = [word for word in self._pending if len(word) > _MAX_LENGTH]
        self.lookups += count
        self.misses += len(self._pending)
        return self._lease, rows, self._pending

    def confirm(self) -> None:
        """Keeps the new words of the last lease, whose rows have been filled."""
        self._pending = []

    def release(self, lease: int) -> None:
        """Ends a lease: its rows may be assigned to other words."""
        self.evict(
            word for word in self._active.pop(lease, ()) if word in self and self._last_lease[self[word]] == lease
        )

    def evict(self, words: Iterable[str]) -> None:
        """Removes words and frees their rows."""
        for word in words:
            if (row := self.pop(word, None)) is not None:
                self._free.append(row)

    def _evict_oldest(self) -> None:
        """Evicts the least recently used words until a quarter of the capacity is free."""
        rows = np.fromiter(self.values(), np.int64, len(self))
        leases = self._last_lease[rows]
        surplus = len(self) - self._capacity * 3 // 4
        oldest_active = min(self._active, default=self._lease + 1)
        latest = min(np.partition(leases, surplus - 1)[surplus - 1], oldest_active - 1)
        self.evict([word for word, lease in zip(self, leases.tolist(), strict=True) if lease <= latest])
