"""The memory that many calls take is bounded by what the caller allows for words."""

from pathlib import Path

import numpy as np
import pytest

import tagger
from tagger.data.word_cache import WordCache
from tagger.data.word_encoding import encode_casing
from tagger.tagging.cached_scorer import _RowWords
from tests.robustness.runs import SCALE, call_measured, child, ended


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no resident size on this system")
def test_calls_with_new_words_stay_within_the_memory_limit(model_path: Path, tmp_path: Path) -> None:
    assert ended(child(call_measured, model_path, 2**21, 50 * SCALE, tmp_path / "report")) == 0
    assert int((tmp_path / "report").read_text()) < 2e6


def test_a_smaller_cache_gives_the_same_tags(model_path: Path) -> None:
    texts = [f"Ada{number} lives in Paris{number} ." for number in range(300)]
    actual = [tagger.load(model_path, device="cpu", cache_bytes=size).tag(texts) for size in (1, 2**20)]
    assert actual[0] == actual[1]


def test_a_cache_of_no_bytes_is_rejected(model_path: Path) -> None:
    with pytest.raises(ValueError, match="cache_bytes must be at least 1, got 0"):
        tagger.load(model_path, device="cpu", cache_bytes=0)


def test_words_that_have_left_the_cache_do_not_take_memory() -> None:
    cache, row_words = WordCache(4), _RowWords(6)
    for number in range(50):
        words = [f"w{number}", f"W{number}", "Ada", "ADA"]
        lease, rows, new = cache.acquire(words, len(words))
        new_rows = np.array([cache[word] for word in new])
        row_words.add(new_rows, new, encode_casing(new), cache)
        cache.confirm()
        keys = row_words.keys[rows]
        assert keys[0] == keys[1] != keys[2] == keys[3]
        assert row_words.casings[rows].tolist() == encode_casing(words).tolist()
        cache.release(lease)
    assert len(row_words._numbers) <= 2 * len(cache)
