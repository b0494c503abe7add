import gzip
import random
import re
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.data.formats import lines
from tagger.errors import DataError
from tagger.io import line_reader
from tests.robustness.runs import SCALE


def numbered(data: bytes) -> list[tuple[int, str]]:
    return list(line_reader.read_lines(BytesIO(data), "x.txt"))


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from("\r\n\u2028\x85\x0c"))
)
def test_lines_end_only_at_line_feeds_and_together_are_the_file(text: str):
    found = numbered(text.encode())
    assert "".join(line for _, line in found) == text
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert all(line.endswith("\n") for _, line in found[:-1])
    assert all("\n" not in line[:-1] for _, line in found)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "ok\nnaïve\n".encode("latin-1"),
            "x.txt:2: byte 3 is 0xef, which is not UTF-8; is the file in Latin-1 or CP1252?",
        ),
        ("“no”".encode("cp1252"), "x.txt:1: byte 1 is 0x93, which is not UTF-8; is the file in Latin-1 or CP1252?"),
        (b"ok\nab\xed\xa0\x80\n", "x.txt:2: byte 3 is 0xed, which is not UTF-8"),
        (b"ok\n\nab\0c\n", "x.txt:3: byte 3 is a NUL; expected text in UTF-8, convert the file first"),
        (
            "EU NNP\n".encode("utf-16"),
            "x.txt:1: byte 1 is a UTF-16 mark; expected text in UTF-8, convert the file first",
        ),
        ("EU".encode("utf-16-le"), "x.txt:1: byte 2 is a NUL; expected text in UTF-8"),
        ("EU".encode("utf-16-be"), "x.txt:1: byte 1 is a NUL; expected text in UTF-8"),
        ("\ufeffé".encode("utf-16-be"), "x.txt:1: byte 1 is a UTF-16 mark"),
        ("EU".encode("utf-32"), "x.txt:1: byte 1 is a UTF-16 mark"),
    ],
)
def test_invalid_utf8_is_reported_with_line_byte_and_hint(data: bytes, message: str):
    with pytest.raises(DataError) as caught:
        numbered(data)
    assert str(caught.value).startswith(message)
    assert len(caught.value.faults) == 1


def test_lines_before_a_fault_are_read_first():
    source = line_reader.read_lines(BytesIO(b"good\nb\xff"), "x.txt")
    assert next(source) == (1, "good\n")
    with pytest.raises(DataError, match=r"x\.txt:2: byte 2"):
        next(source)


def test_random_bytes_are_text_or_an_error_with_a_location():
    draw, kept = random.Random(5), 0
    for _ in range(3000 * SCALE):
        data = (
            draw.randbytes(draw.randint(0, 6)) if draw.random() < 0.5 else bytes(draw.choices(b"a \n\r\xc3\xa9", k=5))
        )
        try:
            assert "".join(line for _, line in numbered(data)).encode() == data
            kept += 1
        except DataError:
            continue
    assert 300 * SCALE < kept < 2700 * SCALE


def test_a_gzipped_file_reads_as_the_plain_one(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes("\ufeffé\r\n\n b".encode())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("\ufeffé\r\n\n b".encode()))
    assert list(line_reader.read_lines(tmp_path / "a.txt.gz")) == list(line_reader.read_lines(tmp_path / "a.txt"))


PACKED = gzip.compress(random.Random(6).randbytes(400).hex().encode() + b"\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (PACKED[:-20], "damaged gzip file: Compressed file ended before"),
        (PACKED[:200] + b"\xff\xff" + PACKED[202:], "damaged gzip file: "),
        (PACKED[:10] + b"\xff" * 9 + PACKED[19:], "damaged gzip file: Error -3 while decompressing data"),
        (b"plain text", "damaged gzip file: Error -3 while decompressing data: incorrect header check"),
        (PACKED[:4], "damaged gzip file: "),
    ],
)
def test_a_damaged_gzip_file_is_reported(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "x.gz"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(line_reader.read_lines(path))
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("name", ["missing.txt", "missing.gz"])
def test_a_missing_file_is_reported(tmp_path: Path, name: str):
    with pytest.raises(DataError, match=f"{name}: no such file or directory$"):
        list(line_reader.read_lines(tmp_path / name))


@pytest.mark.parametrize("name", ["folder", "folder.gz"])
def test_a_directory_is_reported(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=f"{name}: is a directory"):
        list(line_reader.read_lines(tmp_path / name))


def test_errors_from_a_stream_name_it_or_standard_input():
    with pytest.raises(DataError, match=r"^standard input:1: byte 1 is a NUL"):
        list(line_reader.read_lines(BytesIO(b"\0")))


def test_plain_lines_are_split_only_at_spaces_and_tabs():
    (first, empty, last) = lines.read(numbered("\ufeff Peter\t Black\xa0burn \r\n\na\u2028b\x85 c".encode()))
    assert (first.tokens, first.line, first.raw) == (
        ("Peter", "Black\xa0burn"),
        1,
        ("\ufeff Peter\t Black\xa0burn \r\n",),
    )
    assert (empty.tokens, empty.line) == ((), 2)
    assert (last.tokens, last.line) == (("a\u2028b\x85", "c"), 3)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n") | st.sampled_from(" \t\r\x0b\xa0")))
def test_spaces_and_tabs_separate_words_and_no_character_is_lost(text: str):
    words = lines.words(text)
    assert all(word and not {" ", "\t"} & set(word) for word in words)
    assert "".join(words) == text.strip(" \t\r\n").replace(" ", "").replace("\t", "")
    assert len(words) == len(re.findall(r"[^ \t]+", text.strip(" \t\r\n")))
