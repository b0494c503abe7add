"""Which words are remembered: each has a row in tables of a bounded number of rows."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
_LONGEST = 64  # characters of a word that is remembered beyond its turn: rare ones would take most of the memory


class WordCache(dict[str, int]):
    """The rows of the words remembered; those unused for longest are forgotten when there are too many.

    Args:
        capacity: words that are remembered at most, beyond those of a turn that is not over.

    Attributes:
        size: the rows that are in use or were: tables must have as many.
        tokens: how many were looked up so far.
        misses: how many of them were not remembered.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.size = self.tokens = self.misses = 0
        self._capacity = capacity
        self._free: list[int] = []
        self._new: list[str] = []
        self._turn = 0
        self._last_turn = np.zeros(capacity, np.int64)  # of each row
        self._under_way: dict[int, list[str]] = {}  # turns, each with its new words that are too long to be kept

    def __missing__(self, word: str) -> int:
        if self._free:
            row = self._free.pop()
        else:
            row, self.size = self.size, self.size + 1
        self._new.append(word)
        self[word] = row
        return row

    def begin(self, words: Iterable[str], count: int) -> tuple[int, Ids, list[str]]:
        """Returns a turn, the rows (count,) of its words, and the words that are new, each once.

        The rows stay theirs until `end` is called with the turn. The new words must be told to be `learnt`, else the
        next turn begins by forgetting them: whatever broke off in between, no word has a row that says nothing of it.
        """
        self.forget(self._new)
        self._new = []
        if len(self) > self._capacity:
            self._make_room()
        self._turn += 1
        rows = np.fromiter(map(self.__getitem__, words), np.int64, count)
        if self.size > len(self._last_turn):
            self._last_turn = np.concatenate([self._last_turn, np.zeros(self.size, np.int64)])
        self._last_turn[rows] = self._turn
        self._under_way[self._turn] = [word for word in self._new if len(word) > _LONGEST]
        self.tokens += count
        self.misses += len(self._new)
        return self._turn, rows, self._new

    def learnt(self) -> None:
        """Takes the new words of the last turn as remembered."""
        self._new = []

    def end(self, turn: int) -> None:
        """Ends a turn: its rows may be given to other words."""
        self.forget(
            word for word in self._under_way.pop(turn, ()) if word in self and self._last_turn[self[word]] == turn
        )

    def forget(self, words: Iterable[str]) -> None:
        """Forgets words."""
        for word in words:
            if (row := self.pop(word, None)) is not None:
                self._free.append(row)

    def _make_room(self) -> None:
        """Forgets the words unused for longest, so that a quarter of the capacity is free."""
        rows = np.fromiter(self.values(), np.int64, len(self))
        turns = self._last_turn[rows]
        surplus = len(self) - self._capacity * 3 // 4
        latest = min(np.partition(turns, surplus - 1)[surplus - 1], min(self._under_way, default=self._turn + 1) - 1)
        self.forget([word for word, turn in zip(self, turns.tolist(), strict=True) if turn <= latest])
