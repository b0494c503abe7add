"""What is read may be packed, and comes as it is there."""

import bz2
import gzip
import lzma
import os
import random
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard

from tagger.errors import CorruptError, DataError
from tagger.io import line_reader
from tests.robustness.runs import SCALE

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}
NAMES = {"gz": "gzip", "zst": "zstd", "xz": "xz", "bz2": "bzip2"}
TEXT = random.Random(2).randbytes(5000).hex().replace("7", " é\n").encode()


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("members", [1, 3])
def test_packed_files_and_streams_read_as_the_plain_one_all_members_of_them(
    tmp_path: Path, suffix: str, members: int
) -> None:
    step = len(TEXT) // members + 1
    packed = b"".join(PACK[suffix](TEXT[start : start + step]) for start in range(0, len(TEXT), step))
    expected = list(line_reader.read_lines(BytesIO(TEXT)))
    for name in (f"a.{suffix}", "a", "a.txt"):
        (tmp_path / name).write_bytes(packed)
        assert list(line_reader.read_lines(tmp_path / name)) == expected
    assert list(line_reader.read_lines(BytesIO(packed))) == expected
    with line_reader.open_decompressed(BytesIO(packed)) as stream:
        assert stream.read() == TEXT


@pytest.mark.parametrize("suffix", PACK)
def test_a_packed_file_that_stops_anywhere_is_an_error_unless_a_member_ends_there(tmp_path: Path, suffix: str) -> None:
    first = PACK[suffix](b"a b\n" * 3)
    whole = first + PACK[suffix](TEXT[:600])
    path = tmp_path / f"a.{suffix}"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        if end == len(first):
            assert len(list(line_reader.read_lines(path))) == 3
            continue
        with pytest.raises(DataError, match=rf"a\.{suffix}: damaged {NAMES[suffix]} file: "):
            list(line_reader.read_lines(path))


@pytest.mark.parametrize("suffix", PACK)
def test_what_is_no_member_after_a_member_is_an_error(suffix: str) -> None:
    whole = PACK[suffix](b"a b\n")
    for rest in (b"more", b"\0\0\0\0more", whole[:3], b"\xff" * 40):
        with pytest.raises(DataError, match=f"^x: damaged {NAMES[suffix]} file: "):
            list(line_reader.read_lines(BytesIO(whole + rest), "x"))


@pytest.mark.parametrize("suffix", PACK)
def test_no_line_before_damage_is_yielded_wherever_a_member_fails_or_does_not_end(suffix: str) -> None:
    text = b"".join(b"line %d\n" % number for number in range(300_000))
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(text) if suffix == "zst" else PACK[suffix](text)
    middle = len(packed) // 2
    flipped = packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :]
    for damaged in (packed[:middle], packed + b"more", packed + PACK[suffix](b"x\n")[:-9] + bytes(9), flipped):
        with pytest.raises(CorruptError, match=rf"damaged {NAMES[suffix]} file: .*; the lines before it, up to"):
            list(line_reader.read_lines(BytesIO(damaged)))


@pytest.mark.parametrize("suffix", PACK)
def test_a_bit_flipped_in_repetitive_text_never_lets_a_line_count_that_was_not_packed(
    tmp_path: Path, suffix: str
) -> None:
    draw, path = random.Random(16), tmp_path / f"a.{suffix}"
    text = b"the same line each time\n" * 1000
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(text) if suffix == "zst" else PACK[suffix](text)
    places = [(byte, bit) for byte in range(len(packed)) for bit in range(8)]
    for byte, bit in draw.sample(places, min(len(places), 200 * SCALE)):
        damaged = bytearray(packed)
        damaged[byte] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            counted = [line for _, line in line_reader.read_lines(path)]
        except DataError as error:
            assert isinstance(error, CorruptError)  # noqa: PT017  # a CutError would let the lines before count
        else:
            assert counted == ["the same line each time\n"] * 1000


def test_the_memory_of_a_decompressor_is_limited() -> None:
    packed = lzma.compress(b"a\n", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}])
    with pytest.raises(CorruptError, match="damaged xz file: Memory usage limit exceeded"):
        list(line_reader.read_lines(BytesIO(packed)))


def put(path: Path, mode: str, data: bytes) -> None:
    with path.open(mode) as stream:
        stream.write(data)


CHANGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, 2000),
    "extended": lambda path: put(path, "ab", b"more\n"),
    "rewritten": lambda path: put(path, "r+b", b"other\n"),
    "replaced by as many bytes": lambda path: path.write_bytes(b"x" * path.stat().st_size),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffix", ["txt", *PACK])
def test_a_file_that_changes_while_it_is_read_is_corrupt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suffix: str, change: str
) -> None:
    monkeypatch.setattr(line_reader, "_BLOCK_BYTES", 100)
    path = tmp_path / f"a.{suffix}"
    text = b"".join(b"%d\n" % random.Random(number).getrandbits(64) for number in range(3000))
    path.write_bytes(PACK[suffix](text) if suffix in PACK else text)
    os.utime(path, ns=(10**18, 10**18))
    assert path.stat().st_size > 20_000
    found = line_reader.read_lines(path)
    next(found)
    CHANGES[change](path)
    expected = "changed while it was read" if suffix == "txt" else r"damaged|changed while it was read"
    with pytest.raises(CorruptError, match=expected):
        list(found)


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_on_standard_input_is_corrupt_too(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"line\n" * 1_000_000)
    with path.open("rb") as stream:
        os.utime(path, ns=(10**18, 10**18))
        found = line_reader.read_lines(stream)
        next(found)
        CHANGES[change](path)
        with pytest.raises(CorruptError, match="standard input: changed while it was read"):
            list(found)


def test_zeros_may_follow_gzip_and_xz_as_their_formats_say_and_not_zstd() -> None:
    for suffix in ("gz", "xz"):
        assert list(line_reader.read_lines(BytesIO(PACK[suffix](b"a\n") + bytes(8) + PACK[suffix](b"b\n")))) == [
            (1, "a\n"),
            (2, "b\n"),
        ]
    with pytest.raises(DataError, match="damaged zstd file"):
        list(line_reader.read_lines(BytesIO(PACK["zst"](b"a\n") + bytes(8))))


@pytest.mark.parametrize("suffix", PACK)
def test_a_flipped_bit_is_found_or_changes_nothing(suffix: str) -> None:
    draw, found = random.Random(3), 0
    packed = (
        PACK[suffix](TEXT[:2000])
        if suffix != "zst"
        else zstandard.ZstdCompressor(write_checksum=True).compress(TEXT[:2000])
    )
    expected = list(line_reader.read_lines(BytesIO(TEXT[:2000])))
    for _ in range(100 * SCALE):
        place = draw.randrange(8, len(packed))
        damaged = bytearray(packed)
        damaged[place] ^= 1 << draw.randrange(8)
        try:
            assert list(line_reader.read_lines(BytesIO(damaged))) == expected
        except DataError:
            found += 1
    assert found > 90 * SCALE


@pytest.mark.parametrize("suffix", PACK)
def test_a_plain_file_under_a_packed_name_is_an_error_as_is_an_empty_one(tmp_path: Path, suffix: str) -> None:
    for content in (b"plain text\n", b""):
        (tmp_path / f"a.{suffix}").write_bytes(content)
        with pytest.raises(DataError, match=f"damaged {NAMES[suffix]} file"):
            list(line_reader.read_lines(tmp_path / f"a.{suffix}"))


def test_lines_from_a_pipe_are_yielded_at_once() -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as source, os.fdopen(theirs, "wb", buffering=0) as sink:
        found = line_reader.read_lines(source)
        sink.write(b"one\ntwo\nth")
        assert [next(found), next(found)] == [(1, "one\n"), (2, "two\n")]
        sink.write("ré".encode()[:-1])
        sink.write(b"\xa9e\n")
        assert next(found) == (3, "thrée\n")
        sink.write(b"end")
        sink.close()
        assert list(found) == [(4, "end")]


@pytest.mark.parametrize("suffix", PACK)
def test_a_pipe_may_deliver_a_packed_file_byte_by_byte(suffix: str) -> None:
    class Slow(BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(min(1, size or 0))

    assert list(line_reader.read_lines(Slow(PACK[suffix](TEXT[:301])))) == list(
        line_reader.read_lines(BytesIO(TEXT[:301]))
    )


def test_lines_longer_than_a_block_and_characters_across_blocks_stay_whole() -> None:
    for text in ("é" * 3_000_000, "a" + "é\n" * 1_000_000, "\n" * 1_100_000 + "x"):
        found = list(line_reader.read_lines(BytesIO(text.encode())))
        assert "".join(line for _, line in found) == text
        assert [number for number, _ in found] == list(range(1, len(found) + 1))


def test_a_fault_far_into_a_file_has_its_line_and_byte() -> None:
    with pytest.raises(DataError, match=r"^x:700001: byte 2 is 0xff"):
        list(line_reader.read_lines(BytesIO(b"abc\n" * 700_000 + b"a\xff\n" + b"abc\n"), "x"))


def test_a_line_that_is_not_text_is_rejected_and_reading_continues() -> None:
    faults: list[tuple[str, int, str]] = []
    found = line_reader.read_lines(BytesIO(b"a\nb\xff\\n\nc\0\n\xe9"), "x", lambda *fault: faults.append(fault))
    assert list(found) == [(1, "a\n")]
    assert faults == [
        ("x:2: byte 2 is 0xff, which is not UTF-8; is the file in Latin-1 or CP1252?", 2, "b\udcff\\n\n"),
        ("x:3: byte 2 is a NUL; expected text in UTF-8, convert the file first", 3, "c\0\n"),
        ("x:4: byte 1 is 0xe9, which is not UTF-8; is the file in Latin-1 or CP1252?", 4, "\udce9"),
    ]
    kept = list(line_reader.read_lines(BytesIO(b"a\n\xe9\nb"), "x", line_reader.Unreadable))
    assert kept == [(1, "a\n"), (2, "\udce9\n"), (3, "b")]
    assert isinstance(kept[1][1], line_reader.Unreadable)
    assert kept[1][1].fault.startswith("x:2: byte 1 is 0xe9")


@pytest.mark.parametrize("block", [3, 7, 100])
@pytest.mark.parametrize("length", [100, 101, 5000])
@pytest.mark.parametrize("after", [b"", b"\n", b"\nc\nd"])
def test_a_line_that_is_too_long_to_be_held_is_a_fault_and_may_be_set_aside(
    monkeypatch: pytest.MonkeyPatch, block: int, length: int, after: bytes
) -> None:
    monkeypatch.setattr(line_reader, "_BLOCK_BYTES", block)
    data = b"a\n" + b"b" * length + after
    found: list[tuple[str, int, str]] = []
    kept = list(line_reader.read_lines(BytesIO(data), "x", lambda *fault: found.append(fault), max_record_bytes=100))
    expected = list(enumerate(data.decode().splitlines(keepends=True), 1))
    if length == 100:
        assert (kept, found) == (expected, [])
        return
    assert kept == [expected[0], *expected[2:]]
    ((fault, line, raw),) = found
    limit = "a line of over 100 bytes; expected one sentence, row or paragraph; raise `max_record_bytes` to read it"
    assert (fault, line) == (f"x:2: {limit}", 2)
    assert 0 < len(raw) <= 1000
    assert not raw.strip("b\n")
    with pytest.raises(DataError, match="x:2: a line of over"):
        list(line_reader.read_lines(BytesIO(data), "x", max_record_bytes=100))


def test_of_a_line_that_is_too_long_little_is_held() -> None:
    pieces = iter([b"a\n", *[bytes([98]) * 1_000_000] * 100])
    stream = SimpleNamespace(read=lambda _: next(pieces, b""))
    tracemalloc.start()
    try:
        kept = list(line_reader.read_lines(stream, "x", lambda *_: None))  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    assert kept == [(1, "a\n")]


def test_a_directory_as_a_stream_is_reported(tmp_path: Path) -> None:
    class Folder(BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            raise IsADirectoryError(21, "Is a directory")

    with pytest.raises(DataError, match=r"^standard input: is a directory$"):
        list(line_reader.read_lines(Folder()))


@pytest.mark.parametrize(("before", "read_up_to"), [(b"", 9), (b"a\nb\n", 11)])
def test_where_a_part_of_a_file_breaks_off_is_told_as_in_the_whole(before: bytes, read_up_to: int) -> None:
    class Broken(BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            if data := super().read1(size or -1):
                return data
            raise OSError(5, "Input/output error")

    with pytest.raises(DataError) as caught:
        list(line_reader.read_lines(Broken(before), "x", first=10))
    assert str(caught.value) == f"x: input/output error; read up to line {read_up_to}"
