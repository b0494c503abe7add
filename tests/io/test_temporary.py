"""A temporary directory is made wherever there is space, and leaves nothing where there is none."""

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagger.errors import StorageError
from tagger.io import temporary
from tests.robustness.test_crash_while_saving import small_disk

MARKED = ("tagger-test-", ".marker", b"a marker of more bytes than a small disk has\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_temporary_directory_is_made_where_nobody_may_list_the_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def iterdir(path: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", iterdir)
        with temporary.open_directory(*MARKED) as directory:
            assert directory.parent == folder
            assert (directory / ".marker").read_bytes() == MARKED[2]
    assert not list(folder.iterdir())


@pytest.mark.parametrize("size", [0, 30])
def test_a_full_disk_is_one_line_and_leaves_nothing(size: int, folder: Path) -> None:
    """Fails at the lock, and at the marker."""
    with small_disk(size), pytest.raises(StorageError, match=r"cannot be written: .+") as raised:
        temporary.open_directory(*MARKED).__enter__()
    assert len(raised.value.faults) == 1
    assert not list(folder.iterdir())


def test_a_missing_directory_of_temporary_files_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    with pytest.raises(StorageError, match=r"missing: cannot be written: No such file or directory"):
        temporary.open_directory(*MARKED).__enter__()
