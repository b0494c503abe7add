"""Windows cover a sentence, neighbours overlap, and each token is kept once."""

from itertools import pairwise

import pytest

from tagger.data.windows import windows

SIZES = [1, 2, 3, 4, 5, 7, 8, 16, 100]
LENGTHS = [*range(1, 40), 99, 100, 101, 175, 176, 199, 200, 201, 5000]
each = pytest.mark.parametrize("most", SIZES)


@each
def test_what_is_kept_is_each_token_once_and_in_order(most: int) -> None:
    for length in LENGTHS:
        found = windows(length, most)
        assert [token for window in found for token in range(window.first, window.last)] == list(range(length))
        assert all(window.start <= window.first < window.last <= window.stop for window in found)


@each
def test_no_window_is_longer_than_asked_nor_shorter_where_there_are_several(most: int) -> None:
    for length in LENGTHS:
        assert {window.stop - window.start for window in windows(length, most)} == {min(length, most)}


@each
def test_windows_stay_within_the_sentence_and_go_on(most: int) -> None:
    for length in LENGTHS:
        found = windows(length, most)
        assert found[0].start == 0
        assert found[-1].stop == length
        assert all(before.start < after.start for before, after in pairwise(found))


@each
def test_neighbours_share_a_quarter_at_least_and_both_show_some_of_it_beyond_the_seam(most: int) -> None:
    for length in LENGTHS:
        for before, after in pairwise(windows(length, most)):
            shared = before.stop - after.start
            assert shared >= most // 4
            assert abs((before.stop - before.last) - (after.first - after.start)) <= 1


@each
def test_a_sentence_that_is_not_too_long_is_one_window(most: int) -> None:
    assert windows(most, most) == [(0, most, 0, most)]


def test_there_are_no_more_windows_than_it_takes() -> None:
    assert len(windows(5000, 100)) == 67  # the first, and 75 tokens further for each after it
    assert len(windows(101, 100)) == 2
