import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tagger.data import vectors
from tagger.data.vectors import Coverage, Table
from tagger.errors import DataError

TABLE = "the 1 2.5 -3e-1\n, 4 5 6\nNew York 7 8 9\nthe 0 0 0\n\xa0 1 1 1\nParis 2 2 2 \n"


def read(path: Path, data: str | bytes, wanted: tuple[str, ...] = (), keep: int = 100) -> Table:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return vectors.read(path, wanted=wanted, max_frozen_words=keep)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.txt"


@pytest.mark.parametrize(
    "change",
    [
        str,
        lambda text: f"6 3\n{text}",
        lambda text: f"6 3 \r\n{text}",
        lambda text: f"\ufeff{text}",
        lambda text: f"\ufeff6 3\n{text}",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.rstrip("\n"),
    ],
)
def test_headers_marks_and_line_ends_do_not_change_the_table(path: Path, change):
    table = read(path, change(TABLE))
    assert list(table.rows) == ["the", ",", "New York", "\xa0", "Paris"]  # the first of two wins
    assert table.dim == 3
    expected = np.array([[1, 2.5, -0.3], [4, 5, 6], [7, 8, 9], [1, 1, 1], [2, 2, 2]], np.float32)
    np.testing.assert_array_equal(table.matrix, expected)


def test_a_compressed_table_is_read_like_a_plain_one(path: Path):
    packed = read(path.with_suffix(".gz"), gzip.compress(TABLE.encode()))
    plain = read(path, TABLE)
    assert packed.rows == plain.rows
    np.testing.assert_array_equal(packed.matrix, plain.matrix)


def test_the_first_words_and_the_wanted_words_are_read(path: Path):
    assert list(read(path, TABLE, keep=2).rows) == ["the", ","]
    assert list(read(path, TABLE, ("Paris", "Rome"), keep=1).rows) == ["the", "Paris"]
    none = read(path, TABLE, ("Rome",), keep=0)
    assert (none.rows, none.matrix.shape) == ({}, (0, 3))


@pytest.mark.parametrize("header", ["", "3 3\n"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("short 1 2", "expected 3 numbers after the word, found 2"),
        ("", "expected 3 numbers after the word, found 0"),
        ("tabs\t1\t2\t3", "expected 3 numbers after the word, found 0"),
        ("word 1 x 3", "expected 3 numbers after the word: could not convert string to float: 'x'"),
        ("word 1  3", "expected 3 numbers after the word: could not convert"),
        ("word 1 nan 3", "a value is not a finite number"),
        ("word 1 -inf 3", "a value is not a finite number"),
        ("word 1 1e99 3", "a value is not a finite number"),
    ],
)
def test_an_invalid_line_is_reported_with_its_line_number(path: Path, header: str, line: str, message: str):
    number = 3 + bool(header)
    with pytest.raises(DataError) as caught:
        read(path, f"{header}a 1 2 3\nb 1 2 3\n{line}\nc 1 2 3\n")
    assert str(caught.value).startswith(f"{path}:{number}: {message}")


def test_a_short_line_after_many_others_is_reported(path: Path):
    with pytest.raises(DataError, match=r"table\.txt:201: expected 2 numbers after the word, found 1$"):
        read(path, "".join(f"word{number} 1 2\n" for number in range(200)) + "last 1\n", keep=1000)


@pytest.mark.parametrize("data", ["", "\n", "words\nalone\n", "5 3\n"])
def test_a_file_without_vectors_is_reported_unless_its_header_says_so(path: Path, data: str):
    if data == "5 3\n":
        assert read(path, data).matrix.shape == (0, 3)
    else:
        with pytest.raises(DataError, match=r"table\.txt: expected a word and its numbers on each line"):
            read(path, data)


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
