"""A file in parts is the file: every record once, in order, under the same number."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path, PurePath

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.sentence import Record, Reject
from tagger.errors import DataError, StorageError
from tagger.io.storage import Location, is_address
from tagger.jobs.ray import shards
from tagger.jobs.ray.shards import Shard, Source

LINES = st.lists(st.sampled_from(["", "a", "a b c", "ä\u2028 é", "\ufeff", "x" * 30, "\r"]), max_size=30)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 10)


def source(path: Path, form: str) -> Source:
    return Source(Location(str(path)), path.name, PurePath(path.name), form, path.stat().st_size, None)


def cut(path: Path, form: str) -> list[Shard]:
    one = source(path, form)
    return shards.split(one, 0, [shards.scan(stretch) for stretch in shards.list_scan_ranges(one)], ".jsonl")


def in_parts(path: Path, form: str, reject: Callable[[Reject], None] | None = None) -> list[Record]:
    return [record for part in cut(path, form) for record in shards.read_records(part, language="en", reject=reject)]


def whole(path: Path, form: str, reject: Callable[[Reject], None] | None = None) -> list[Record]:
    return list(reader.read_records(path, input_format=form, layout=Layout(0), name=path.name, reject=reject))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, st.booleans())
def test_lines_in_parts_are_the_lines_of_the_file(tmp_path: Path, lines: list[str], ended: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(("\n".join(lines) + "\n" * ended).encode())
    assert in_parts(path, "lines") == whole(path, "lines")


def test_a_long_line_is_never_cut_and_no_part_of_a_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n" + "b" * 40 + "\nc\n" + "d" * 20 + "\n")
    found = cut(tmp_path / "a.txt", "lines")
    assert [(part.start, part.stop, part.first) for part in found] == [(0, 43, 1), (43, 66, 3)]
    assert [part.output for part in found] == ["a-00000.jsonl", "a-00001.jsonl"]


def test_parts_are_named_after_the_whole_name_of_their_input(tmp_path: Path) -> None:
    (tmp_path / "notes.2024-01-05").write_text("a\n")
    (tmp_path / "notes.2024-01-06.txt.gz").write_bytes(gzip.compress(b"a\n"))
    found = [part.output for path in sorted(tmp_path.iterdir()) for part in cut(path, "lines")]
    assert found == ["notes.2024-01-05-00000.jsonl", "notes.2024-01-06-00000.jsonl"]


def test_what_cannot_be_read_keeps_its_line_in_every_part(tmp_path: Path) -> None:
    rows = [json.dumps({"tokens": ["a"], "n": n}).encode() for n in range(9)]
    rows[2], rows[5], rows[7] = b"{", b"\xff", b""
    rows[4] = b"\x1f\x8b\x08 in the middle is no packed file"
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(rows))
    found: list[Reject] = []
    expected: list[Reject] = []
    assert in_parts(path, "jsonl", found.append) == whole(path, "jsonl", expected.append)
    assert found == expected
    assert [one.line for one in found] == [3, 5, 6]
    assert len(cut(path, "jsonl")) > 5


def test_row_groups_in_parts_are_the_rows_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"tokens": [["a", str(n)] for n in range(20)]}), path, row_group_size=3)
    found = cut(path, "parquet")
    assert [(part.start, part.stop, part.first) for part in found] == [(n, n + 1, 3 * n + 1) for n in range(7)]
    assert [one.document for one in in_parts(path, "parquet")] == list(range(20))
    assert [one.sentences for one in in_parts(path, "parquet")] == [one.sentences for one in whole(path, "parquet")]


@pytest.mark.parametrize("name", ["a.txt.gz", "packed"])
def test_a_packed_file_is_one_part(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"a b\n\nc\n" * 20))
    assert len(cut(tmp_path / name, "lines")) == 1
    assert in_parts(tmp_path / name, "lines") == whole(tmp_path / name, "lines")


def test_an_empty_file_is_one_part(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    assert len(cut(tmp_path / "a.txt", "lines")) == 1
    assert in_parts(tmp_path / "a.txt", "lines") == []


def test_a_place_is_a_path_or_an_address(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "a b#?%20.txt").write_text("x")
    (tmp_path / "b" / "d").write_text("xyz")
    for base in (str(tmp_path), tmp_path.as_uri()):
        assert is_address(base) == base.startswith("file:")
        found = Location(base).join("b").list_files()
        assert [(one.location.name, one.size) for one in found] == [("b/c/a b#?%20.txt", 1), ("b/d", 3)]
        assert [one.location.read() for one in found] == [b"x", b"xyz"]
        new = Location(base).join("new/e")
        new.write(b"abc")
        with new.open_range(1, 2) as stream:
            assert stream.read() == b"b"
        new.remove()
        new.remove()
        assert Location(base).join("new").list_files() == []


def test_a_place_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing-knows://x: no installed library reads this address"):
        Location("nothing-knows://x").list_files()
    with pytest.raises(DataError, match=r"missing: .*no such file"):
        Location(str(tmp_path / "missing")).read()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written: "):
        Location(str(tmp_path / "file")).join("below").write(b"x")
