"""Files and directories are written whole or not at all, and nothing is replaced that is not ours."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tagger.errors import StorageError
from tagger.io import atomic, directories


def ours(_: Path) -> bool:
    return True


def is_run_name(name: str) -> bool:
    return name in ("config.yaml", "model-best")


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), atomic.open_atomic(path) as stream:
        stream.writelines([b"new", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    atomic.replace(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_whether_a_file_can_be_written_is_known_before_and_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for place in ("file", "new/deep/file"):
        atomic.check_writable(tmp_path / place)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(StorageError, match=r"file/new: cannot be written: (Not a directory|File exists)"):
        atomic.check_writable(tmp_path / "file" / "new")
    (tmp_path / "new").mkdir()
    with pytest.raises(StorageError, match="new: cannot be written: Is a directory"):
        atomic.check_writable(tmp_path / "new")


def test_new_files_and_directories_have_the_mode_of_the_umask(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    (tmp_path / "usual directory").mkdir()
    atomic.replace(tmp_path / "file", b"")
    with directories.replace(tmp_path / "directory", ours):
        pass
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "directory").stat().st_mode == (tmp_path / "usual directory").stat().st_mode


def test_a_directory_is_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content in ("old", "new"):
        with directories.replace(path, ours) as fresh:
            (fresh / content).touch()
    assert [inner.name for inner in path.iterdir()] == ["new"]
    with pytest.raises(RuntimeError), directories.replace(path, ours) as fresh:
        raise RuntimeError
    assert [inner.name for inner in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_backup_directory_is_found_and_restored(tmp_path: Path) -> None:
    path, aside = tmp_path / "model", tmp_path / ".model.old"
    aside.mkdir()
    assert directories.current_path(path) == aside
    directories.recover(path)
    assert directories.current_path(path) == path
    assert list(tmp_path.iterdir()) == [path]


def test_clean_up_restores_and_removes_what_crashes_left(tmp_path: Path) -> None:
    (tmp_path / ".one.old").mkdir()
    (tmp_path / ".two.old").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / ".other.old").mkdir()
    (tmp_path / ".tagger-0123abcd.new").mkdir()
    (tmp_path / ".tagger-ffffffff.new").touch()
    (tmp_path / ".tagger-mine.new").touch()
    (tmp_path / ".two.old.new").symlink_to("two")
    directories.clean_up(tmp_path, {"one", "two"}.__contains__)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".other.old", ".tagger-mine.new", ".two.old.new", "one", "two"]


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with directories.lock(tmp_path), pytest.raises(StorageError, match="another process is writing here"):
        directories.lock(tmp_path).__enter__()
    with directories.lock(tmp_path):
        pass


def test_an_error_of_the_system_names_the_path(tmp_path: Path) -> None:
    cause = "cannot be written: No such file or directory"
    with pytest.raises(StorageError, match=f"^there: {cause}$"), atomic.wrap_os_errors(Path("there")):
        (tmp_path / "a" / "b").touch()


def test_a_device_is_written_and_stays_a_device(tmp_path: Path) -> None:
    for name in ("/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        code = f"from tagger.io import atomic; from pathlib import Path; atomic.write_output(Path({name!r}), b'data')"
        before = os.lstat(name)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert done.stdout == (b"" if name == "/dev/null" else b"data")
        assert os.lstat(name).st_mode == before.st_mode


def test_standard_output_into_a_file_keeps_what_stands_there(tmp_path: Path) -> None:
    code = "from tagger.io import atomic; from pathlib import Path; atomic.write_output(Path('/dev/stdout'), b'two')"
    (tmp_path / "out").write_bytes(b"one ")
    with (tmp_path / "out").open("ab") as stream:
        subprocess.run([sys.executable, "-c", code], stdout=stream, check=True)
    assert (tmp_path / "out").read_bytes() == b"one two"


def test_a_link_below_dev_to_a_regular_file_is_a_link_like_others() -> None:
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        pytest.skip("a link below /dev is not tested: /dev/shm cannot be written")
    link, target = folder / f"tagger-test-{os.getpid()}-link", folder / f"tagger-test-{os.getpid()}-target"
    try:
        link.symlink_to(target.name)
        for data in (b"one", b"two"):
            atomic.write_output(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == b"two"
    finally:
        link.unlink(missing_ok=True)
        target.unlink(missing_ok=True)


def test_a_fifo_is_written_and_stays_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for name in ("fifo", "link"):
        writer = threading.Thread(target=atomic.write_output, args=(tmp_path / name, b"data"))
        writer.start()
        assert (tmp_path / "fifo").read_bytes() == b"data"
        writer.join()
    assert (tmp_path / "fifo").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_an_output_through_a_link_replaces_the_file_and_leaves_the_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("folder/file")
    (tmp_path / "dangling").symlink_to("folder/new")
    for name in ("link", "dangling"):
        atomic.write_output(tmp_path / name, b"new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == b"new"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StorageError, match="loop: cannot be written: Too many levels of symbolic links"):
        atomic.write_output(tmp_path / "loop", b"")


def test_a_name_that_is_taken_is_not_replaced_unless_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"new")
    (tmp_path / "name").write_bytes(b"old")
    with pytest.raises(StorageError, match="name: exists and is not an output of this job"):
        atomic.publish(tmp_path / "part", tmp_path / "name", overwrite=False)
    assert (tmp_path / "name").read_bytes() == b"old"
    atomic.publish(tmp_path / "part", tmp_path / "name", overwrite=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("name", b"new")]


def test_publishing_that_a_crash_interrupted_is_completed(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"new")
    (tmp_path / "name").hardlink_to(tmp_path / "part")
    atomic.publish(tmp_path / "part", tmp_path / "name", overwrite=False)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("name", b"new")]


def test_a_file_of_ours_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"old")
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        for act in (
            lambda path: atomic.write_from(path, b"new", 0),
            lambda path: atomic.truncate(path, 0),
            lambda path: atomic.open_log(path).close(),
        ):
            with pytest.raises(OSError, match=r"symbolic links|No such device|regular file"):
                act(tmp_path / name)
    assert (tmp_path / "secret").read_bytes() == b"old"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("kind", ["file", "link", "folder with a file"])
def test_a_directory_that_is_not_ours_is_never_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model"
    if kind == "file":
        path.write_bytes(b"mine")
    elif kind == "link":
        (tmp_path / "folder").mkdir()
        path.symlink_to("folder")
    else:
        path.mkdir()
        (path / "mine").touch()
    for name in ("model", "other"):
        with (
            pytest.raises(StorageError, match="exists and was not made by this tool"),
            directories.replace(tmp_path / name, lambda _: False),
        ):
            raise AssertionError
        if name == "model":
            path.rename(tmp_path / ".other.old")
    assert os.path.lexists(tmp_path / ".other.old")


def test_a_run_claims_and_marks_a_directory_without_names_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for _ in range(2):
        with directories.claim(tmp_path, is_run_name):
            assert directories.is_marked(tmp_path)
            (tmp_path / "config.yaml").touch()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "model-best", ".model-best.old", ".tagger-0123abcd.new", directories.MARKER, directories.LOCK],
)
def test_a_run_refuses_a_directory_with_names_of_a_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(StorageError, match=r"was not made by a training|is not a lock file"):
        directories.claim(tmp_path, is_run_name).__enter__()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_the_umask_is_not_changed_even_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> int:
        raise AssertionError

    monkeypatch.setattr(os, "umask", refuse)
    atomic.replace(tmp_path / "file", b"")
    with directories.replace(tmp_path / "directory", ours):
        pass
