"""A save that breaks off leaves the old model or the new one, whole, and a full disk costs a line and nothing else.

By default 5 kills; TAGGER_TEST_SCALE=10 makes them 100.
"""

import builtins
import errno
import io
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tagger import model_dir, training
from tagger.config import Config
from tagger.errors import StorageError
from tagger.io import directories
from tests.robustness.runs import SCALE, child, killed_after, save_forever, spread

_CALLS = (
    *((os, name) for name in ("fsync", "open", "mkdir", "rename", "replace", "close")),
    *((Path, name) for name in ("rename", "replace", "mkdir")),
    (io, "open"),
)


_WRITES = tuple((place, name) for place, name in _CALLS if place is os and name not in ("open", "close"))


class _Failing:
    """Counts calls that reach the disk; raises at one of them, or at it and all after it."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        at: int,
        *,
        error: BaseException,
        for_good: bool = False,
        calls: tuple[tuple[object, str], ...] = _CALLS,
    ) -> None:
        self.calls, self.at, self.error, self.for_good = 0, at, error, for_good
        for place, name in calls:
            patch.setattr(place, name, self._counting(getattr(place, name)))
        patch.setattr(builtins, "open", io.open)

    def _counting(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            self.calls += 1
            if self.calls == self.at or (self.for_good and self.calls > self.at):
                raise self.error
            return function(*arguments, **options)

        return call


class _Crash(BaseException):
    """What no handler of errors stops."""


@pytest.fixture
def saved(model_path: Path, tmp_path: Path) -> Path:
    """A copy of the trained model, which a save is to replace."""
    return Path(shutil.copytree(model_path, tmp_path / "folder" / "model"))


@pytest.mark.parametrize("for_good", [False, True])  # True: the disk is gone, so that no clearing up works either
@pytest.mark.parametrize("error", [_Crash(), OSError(errno.ENOSPC, "No space left on device")], ids=["crash", "full"])
def test_a_save_interrupted_at_any_call_leaves_the_old_or_the_new_model(
    saved: Path, error: BaseException, for_good: bool
) -> None:
    model, old = model_dir.load(saved)
    found = []
    for at in range(1, 200):
        new = {"number": at}
        with pytest.MonkeyPatch.context() as patch:
            failing = _Failing(patch, at, error=error, for_good=for_good)
            try:
                model_dir.save(model, saved, new)
            except (_Crash, StorageError) as raised:
                assert isinstance(error, _Crash) or "No space left on device" in str(raised)  # noqa: PT017
        metrics = model_dir.load(saved)[1]
        assert metrics in (old, new)
        found.append(metrics == new)
        old = metrics
        if failing.calls < at:
            break
        if not for_good and isinstance(error, OSError):
            assert saved.is_dir()
            assert not list(saved.parent.glob(".*.new"))
    assert len(found) > 20
    assert found[0] is False
    assert found[-1] is True
    directories.clean_up(saved.parent, {"model"}.__contains__)
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_repeated_kills_during_saving_never_leave_an_unreadable_model(model_path: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    loaded, _ = model_dir.load(model_path)
    model_dir.save(loaded, model, {"number": -1})
    numbers = set()
    for seconds in spread(5 if SCALE == 1 else 10 * SCALE, seed=3, upto=0.2):
        assert killed_after(child(save_forever, model_path, model), 0.1 + seconds)
        numbers.add(model_dir.load(model)[1]["number"])
    assert len(numbers) > 1


@contextmanager
def small_disk(size: int = 2000) -> Iterator[None]:
    """Lets no file grow over some bytes within the block; not longer, for pytest may write its own report to one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_error_line_and_the_old_model_stays(saved: Path) -> None:
    model, old = model_dir.load(saved)
    with small_disk(), pytest.raises(StorageError, match=r"^\S*model: cannot be written: .+$") as raised:
        model_dir.save(model, saved, {"number": 1})
    assert len(raised.value.faults) == 1
    assert model_dir.load(saved)[1] == old
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_disk_that_fills_up_in_training_is_one_error_line_and_the_run_can_resume(
    config: Config, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails at the run's directory, its recipe, the first checkpoint and the last epoch."""
    with monkeypatch.context() as patch:
        writes = _Failing(patch, 0, error=_Crash(), calls=_WRITES)
        training.train(config, tmp_path / "counted", device="cpu")
    for at in (1, 6, 12, writes.calls - 60):
        run = tmp_path / str(at)
        with monkeypatch.context() as patch:
            _Failing(patch, at, error=OSError(errno.ENOSPC, "No space left on device"), calls=_WRITES)
            with pytest.raises(StorageError, match="cannot be written: No space left on device"):
                training.train(config, run, device="cpu")
        assert not list(run.glob(".*.new"))
    training.resume(run, device="cpu")
