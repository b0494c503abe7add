"""The cache of hidden states survives damage, crashes, full disks and other processes, and touches no other file."""

import builtins
import errno
import io
import logging
import os
import random
import resource
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from tagger.errors import StorageError
from tagger.transformer.hidden_state_cache import (
    CachedHiddenStates,
    CacheOptions,
    Entry,
    HiddenStateCache,
    default_directory,
    open_cache,
)

ENTRIES = [Entry(f"{number:064x}", (2 + number, 3, 4)) for number in range(1, 6)]


def states_of(entry: Entry) -> CachedHiddenStates:
    """Returns hidden states that belong to an entry alone."""
    values = np.random.default_rng(int(entry.key, 16)).normal(size=entry.shape)
    return values.astype(np.float16)


def fill(cache: HiddenStateCache, entries: Sequence[Entry] = ENTRIES) -> list[Entry]:
    """Stores the hidden states that are not cached; returns their entries."""
    cached = cache.find(entries)
    missing = [entry for entry in entries if entry.key not in cached]
    for entry in missing:
        cache.write(entry, states_of(entry))
    return missing


def assert_readable(cache: HiddenStateCache, entries: Sequence[Entry] = ENTRIES) -> None:
    """Asserts that the hidden states of entries are read as they were stored, from the first or second token on."""
    for entry in entries:
        for first in (0, 1):
            target = np.empty((entry.shape[0] - first, *entry.shape[1:]), np.float16)
            cache.read(entry, first, target)
            assert np.array_equal(target, states_of(entry)[first:])


def fill_once(directory: Path) -> list[Entry]:
    """Opens and fills a cache, and checks all hidden states; returns what was not cached."""
    with open_cache(CacheOptions(directory)) as cache:
        missing = fill(cache)
        assert_readable(cache)
    return missing


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


OURS = {".tagger-features", ".tagger.lock"} | {entry.file_name for entry in ENTRIES}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_states_are_cached_between_trainings(tmp_path: Path) -> None:
    assert fill_once(tmp_path) == ENTRIES
    assert fill_once(tmp_path) == []
    assert names(tmp_path) == OURS


def test_the_default_directory_is_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # not valid, and ignored
    assert default_directory() == tmp_path / ".cache" / "bilstm-crf-tagger" / "features"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with open_cache(CacheOptions()) as cache:
        fill(cache)
    assert names(tmp_path / "cache" / "bilstm-crf-tagger" / "features") == OURS


def test_damaged_files_are_never_trusted_and_replaced(tmp_path: Path) -> None:
    fill_once(tmp_path)
    source = random.Random(0)
    for number in range(200):
        entry = source.choice(ENTRIES)
        path = tmp_path / entry.file_name
        data = bytearray(path.read_bytes())
        position = source.randrange(len(data))
        if number % 4 == 0:
            del data[position:]
        elif number % 4 == 1:
            data += b"\0"
        else:
            data[position] ^= 1 << source.randrange(8)
        path.write_bytes(data)
        assert fill_once(tmp_path) == [entry]


def test_a_file_of_another_passage_or_kind_is_replaced(tmp_path: Path) -> None:
    fill_once(tmp_path)
    first, second, third, fourth, _ = (tmp_path / entry.file_name for entry in ENTRIES)
    shutil.copy(second, first)
    second.write_text("a note")
    third.unlink()
    os.mkfifo(third)
    fourth.unlink()
    fourth.symlink_to("/dev/zero")
    assert fill_once(tmp_path) == ENTRIES[:4]
    assert all(path.is_file() and not path.is_symlink() for path in (first, second, third, fourth))
    reshaped = Entry(ENTRIES[0].key, (ENTRIES[0].shape[0], 4, 3))
    with open_cache(CacheOptions(tmp_path)) as cache:
        assert cache.find([reshaped]) == set()


def test_states_go_to_a_temporary_directory_if_a_directory_has_the_name_of_a_file(
    tmp_path: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache" / ENTRIES[0].file_name / "inside").mkdir(parents=True)
    (tmp_path / "cache" / ".tagger-features").write_bytes(b"bilstm-crf-tagger features\n")
    fill_once(tmp_path / "cache")
    assert (tmp_path / "cache" / ENTRIES[0].file_name / "inside").is_dir()
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/cache: Is a directory; other features are stored for this training only"
    ]
    assert names(temporary) == set()


class _Crash(BaseException):
    """What no handler of errors stops."""


# Without `close`: it releases the descriptor even if it fails, which this simulation would not.
_CALLS = (
    *((os, name) for name in ("fsync", "open", "mkdir", "write", "unlink", "scandir", "preadv", "utime")),
    *((Path, name) for name in ("rename", "replace", "mkdir", "unlink", "iterdir")),
    (io, "open"),
)


@contextmanager
def failing(at: int, error: BaseException) -> Iterator[list[int]]:
    """Raises at one call that reaches the disk; yields the number of calls."""
    calls = [0]

    def counting(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            calls[0] += 1
            if calls[0] == at:
                raise error
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for module, name in _CALLS:
            patch.setattr(module, name, counting(getattr(module, name)))
        patch.setattr(builtins, "open", io.open)
        yield calls


@pytest.mark.parametrize("error", [_Crash(), OSError(errno.ENOSPC, "No space left on device")], ids=["crash", "full"])
def test_a_crash_at_any_call_leaves_a_cache_that_works(tmp_path: Path, temporary: Path, error: BaseException) -> None:
    at, calls = 0, [1]
    while calls[0] >= at:
        at += 1
        directory = tmp_path / str(at)
        with failing(at, error) as calls:
            try:
                with open_cache(CacheOptions(directory)) as cache:
                    fill(cache)
                    if not isinstance(error, OSError):
                        assert_readable(cache)
            except (_Crash, OSError, StorageError) as raised:
                assert raised is error or "No space left" in str(raised)  # noqa: PT017
        fill_once(directory)
        assert names(directory) == OURS
        assert fill_once(directory) == []
        assert names(temporary) == set()
    assert at > 40


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Lets no file grow over a size within the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_states_go_to_memory_if_no_disk_has_space(
    tmp_path: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = [Entry(f"{number:064x}", (5000, 3, 4)) for number in range(1, 4)]
    with open_cache(CacheOptions(tmp_path / "cache")) as cache:
        with small_files(100_000):
            assert fill(cache, large) == large
        assert_readable(cache, large)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/cache: File too large; other features are stored for this training only",
        f"{temporary}: File too large; features are stored in memory",
    ]
    assert names(tmp_path / "cache") == {".tagger-features", ".tagger.lock"}
    assert names(temporary) == set()


def test_states_go_to_memory_if_there_is_no_space_for_a_temporary_directory(
    temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_cache(CacheOptions(is_enabled=False)) as cache:
        with small_files(0):
            assert fill(cache) == ENTRIES
        assert_readable(cache)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "cannot be written: File too large; features are stored in memory" in message
    assert names(temporary) == set()


def test_the_passages_that_were_not_used_for_the_longest_time_are_removed(tmp_path: Path) -> None:
    sizes = [entry.file_bytes for entry in ENTRIES]
    with open_cache(CacheOptions(tmp_path)) as cache:
        fill(cache, ENTRIES[:4])
    for age, entry in enumerate(ENTRIES[:4]):
        os.utime(tmp_path / entry.file_name, ns=(0, 10**9 * (4 - age)))
    with open_cache(CacheOptions(tmp_path)) as cache:
        fill(cache, ENTRIES[3:4])  # the oldest one is used
    with open_cache(CacheOptions(tmp_path, max_bytes=sum(sizes) - 1)) as cache:
        assert fill(cache, ENTRIES[4:]) == ENTRIES[4:]
    assert names(tmp_path) == OURS - {ENTRIES[2].file_name}


def test_passages_that_a_training_uses_are_not_removed(
    tmp_path: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = sum(entry.file_bytes for entry in ENTRIES[:3])
    with open_cache(CacheOptions(tmp_path / "cache", max_bytes=limit)) as cache:
        fill(cache, ENTRIES[:3])
        with open_cache(CacheOptions(tmp_path / "cache", max_bytes=limit)) as other:
            fill(other, ENTRIES[2:])
            assert_readable(other, ENTRIES[2:])
            assert len(names(temporary)) == 1
            assert_readable(cache, ENTRIES[:3])
        assert names(temporary) == set()
    assert len(caplog.records) == 1
    assert "the limit of 0.0 GB is reached; other features are stored for this training only" in caplog.text
    with open_cache(CacheOptions(tmp_path / "cache", max_bytes=limit)) as cache:
        fill(cache, ENTRIES[3:4])
    assert ENTRIES[3].file_name in names(tmp_path / "cache")


def test_files_that_are_not_ours_are_not_touched(tmp_path: Path) -> None:
    fill_once(tmp_path)
    decoys = {
        "f" * 64 + ".states": "not a file of hidden states",
        "notes.txt": "mine",
        "0123456789abcdef.lease": "not a lease",
        ".other.new": "mine",
    }
    for name, text in decoys.items():
        (tmp_path / name).write_text(text)
    (tmp_path / ".tagger-01234567.new").write_text("what a killed process left")
    with open_cache(CacheOptions(tmp_path, max_bytes=0)) as cache:
        fill(cache, [Entry("a" * 64, (1, 1, 1))])
    assert names(tmp_path) == {".tagger-features", ".tagger.lock", *decoys}
    assert {name: (tmp_path / name).read_text() for name in decoys} == decoys


def test_a_directory_with_other_files_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with (
        pytest.raises(StorageError, match=r"holds notes\.txt and was not made for features"),
        open_cache(CacheOptions(tmp_path)),
    ):
        pass
    assert names(tmp_path) == {"notes.txt"}


def test_a_default_directory_that_cannot_be_used_costs_a_line(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("mine")
    with open_cache(CacheOptions()) as cache:
        fill(cache)
        assert_readable(cache)
    assert "cannot be written: Not a directory; features are stored for this training only" in caplog.text
    with pytest.raises(StorageError, match="Not a directory"), open_cache(CacheOptions(tmp_path / "file" / "cache")):
        pass


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_temporary_directory_is_removed_at_the_end(temporary: Path, error: type[BaseException] | None) -> None:
    try:
        with open_cache(CacheOptions(is_enabled=False)) as cache:
            fill(cache)
            assert_readable(cache)
            assert len(names(temporary)) == 1
            if error:
                raise error
    except KeyboardInterrupt:
        pass
    assert names(temporary) == set()


def fill_and_wait(directory: Path | None, is_filled: threading.Event) -> None:
    with open_cache(CacheOptions(directory, is_enabled=directory is not None)) as cache:
        fill(cache)
        is_filled.set()
        threading.Event().wait(60)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_what_a_killed_process_leaves_is_removed_by_the_next_one(
    tmp_path: Path, temporary: Path, is_enabled: bool
) -> None:
    directory = tmp_path / "cache" if is_enabled else None
    context = get_context("fork")
    is_filled = context.Event()
    child = context.Process(target=fill_and_wait, args=(directory, is_filled))
    child.start()
    assert is_filled.wait(60)
    (temporary / "tagger-features-abcdefgh").mkdir()  # not ours: it has no marker
    with open_cache(CacheOptions(directory, is_enabled=is_enabled)) as cache:
        fill(cache)
        assert len(names(temporary)) == (1 if is_enabled else 3)
    child.kill()
    child.join()
    with open_cache(CacheOptions(directory, is_enabled=is_enabled, max_bytes=0)) as cache:
        fill(cache, [Entry("a" * 64, (1, 1, 1))])
    assert names(temporary) == {"tagger-features-abcdefgh"}
    if directory is not None:
        assert names(directory) == {".tagger-features", ".tagger.lock"}


def fill_repeatedly(directory: Path, count: int) -> None:
    for _ in range(count):
        with open_cache(CacheOptions(directory, max_bytes=ENTRIES[0].file_bytes * 4)) as cache:
            fill(cache)
            assert_readable(cache)


def test_processes_and_threads_fill_one_directory_at_once(tmp_path: Path) -> None:
    context = get_context("fork")
    processes = [context.Process(target=fill_repeatedly, args=(tmp_path / "cache", 20)) for _ in range(2)]
    threads = [threading.Thread(target=fill_once, args=(tmp_path / "cache",)) for _ in range(2)]
    for worker in (*processes, *threads):
        worker.start()
    for worker in (*processes, *threads):
        worker.join()
    assert [process.exitcode for process in processes] == [0, 0]
    fill_once(tmp_path / "cache")
    assert names(tmp_path / "cache") == OURS


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
