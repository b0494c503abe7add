"""Words are remembered by rows that nobody else is given while they are in use."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tagger.data.word_cache import WordCache

WORDS = st.lists(st.sampled_from([f"w{number}" for number in range(12)]), max_size=8)


def looked_up(cache: WordCache, words: Sequence[str]) -> tuple[int, list[int], list[str]]:
    lease, rows, new = cache.acquire(words, len(words))
    cache.confirm()
    return lease, rows.tolist(), new


def acquire_and_release(cache: WordCache, words: Sequence[str]) -> list[str]:
    """Returns the new ones among words of a lease that is over at once."""
    lease, _, new = looked_up(cache, words)
    cache.release(lease)
    return new


class Model(RuleBasedStateMachine):
    """What a table's rows hold, written by hand as the words are learnt."""

    capacity = 5

    def __init__(self) -> None:
        super().__init__()
        self.cache = WordCache(self.capacity)
        self.table: dict[int, str] = {}
        self.active: dict[int, tuple[list[str], list[int]]] = {}
        self.tokens = self.misses = self.most = 0

    @rule(words=WORDS)
    def begin(self, words: list[str]) -> None:
        lease, rows, new = looked_up(self.cache, words)
        assert lease not in self.active
        assert len(set(new)) == len(new)
        assert set(new) <= set(words)
        for word in new:
            self.table[self.cache[word]] = word
        self.active[lease] = words, rows
        self.tokens, self.misses = self.tokens + len(words), self.misses + len(new)
        held = {word for words, _ in self.active.values() for word in words}
        self.most = max(self.most, len(held))

    @rule(number=st.integers(0, 5))
    def end(self, number: int) -> None:
        if self.active:
            lease = list(self.active)[number % len(self.active)]
            self.cache.release(lease)
            del self.active[lease]

    @rule(words=WORDS)
    def fail(self, words: list[str]) -> None:
        """Begins a lease whose new words cannot be learnt."""
        lease, _, new = looked_up(self.cache, words)
        self.cache.evict(new)
        self.cache.release(lease)
        self.tokens, self.misses = self.tokens + len(words), self.misses + len(new)
        held = {word for words, _ in self.active.values() for word in words}
        self.most = max(self.most, len({*held, *words}))

    @invariant()
    def rows_under_way_hold_their_words(self) -> None:
        for words, rows in self.active.values():
            assert [self.table[row] for row in rows] == words

    @invariant()
    def each_word_remembered_has_a_row_of_its_own_that_holds_it(self) -> None:
        assert len(set(self.cache.values())) == len(self.cache)
        assert all(self.table[row] == word for word, row in self.cache.items())
        assert all(0 <= row < self.cache.row_count for row in self.cache.values())

    @invariant()
    def the_size_is_bounded_by_the_capacity_and_what_is_under_way(self) -> None:
        # The words of one lease, 8 at most, may come on top before room is made for them at the next.
        assert self.cache.row_count <= self.capacity + 8 + self.most
        assert self.cache.row_count >= len(self.cache)

    @invariant()
    def hits_are_counted(self) -> None:
        assert (self.cache.lookups, self.cache.misses) == (self.tokens, self.misses)


class OfOne(Model):
    capacity = 1


for machine in (Model, OfOne):
    machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMemory, TestMemoryOfOneWord = Model.TestCase, OfOne.TestCase


def test_a_word_keeps_its_row_and_is_new_only_once() -> None:
    cache = WordCache(10)
    lease, rows, new = looked_up(cache, ["a", "b", "a"])
    assert (rows, new) == ([0, 1, 0], ["a", "b"])
    cache.release(lease)
    _, rows, new = looked_up(cache, ["b", "c", "a"])
    assert (rows, new) == ([1, 2, 0], ["c"])
    assert (cache.lookups, cache.misses, cache.row_count) == (6, 3, 3)


def test_the_least_recently_used_words_are_evicted_first() -> None:
    cache = WordCache(4)
    for word in "abcde":  # one too many
        acquire_and_release(cache, word)
    acquire_and_release(cache, "a")  # room is made here, before the look-up: of a and b, the oldest, both go
    assert set(cache) == {"a", "c", "d", "e"}
    acquire_and_release(cache, "c")
    acquire_and_release(cache, "f")
    assert acquire_and_release(cache, "c") == []  # room was made: d and e are the oldest now
    assert set(cache) == {"a", "c", "f"}


def test_a_leased_word_is_never_evicted() -> None:
    cache = WordCache(2)
    lease, (row,), _ = looked_up(cache, ["old"])
    for number in range(50):
        other, rows, _ = looked_up(cache, [f"w{number}"])
        assert row not in rows
        cache.release(other)
    assert cache["old"] == row
    cache.release(lease)
    for number in range(50):
        acquire_and_release(cache, [f"v{number}"])
    assert "old" not in cache
    assert cache.row_count <= 53


@pytest.mark.parametrize("capacity", [1, 2, 3, 4, 100])
def test_rows_are_limited_to_the_capacity_and_one_lease(capacity: int) -> None:
    cache = WordCache(capacity)
    for lease in range(500):
        acquire_and_release(cache, [f"{lease} {number}" for number in range(10)])
    assert cache.row_count <= capacity + 10


def test_a_lease_of_more_words_than_the_capacity_gets_all_its_rows() -> None:
    cache = WordCache(3)
    words = [f"w{number}" for number in range(1000)]
    lease, rows, new = looked_up(cache, words)
    assert (rows, new) == (list(range(1000)), words)
    cache.release(lease)
    assert len(acquire_and_release(cache, words)) == 1000
    assert cache.row_count == 1000


def test_words_that_were_not_confirmed_are_new_again_and_take_no_rows() -> None:
    cache = WordCache(3)
    cache.release(looked_up(cache, ["a"])[0])

    def words() -> Iterator[str]:
        yield from ("b", "a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.acquire(words(), 3)
    lease, _, new = cache.acquire(["b", "c"], 2)  # and these are not learnt either
    cache.release(lease)
    assert (new, acquire_and_release(cache, ["a", "b", "c"]), cache.row_count) == (["b", "c"], ["b", "c"], 3)


def test_a_very_long_word_is_evicted_with_its_last_lease() -> None:
    cache, long = WordCache(3), "x" * 65
    first, (row,), _ = looked_up(cache, [long])
    second, rows, new = looked_up(cache, [long])
    cache.release(first)
    assert (rows, new, long in cache) == ([row], [], True)
    cache.release(second)
    assert acquire_and_release(cache, ["y" * 64, "y" * 64]) == ["y" * 64]
    assert "y" * 64 in cache


def test_a_lease_may_be_empty() -> None:
    cache = WordCache(3)
    lease, rows, new = cache.acquire([], 0)
    assert (rows.dtype, len(rows), new) == (np.int64, 0, [])
    cache.release(lease)


def test_evictions_free_a_quarter_of_the_capacity_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = WordCache._evict_oldest
    monkeypatch.setattr(WordCache, "_evict_oldest", lambda self: (calls.append(1), original(self)))
    cache = WordCache(400)
    for number in range(1400):
        acquire_and_release(cache, [f"w{number}"])
    assert len(calls) <= 11
