"""Windows cover a sentence, neighbours overlap, and each token is kept once."""

from itertools import pairwise

import pytest

from tagger.data.windows import split_into_windows

SIZES = [1, 2, 3, 4, 5, 7, 8, 16, 100]
LENGTHS = [*range(1, 40), 99, 100, 101, 175, 176, 199, 200, 201, 5000]
each = pytest.mark.parametrize("max_tokens", SIZES)


@each
def test_what_is_kept_is_each_token_once_and_in_order(max_tokens: int) -> None:
    for length in LENGTHS:
        found = split_into_windows(length, max_tokens)
        assert [token for window in found for token in range(window.used_start, window.used_stop)] == list(
            range(length)
        )
        assert all(window.start <= window.used_start < window.used_stop <= window.stop for window in found)


@each
def test_no_window_is_longer_than_asked_nor_shorter_where_there_are_several(max_tokens: int) -> None:
    for length in LENGTHS:
        assert {window.stop - window.start for window in split_into_windows(length, max_tokens)} == {
            min(length, max_tokens)
        }


@each
def test_windows_stay_within_the_sentence_and_go_on(max_tokens: int) -> None:
    for length in LENGTHS:
        found = split_into_windows(length, max_tokens)
        assert found[0].start == 0
        assert found[-1].stop == length
        assert all(before.start < after.start for before, after in pairwise(found))


@each
def test_neighbours_share_a_quarter_at_least_and_both_show_some_of_it_beyond_the_seam(max_tokens: int) -> None:
    for length in LENGTHS:
        for before, after in pairwise(split_into_windows(length, max_tokens)):
            shared = before.stop - after.start
            assert shared >= max_tokens // 4
            assert abs((before.stop - before.used_stop) - (after.used_start - after.start)) <= 1


@each
def test_a_sentence_that_is_not_too_long_is_one_window(max_tokens: int) -> None:
    assert split_into_windows(max_tokens, max_tokens) == [(0, max_tokens, 0, max_tokens)]


def test_there_are_no_more_windows_than_it_takes() -> None:
    assert len(split_into_windows(5000, 100)) == 67  # the first, and 75 tokens further for each after it
    assert len(split_into_windows(101, 100)) == 2
