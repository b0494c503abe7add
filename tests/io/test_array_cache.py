"""A cache of arrays holds complete entries only, whatever breaks off, fills the disk or damages a file."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tagger.errors import StorageError
from tagger.io import directories
from tagger.io.array_cache import ArrayCache, EntryWriter
from tests.robustness.test_crash_while_saving import small_disk

VALUES = np.arange(100_000, dtype=np.int32)

KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from tagger.io.array_cache import ArrayCache, EntryWriter

def build(writer):
    writer.append("numbers", np.arange(100_000, dtype=np.int32))
    if sys.argv[2] == "build":
        os.kill(os.getpid(), signal.SIGKILL)

finish = EntryWriter.finish

def interrupted(writer):
    finish(writer)
    os.kill(os.getpid(), signal.SIGKILL)

EntryWriter.finish = interrupted
ArrayCache(Path(sys.argv[1])).open("entry", build)
"""


def build(writer: EntryWriter) -> None:
    writer.append("numbers", VALUES[:10])
    writer.append("fractions", np.array([0.5], np.float32))
    writer.append("numbers", VALUES[10:])
    writer.append("none", np.zeros(0, np.int64))
    writer.write_value("names", ["a", "\ud800", None])


def refuse(writer: EntryWriter) -> None:
    raise AssertionError("the entry is built again")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_entry_is_built_once_and_read_as_it_was_written(tmp_path: Path) -> None:
    for each in (build, refuse):
        entry = ArrayCache(tmp_path / "cache").open("entry", each)
        assert np.array_equal(entry.array("numbers"), VALUES)
        assert entry.array("numbers").dtype == np.int32
        assert entry.array("fractions").tolist() == [0.5]
        assert entry.array("none").dtype == np.int64
        assert not len(entry.array("none"))
        assert entry.value("names") == ["a", "\ud800", None]
    with pytest.raises(ValueError, match="read-only"):
        entry.array("numbers")[0] = 1


def test_an_array_can_be_replaced_while_the_entry_is_written(tmp_path: Path) -> None:
    def replace(writer: EntryWriter) -> None:
        build(writer)
        before = writer.map("numbers")
        writer.append("new", VALUES[::-1].astype(np.int64))
        writer.rename("new", "numbers")
        assert np.array_equal(before, VALUES)
        assert np.array_equal(writer.map("numbers"), VALUES[::-1])

    entry = ArrayCache(tmp_path / "cache").open("entry", replace)
    assert np.array_equal(entry.array("numbers"), VALUES[::-1])
    assert names(tmp_path / "cache" / "entry") == {"MANIFEST.json", "numbers", "fractions", "none", "names"}


@pytest.mark.parametrize(
    "damage", ["bit", "truncated", "missing", "no manifest", "broken manifest", "file in its place"]
)
def test_a_damaged_entry_is_built_again(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = ArrayCache(tmp_path / "cache")
    mapped = cache.open("entry", build).array("numbers")
    folder = tmp_path / "cache" / "entry"
    target, manifest = folder / "numbers", folder / "MANIFEST.json"
    content = bytearray(target.read_bytes())
    if damage == "bit":
        content[1000] ^= 1
        target.unlink()
        target.write_bytes(content)
    elif damage == "truncated":
        target.unlink()
        target.write_bytes(content[:-4])
    elif damage == "missing":
        target.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "broken manifest":
        manifest.write_bytes(manifest.read_bytes()[:-9])
    else:
        target.unlink()
        target.symlink_to("/dev/zero")
    entry = cache.open("entry", build)
    assert np.array_equal(entry.array("numbers"), VALUES)
    assert "entry: is damaged and is built again" in caplog.text
    assert np.array_equal(mapped, VALUES)  # of a process that uses the old entry
    assert np.array_equal(ArrayCache(tmp_path / "cache").open("entry", refuse).array("numbers"), VALUES)


@pytest.mark.parametrize("when", ["build", "finish"])
def test_what_a_killed_process_leaves_is_not_trusted_and_is_removed(when: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = subprocess.run([sys.executable, "-c", KILLED, str(cache), when], check=False)
    assert process.returncode == -signal.SIGKILL
    assert any(name.endswith(".new") for name in names(cache))
    assert "entry" not in names(cache)
    assert np.array_equal(ArrayCache(cache).open("entry", build).array("numbers"), VALUES)
    assert names(cache) == {".tagger.lock", ".tagger-corpora", "entry"}


def test_an_error_of_the_builder_leaves_no_entry(tmp_path: Path) -> None:
    def fail(writer: EntryWriter) -> None:
        build(writer)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ArrayCache(tmp_path / "cache").open("entry", fail)
    assert names(tmp_path / "cache") == {".tagger.lock", ".tagger-corpora"}


def test_a_full_disk_is_one_line_and_leaves_no_entry(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path / "cache")
    with small_disk(100_000), pytest.raises(StorageError, match=r"cache: cannot be written: .+") as raised:
        cache.open("entry", build)
    assert len(raised.value.faults) == 1
    assert names(tmp_path / "cache") == {".tagger.lock", ".tagger-corpora"}
    cache.open("entry", build)


def test_a_directory_of_the_user_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"holds thesis\.txt and was not made for corpora; choose another directory"):
        ArrayCache(tmp_path).open("entry", build)
    assert names(tmp_path) == {"thesis.txt"}


def test_those_that_need_an_entry_at_once_share_the_work(tmp_path: Path) -> None:
    calls = []

    def count(writer: EntryWriter) -> None:
        calls.append(None)
        build(writer)

    def run(_: int) -> bool:
        return np.array_equal(ArrayCache(tmp_path / "cache").open("entry", count).array("numbers"), VALUES)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(run, range(8)))
    assert len(calls) == 1


def test_only_a_lock_of_another_process_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_lock(*_: object, **__: object) -> None:
        raise StorageError("cache: cannot be written: Permission denied")

    caplog.set_level("INFO")
    monkeypatch.setattr(directories, "lock", refuse_lock)
    with pytest.raises(StorageError, match="Permission denied"):
        ArrayCache(tmp_path / "cache").open("entry", build)
    assert not caplog.records
