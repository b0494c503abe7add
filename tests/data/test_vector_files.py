"""Files of word vectors in every format and packing give one table; each fault gives one line with its cause."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import random
import struct
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import zstandard

from tagger.data import vector_files
from tagger.data.vectors import Table
from tagger.errors import DataError

TABLE = "the 1 2.5 -3e-1\n, 4 5 6\nNew York 7 8 9\nthe 0 0 0\n\xa0 1 1 1\nParis 2 2 2 \n"


def read(path: Path, data: str | bytes, wanted: tuple[str, ...] = (), keep: int = 100) -> Table:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return vector_files.read(path, wanted=wanted, max_frozen_words=keep)


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


def word2vec(rows: list[tuple[bytes, list[float]]], *, newline: bytes = b"\n", count: int | None = None) -> bytes:
    """Returns a binary file as word2vec writes it; gensim writes no newline after a vector."""
    header = f"{len(rows) if count is None else count} {len(rows[0][1])}\n".encode()
    return header + b"".join(word + b" " + struct.pack(f"<{len(values)}f", *values) + newline for word, values in rows)


def draw_rows(count: int, dim: int) -> list[tuple[bytes, list[float]]]:
    draw = random.Random(dim)
    return [(f"w{number}é".encode(), [draw.gauss(0, 1) for _ in range(dim)]) for number in range(count)]


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
    ".zip": lambda data: zipped(
        {"folder/": b"", "folder/table.vec": data, "__MACOSX/._table.vec": b"x", "README": b"x"}
    ),
}


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("suffix", PACK)
def test_a_packed_table_is_read_like_a_plain_one_under_any_name(
    path: Path, suffix: str, named: bool, binary: bool
) -> None:
    data = word2vec(draw_rows(300, 20)) if binary else TABLE.encode()
    plain = read(path, data, keep=1000)
    packed = read(path.with_suffix(suffix) if named else path, PACK[suffix](data), keep=1000)
    assert len(plain.rows) > 4
    assert packed.rows == plain.rows
    np.testing.assert_array_equal(packed.matrix, plain.matrix)


@pytest.mark.parametrize("name", ["table.bin", "table.txt", "table"])
@pytest.mark.parametrize("newline", [b"\n", b""])
@pytest.mark.parametrize(("count", "dim"), [(1, 1), (3, 2), (31, 10), (500, 300)])
def test_a_binary_file_of_word2vec_is_read_under_any_name(
    path: Path, name: str, newline: bytes, count: int, dim: int
) -> None:
    rows = draw_rows(count, dim)
    table = read(path.with_name(name), word2vec(rows, newline=newline), keep=1000)
    assert [word.encode() for word in table.rows] == [word for word, _ in rows]
    np.testing.assert_array_equal(table.matrix, np.array([values for _, values in rows], np.float32))


def test_only_needed_rows_of_a_binary_file_are_kept_and_the_first_of_two_counts(path: Path) -> None:
    rows = [(b"a", [1.0, 2.0]), (b"b", [3.0, 4.0]), (b"a", [5.0, 6.0]), (b"c", [7.0, 8.0]), (b"d\xff", [9.0, 9.0])]
    table = read(path, word2vec(rows), ("c",), keep=1)
    assert (list(table.rows), table.matrix.tolist()) == (["a", "c"], [[1, 2], [7, 8]])
    assert list(read(path, word2vec(rows)).rows) == ["a", "b", "c", "d\ufffd"]


@pytest.mark.parametrize("separator", ["\t", " \t", "\t ", "  "])
def test_a_word_may_be_separated_from_its_numbers_by_a_tab_or_spaces(path: Path, separator: str) -> None:
    table = read(path, f".{separator}0.5 0.25 -1\nNew York{separator}1 2 3\na{separator}4 5 6\n", ("a",), keep=2)
    assert list(table.rows) == [".", "New York", "a"]
    assert table.matrix.tolist() == [[0.5, 0.25, -1], [1, 2, 3], [4, 5, 6]]
    assert read(path, "a\t1\t2\t3\nb\t4\t5\t6\n", ("b",), keep=0).matrix.tolist() == [[4, 5, 6]]


def test_words_with_spaces_are_read_with_and_without_a_limit(path: Path) -> None:
    data = "the 0.1 0.2\na 0.1 0.2\nof 0.1 0.2\n. . . 0.3 0.4\nat name@domain.com 0.5 0.6\n1 000 0.7 0.8\n"
    for table in (read(path, data), read(path, data, (". . .", "at name@domain.com", "1 000"), keep=3)):
        assert list(table.rows) == ["the", "a", "of", ". . .", "at name@domain.com", "1 000"]


def test_a_member_of_a_zip_archive_is_named_after_a_colon(tmp_path: Path) -> None:
    path = tmp_path / "glove.zip"
    members = {
        "glove.50d.txt": b"a 0.5 1\n",
        "sub/glove:100d.txt": b"b 0.5 1 2\n",
        "more.vec.gz": gzip.compress(b"c 1\n"),
    }
    path.write_bytes(zipped(members))
    for member, word in (("glove.50d.txt", "a"), ("sub/glove:100d.txt", "b"), ("more.vec.gz", "c")):
        table = vector_files.read(Path(f"{path}:{member}"), wanted=(), max_frozen_words=9)
        assert list(table.rows) == [word]
    listed = r"glove\.50d\.txt, sub/glove:100d\.txt, more\.vec\.gz"
    with pytest.raises(
        DataError, match=rf"glove\.zip: is a zip archive with several files: {listed}; name one, as in glove"
    ):
        vector_files.read(path, wanted=(), max_frozen_words=9)
    with pytest.raises(DataError, match=rf"glove\.zip: has no member 'x\.txt'; it has {listed}$"):
        vector_files.read(Path(f"{path}:x.txt"), wanted=(), max_frozen_words=9)


def test_a_path_that_exists_is_that_file_even_with_a_colon(tmp_path: Path) -> None:
    assert list(read(tmp_path / "a.zip:b.txt", "a 1 2\n").rows) == ["a"]
    with pytest.raises(
        DataError, match=r"a\.zip:b\.txt:c is|a\.zip:b\.txt is not a zip archive, so it has no member 'c'"
    ):
        vector_files.read(tmp_path / "a.zip:b.txt:c", wanted=(), max_frozen_words=9)
    with pytest.raises(DataError, match=r"none\.zip:b\.txt: no such file or directory"):
        vector_files.read(tmp_path / "none.zip:b.txt", wanted=(), max_frozen_words=9)


def test_a_table_from_a_pipe_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    data = word2vec(draw_rows(5000, 10))
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(data))
    writer.start()
    assert len(vector_files.read(tmp_path / "pipe", wanted=(), max_frozen_words=10**6).rows) == 5000
    writer.join()


def tarred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("glove.txt")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def encrypted(data: bytes) -> bytes:
    """Returns an archive whose entries are marked as encrypted."""
    archive = bytearray(zipped({"a.txt": data}, zipfile.ZIP_STORED))
    archive[6] |= 1
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    return bytes(archive)


ROWS = draw_rows(31, 10)
FASTTEXT_MODEL = struct.pack("<iiii", 793712314, 12, 100, 5) + bytes(60)
PLAIN_ZIP = zipped({"a.txt": b"a 0.5 2\n" * 9}, zipfile.ZIP_STORED)
NOT_FINITE = word2vec([(b"a", [1.0, 2.0]), (b"b", [1.0, float("nan")])])
FOREIGN: dict[str, tuple[bytes, str]] = {
    "fastText model": (FASTTEXT_MODEL, "is a fastText .bin model, which is not read; use the .vec file"),
    "pickle": (pickle.dumps({"a": [1.0]}), "is a Python pickle, which is not read"),
    "array": (b"\x93NUMPY\x01\0" + bytes(99), "is a NumPy array, which holds no words"),
    "web page": (b"<!DOCTYPE html>\n<html>", "is a web page; download the file again"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
    "tar": (tarred(TABLE.encode()), "is a tar archive; extract it first"),
    "zip in gzip": (gzip.compress(zipped({"a.txt": b"a 1\n"})), "is a zip archive within another file"),
    "binary": (random.Random(1).randbytes(5000), "is a binary file of an unknown kind; expected a word and its"),
    "UTF-16": ("a 0.5 1\n".encode("utf-16"), ":1: byte 1 is a UTF-16 mark"),
    "Latin-1": ("2 2\ncafé 0.5 1\nb 1 2\n".encode("latin-1"), ":2: byte 4 is 0xe9, which is not UTF-8"),
    "empty zip": (zipped({}), "is a zip archive without files"),
    "encrypted zip": (encrypted(b"a 1 2\n"), ":a.txt: is encrypted; extract it first"),
    "bzip2 in zip": (
        zipped({"a.txt": b"a 1 2\n"}, zipfile.ZIP_BZIP2),
        ":a.txt: is compressed with a method that is not read",
    ),
    "damaged zip": (PLAIN_ZIP.replace(b"0.5", b"0.6", 1), ":a.txt: damaged zip archive: Bad CRC"),
    "cut zip": (PLAIN_ZIP[:-30], ": damaged zip archive: File is not a zip file"),
    "corpus": (b"Ada NNP B-PER\n. . O\n", ":1: expected 2 numbers after the word: could not convert string to float"),
    "too many rows": (
        b"999999 2\na 1 2\nb 1 2\n",
        ":1: the header promises 999,999 rows, found 2; is the file complete?",
    ),
    "too few rows": (b"1 2\na 1 2\nb 1 2\n", ":1: the header promises 1 rows, found 2"),
    "wide header": (b"9 999999\na 1 2\n", ":1: the vectors have 999,999 numbers; at most 4,096 are read"),
    "wide row": (b"a " + b"1 " * 5000 + b"\n", ":1: the vectors have 5,000 numbers; at most 4,096 are read"),
    "number too many": (b"2 2\na 0.5 1\nb 0.25 -1.5e-3 1\n", ":3: expected 2 numbers after the word, found 3"),
    "numbers too many": (b"2 2\na 0.5 1\nb 0.1 .2 0.3 1\n", ":3: expected 2 numbers after the word, found 4"),
    "binary, rows too many": (word2vec(ROWS, count=10**9), ":1: the header promises 1,000,000,000 rows, found 31"),
    "binary, rows too few": (word2vec(ROWS, count=30), ":1: the header promises 30 rows, found 31"),
    "binary, cut": (word2vec(ROWS)[:-20], ": row 31: the file ends within this row; it is incomplete"),
    "binary, wide": (b"1 100000\na " + bytes(999), ":1: the vectors have 100,000 numbers"),
    "binary, not finite": (NOT_FINITE, ": row 2, 'b': a value is not a finite number; expected 2"),
    "binary, no word": (b"9 2\n" + b"\xff" * 9000, ": row 1: expected a word and a space, found neither in 4096 bytes"),
}


@pytest.mark.parametrize("name", ["table.txt", "table.bin"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_or_a_broken_one_is_one_line_with_its_cause(path: Path, name: str, kind: str) -> None:
    data, message = FOREIGN[kind]
    with pytest.raises(DataError) as caught:
        read(path.with_name(name), data)
    (fault,) = caught.value.faults
    assert message in fault
    assert fault.startswith(str(path.with_name(name)))
    assert len(fault) < 400


def test_a_name_that_promises_a_member_of_no_archive_is_reported(path: Path) -> None:
    path.write_text(TABLE)
    with pytest.raises(DataError, match=r"table\.txt is not a zip archive, so it has no member 'a\.txt'"):
        vector_files.read(Path(f"{path}:a.txt"), wanted=(), max_frozen_words=1)


@pytest.mark.parametrize("kind", ["zeros", "line", "rows"])
def test_a_zip_bomb_takes_little_memory(path: Path, kind: str) -> None:
    unit = {"zeros": bytes(1 << 20), "line": b"1 " * (1 << 19), "rows": b"a 0.5 1\n" * (1 << 17)}[kind]
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.txt", "w", force_zip64=True) as stream,
    ):
        for _ in range(1 if kind == "rows" else 100):
            stream.write(unit)
    tracemalloc.start()
    try:
        with (
            nullcontext()
            if kind == "rows"
            else pytest.raises(DataError, match=r"table\.txt:a\.txt(:1: a line of over|: is a binary)")
        ):
            assert len(vector_files.read(path, wanted=(), max_frozen_words=10**6).rows) == 1
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


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
        ("tabs\t1\t2", "expected 3 numbers after the word, found 2"),
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
        read(path, f"{header.replace('3', '4', 1)}a 1 2 3\nb 1 2 3\n{line}\nc 1 2 3\n")
    assert str(caught.value).startswith(f"{path}:{number}: {message}")


def test_a_short_line_after_many_others_is_reported(path: Path):
    with pytest.raises(DataError, match=r"table\.txt:201: expected 2 numbers after the word, found 1$"):
        read(path, "".join(f"word{number} 1 2\n" for number in range(200)) + "last 1\n", keep=1000)


@pytest.mark.parametrize("data", ["", "\n", "words\nalone\n", "0 3\n"])
def test_a_file_without_vectors_is_reported_unless_its_header_says_so(path: Path, data: str):
    if data == "0 3\n":
        assert read(path, data).matrix.shape == (0, 3)
    else:
        with pytest.raises(DataError, match=r"table\.txt: expected a word and its numbers on each line"):
            read(path, data)
