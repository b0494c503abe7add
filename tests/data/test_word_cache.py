"""Words are remembered by rows that nobody else is given while they are in use."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tagger.data.word_cache import WordCache

WORDS = st.lists(st.sampled_from([f"w{number}" for number in range(12)]), max_size=8)


def looked_up(memory: WordCache, words: Sequence[str]) -> tuple[int, list[int], list[str]]:
    turn, rows, new = memory.begin(words, len(words))
    memory.learnt()
    return turn, rows.tolist(), new


def once(memory: WordCache, words: Sequence[str]) -> list[str]:
    """Returns the new ones among words of a turn that is over at once."""
    turn, _, new = looked_up(memory, words)
    memory.end(turn)
    return new


class Model(RuleBasedStateMachine):
    """What a table's rows hold, written by hand as the words are learnt."""

    capacity = 5

    def __init__(self) -> None:
        super().__init__()
        self.memory = WordCache(self.capacity)
        self.table: dict[int, str] = {}
        self.under_way: dict[int, tuple[list[str], list[int]]] = {}
        self.tokens = self.misses = self.most = 0

    @rule(words=WORDS)
    def begin(self, words: list[str]) -> None:
        turn, rows, new = looked_up(self.memory, words)
        assert turn not in self.under_way
        assert len(set(new)) == len(new)
        assert set(new) <= set(words)
        for word in new:
            self.table[self.memory[word]] = word
        self.under_way[turn] = words, rows
        self.tokens, self.misses = self.tokens + len(words), self.misses + len(new)
        held = {word for words, _ in self.under_way.values() for word in words}
        self.most = max(self.most, len(held))

    @rule(number=st.integers(0, 5))
    def end(self, number: int) -> None:
        if self.under_way:
            turn = list(self.under_way)[number % len(self.under_way)]
            self.memory.end(turn)
            del self.under_way[turn]

    @rule(words=WORDS)
    def fail(self, words: list[str]) -> None:
        """Begins a turn whose new words cannot be learnt."""
        turn, _, new = looked_up(self.memory, words)
        self.memory.forget(new)
        self.memory.end(turn)
        self.tokens, self.misses = self.tokens + len(words), self.misses + len(new)
        held = {word for words, _ in self.under_way.values() for word in words}
        self.most = max(self.most, len({*held, *words}))

    @invariant()
    def rows_under_way_hold_their_words(self) -> None:
        for words, rows in self.under_way.values():
            assert [self.table[row] for row in rows] == words

    @invariant()
    def each_word_remembered_has_a_row_of_its_own_that_holds_it(self) -> None:
        assert len(set(self.memory.values())) == len(self.memory)
        assert all(self.table[row] == word for word, row in self.memory.items())
        assert all(0 <= row < self.memory.size for row in self.memory.values())

    @invariant()
    def the_size_is_bounded_by_the_capacity_and_what_is_under_way(self) -> None:
        # The words of one turn, 8 at most, may come on top before room is made for them at the next.
        assert self.memory.size <= self.capacity + 8 + self.most
        assert self.memory.size >= len(self.memory)

    @invariant()
    def hits_are_counted(self) -> None:
        assert (self.memory.tokens, self.memory.misses) == (self.tokens, self.misses)


class OfOne(Model):
    capacity = 1


for machine in (Model, OfOne):
    machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMemory, TestMemoryOfOneWord = Model.TestCase, OfOne.TestCase


def test_a_word_keeps_its_row_and_is_new_once() -> None:
    memory = WordCache(10)
    turn, rows, new = looked_up(memory, ["a", "b", "a"])
    assert (rows, new) == ([0, 1, 0], ["a", "b"])
    memory.end(turn)
    _, rows, new = looked_up(memory, ["b", "c", "a"])
    assert (rows, new) == ([1, 2, 0], ["c"])
    assert (memory.tokens, memory.misses, memory.size) == (6, 3, 3)


def test_words_unused_for_longest_are_forgotten_first() -> None:
    memory = WordCache(4)
    for word in "abcde":  # one too many
        once(memory, word)
    once(memory, "a")  # room is made here, before the look-up: of a and b, the oldest, both go
    assert set(memory) == {"a", "c", "d", "e"}
    once(memory, "c")
    once(memory, "f")
    assert once(memory, "c") == []  # room was made: d and e are the oldest now
    assert set(memory) == {"a", "c", "f"}


def test_a_word_under_way_is_not_forgotten_however_old_it_is() -> None:
    memory = WordCache(2)
    turn, (row,), _ = looked_up(memory, ["old"])
    for number in range(50):
        other, rows, _ = looked_up(memory, [f"w{number}"])
        assert row not in rows
        memory.end(other)
    assert memory["old"] == row
    memory.end(turn)
    for number in range(50):
        once(memory, [f"v{number}"])
    assert "old" not in memory
    assert memory.size <= 53


@pytest.mark.parametrize("capacity", [1, 2, 3, 4, 100])
def test_ever_new_words_take_no_more_rows_than_the_capacity_and_one_turn(capacity: int) -> None:
    memory = WordCache(capacity)
    for turn in range(500):
        once(memory, [f"{turn} {number}" for number in range(10)])
    assert memory.size <= capacity + 10


def test_a_turn_of_more_words_than_the_capacity_gets_all_its_rows() -> None:
    memory = WordCache(3)
    words = [f"w{number}" for number in range(1000)]
    turn, rows, new = looked_up(memory, words)
    assert (rows, new) == (list(range(1000)), words)
    memory.end(turn)
    assert len(once(memory, words)) == 1000
    assert memory.size == 1000


def test_words_that_were_not_learnt_are_new_again_and_take_no_room() -> None:
    memory = WordCache(3)
    memory.end(looked_up(memory, ["a"])[0])

    def words() -> Iterator[str]:
        yield from ("b", "a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        memory.begin(words(), 3)
    turn, _, new = memory.begin(["b", "c"], 2)  # and these are not learnt either
    memory.end(turn)
    assert (new, once(memory, ["a", "b", "c"]), memory.size) == (["b", "c"], ["b", "c"], 3)


def test_a_very_long_word_is_forgotten_with_the_last_turn_that_holds_it() -> None:
    memory, long = WordCache(3), "x" * 65
    first, (row,), _ = looked_up(memory, [long])
    second, rows, new = looked_up(memory, [long])
    memory.end(first)
    assert (rows, new, long in memory) == ([row], [], True)
    memory.end(second)
    assert once(memory, ["y" * 64, "y" * 64]) == ["y" * 64]
    assert "y" * 64 in memory


def test_no_words_are_a_turn_too() -> None:
    memory = WordCache(3)
    turn, rows, new = memory.begin([], 0)
    assert (rows.dtype, len(rows), new) == (np.int64, 0, [])
    memory.end(turn)


def test_room_is_made_as_often_as_a_quarter_of_the_capacity_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    honest = WordCache._make_room
    monkeypatch.setattr(WordCache, "_make_room", lambda self: (calls.append(1), honest(self)))
    memory = WordCache(400)
    for number in range(1400):
        once(memory, [f"w{number}"])
    assert len(calls) <= 11
