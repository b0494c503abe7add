"""Files are replaced whole, and a directory has one writer."""

from pathlib import Path

import pytest

from tagger import files
from tagger.errors import CheckpointError


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), files.atomic_file(path) as stream:
        stream.writelines([b"new", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    files.replace(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_may_be_read_as_the_umask_says(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    (tmp_path / "usual directory").mkdir()
    files.replace(tmp_path / "file", b"")
    with files.atomic_directory(tmp_path / "directory"):
        pass
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "directory").stat().st_mode == (tmp_path / "usual directory").stat().st_mode


def test_a_directory_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content in ("old", "new"):
        with files.atomic_directory(path) as fresh:
            (fresh / content).touch()
    assert [inner.name for inner in path.iterdir()] == ["new"]
    with pytest.raises(RuntimeError), files.atomic_directory(path) as fresh:
        raise RuntimeError
    assert [inner.name for inner in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_set_aside_is_found_and_put_back(tmp_path: Path) -> None:
    path, aside = tmp_path / "model", tmp_path / ".model.old"
    aside.mkdir()
    (tmp_path / ".model.abc.new").mkdir()
    assert files.settled(path) == aside
    files.tidy(path)
    assert files.settled(path) == path
    assert list(tmp_path.iterdir()) == [path]


def test_recovering_puts_back_and_clears_away_what_crashes_left(tmp_path: Path) -> None:
    (tmp_path / ".one.old").mkdir()
    (tmp_path / ".two.old").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / ".two.abc.new").mkdir()
    (tmp_path / ".LATEST.abc.new").touch()
    files.recover(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with files.sole_writer(tmp_path), pytest.raises(CheckpointError, match="another process is writing here"):
        files.sole_writer(tmp_path).__enter__()
    with files.sole_writer(tmp_path):
        pass


def test_a_fault_of_the_system_names_the_place(tmp_path: Path) -> None:
    cause = "cannot be written: No such file or directory"
    with pytest.raises(CheckpointError, match=f"^there: {cause}$"), files.writing(Path("there")):
        (tmp_path / "a" / "b").touch()
