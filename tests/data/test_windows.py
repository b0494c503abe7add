"""Windows cover a sentence, neighbours overlap, and each token is kept once."""

from itertools import pairwise

import pytest

from tagger.data.windows import split_into_windows

SIZES = [1, 2, 3, 4, 5, 7, 8, 16, 100]
LENGTHS = [*range(1, 40), 99, 100, 101, 175, 176, 199, 200, 201, 5000]
each = pytest.mark.parametrize("max_tokens", SIZES)


@each
def test_windows_use_each_token_once_and_in_order(max_tokens: int) -> None:
    for length in LENGTHS:
        actual = split_into_windows(length, max_tokens)
        assert [token for window in actual for token in range(window.used_start, window.used_stop)] == list(
            range(length)
        )
        assert all(window.start <= window.used_start < window.used_stop <= window.stop for window in actual)


@each
def test_all_windows_of_a_long_sentence_have_the_same_length(max_tokens: int) -> None:
    for length in LENGTHS:
        assert {window.stop - window.start for window in split_into_windows(length, max_tokens)} == {
            min(length, max_tokens)
        }


@each
def test_windows_cover_the_sentence_in_order(max_tokens: int) -> None:
    for length in LENGTHS:
        actual = split_into_windows(length, max_tokens)
        assert actual[0].start == 0
        assert actual[-1].stop == length
        assert all(before.start < after.start for before, after in pairwise(actual))


@each
def test_windows_overlap_by_a_quarter_and_meet_in_the_middle(max_tokens: int) -> None:
    for length in LENGTHS:
        for before, after in pairwise(split_into_windows(length, max_tokens)):
            shared = before.stop - after.start
            assert shared >= max_tokens // 4
            assert abs((before.stop - before.used_stop) - (after.used_start - after.start)) <= 1


@each
def test_a_short_sentence_is_one_window(max_tokens: int) -> None:
    assert split_into_windows(max_tokens, max_tokens) == [(0, max_tokens, 0, max_tokens)]


def test_there_are_no_more_windows_than_needed() -> None:
    assert len(split_into_windows(5000, 100)) == 67  # the first, and 75 tokens further for each after it
    assert len(split_into_windows(101, 100)) == 2
