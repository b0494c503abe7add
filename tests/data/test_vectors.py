from collections import Counter

import numpy as np
import pytest

from tagger.data import vectors
from tagger.data.vectors import Coverage, Table


def table(*words: str, width: int = 2) -> Table:
    rows = np.arange(1, len(words) + 1, dtype=np.float32)
    return Table({word: number for number, word in enumerate(words)}, np.repeat(rows[:, None], width, axis=1))


def test_a_word_is_looked_up_as_written_then_lower_then_with_digits_as_0():
    found = table("route00", "route66", "Route66")
    assert [found.lookup(word) for word in ("Route66", "ROUTE66", "Route12", "Way")] == [2, 1, 0, -1]
    assert table("Route00").lookup("Route12") == -1


@pytest.mark.parametrize("tables", [[table("a", "b"), table("b", "C", width=3)], [table("a"), table(width=3)]])
def test_vectors_of_tables_are_concatenated_and_missing_words_are_0(tables: list[Table]):
    words = ["A", "b", "c", "C"]
    joined = vectors.join(tables, words)
    assert joined.shape == (4, 5)
    for row, word in enumerate(words):
        for part, columns in zip(tables, (slice(0, 2), slice(2, 5)), strict=True):
            hit = part.lookup(word)
            assert (joined[row, columns] == (part.matrix[hit] if hit >= 0 else 0)).all()


def test_the_most_frequent_words_are_sorted_by_best_rank():
    tables = [table("the", "of", "Zoo"), table("of", "a", "the", "b")]
    assert vectors.most_frequent(tables, 10, ()) == ["of", "the", "a", "Zoo", "b"]
    assert vectors.most_frequent(tables, 2, {"of"}) == ["the", "a"]
    assert vectors.most_frequent(tables, 0, ()) == vectors.most_frequent([], 5, ()) == []


def test_coverage_counts_types_and_tokens_in_any_table():
    found = vectors.coverage([table("the"), table("paris")], Counter({"The": 6, "Paris": 1, "Oslo": 2, "Lima": 1}))
    assert found == Coverage(types=4, tokens=10, covered_types=2, covered_tokens=7)
    assert str(found) == "50.0 % of 4 types, 70.0 % of 10 tokens"
    assert str(vectors.coverage([], Counter())) == "0.0 % of 0 types, 0.0 % of 0 tokens"


def test_reduced_vectors_keep_all_lengths_and_angles_that_their_size_allows():
    random = np.random.default_rng(1)
    left, right = random.normal(size=(9, 2)), random.normal(size=(2, 5))
    matrix = (left @ right).astype(np.float32)  # of rank 2
    matrix[4] = 0
    words = [f"w{number}" for number in range(9)]
    tables = [Table({word: row for row, word in enumerate(words)}, part) for part in (matrix[:, :3], matrix[:, 3:])]
    reduced = vectors.reduce(tables, 2)
    assert list(reduced.rows) == words
    assert reduced.matrix.shape == (9, 2)
    np.testing.assert_allclose(reduced.matrix @ reduced.matrix.T, matrix @ matrix.T, atol=1e-4)
    assert not reduced.matrix[4].any()
    smaller = vectors.reduce(tables, 1).matrix
    values = np.linalg.svd(matrix, compute_uv=False)
    assert (smaller**2).sum() == pytest.approx(values[0] ** 2, rel=1e-4)
    np.testing.assert_allclose(smaller, reduced.matrix[:, :1], atol=1e-5)
